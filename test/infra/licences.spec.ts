import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

describe('the licences of production dependencies', () => {
  const folder = mkdtempSync(join(tmpdir(), 'streamgate-'));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  const check = (packages: object) => {
    writeFileSync(join(folder, 'package-lock.json'), JSON.stringify({ packages }));
    const { status, stderr } = spawnSync(process.execPath, [resolve('.ci/licences.mjs')], {
      cwd: folder,
      encoding: 'utf8',
    });
    return { status, stderr };
  };
  const fine = { '': {}, 'node_modules/a': { version: '1.0.0', license: 'MIT' } };

  it('are accepted ones; licences of development dependencies are not checked', () => {
    expect(check({ ...fine, 'node_modules/b': { license: 'GPL-3.0', dev: true } }).status).toBe(0);
  });

  it.each([
    ['another', { version: '1.2.3', license: 'GPL-3.0' }, 'b@1.2.3: GPL-3.0'],
    ['none', { version: '1.2.3' }, 'b@1.2.3: no licence'],
    [
      'one that also is of development',
      { version: '1.2.3', license: 'SSPL-1.0', devOptional: true },
      'SSPL-1.0',
    ],
  ])('are reported by name if there is %s', (_, b, expected) => {
    const { status, stderr } = check({ ...fine, 'node_modules/a/node_modules/b': b });
    expect([status, stderr]).toEqual([1, expect.stringContaining(expected)]);
  });

  it('fail the check if no dependency is listed', () => {
    expect(check({ '': {} }).status).toBe(1);
  });
});
