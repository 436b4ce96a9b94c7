import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installPackage } from '../support/apt.js';
import { startRedis } from '../support/redis-server.js';

describe('the search for a Redis for the tests', () => {
  const { PATH, REDIS_URL } = process.env;
  afterEach(() => {
    Object.assign(process.env, { PATH });
    if (REDIS_URL === undefined) delete process.env.REDIS_URL;
    else process.env.REDIS_URL = REDIS_URL;
  });

  it('fails with instructions and with what it tried, instead of skipping tests', async () => {
    Object.assign(process.env, { PATH: '/nonexistent', REDIS_URL: '' });
    const error = await startRedis(['url', 'path']).catch(String);
    expect(error).toContain(
      'Set REDIS_URL, install redis-server or valkey-server, or start Docker; with TEST_INSTALL',
    );
    expect(error).toContain('url: REDIS_URL is not set');
    expect(error).toContain('path: neither redis-server nor valkey-server is on PATH');
  });

  it('checks that a Redis answers at the URL', async () => {
    process.env.REDIS_URL = 'redis://127.0.0.1:1';
    await expect(startRedis(['url'])).rejects.toThrow('url: nothing answers as Redis on 127.0.0.1:1');
  });
});

describe('the installation of packages for the tests', () => {
  const before = { ...process.env };
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'streamgate-apt-'));
    // A fake apt-get that only records its arguments.
    writeFileSync(join(folder, 'apt-get'), `#!/bin/sh\necho "$@" >> ${folder}/asked\n`);
    chmodSync(join(folder, 'apt-get'), 0o755);
    process.env.PATH = `${folder}:${before.PATH}`;
    delete process.env.CI;
    delete process.env.TEST_INSTALL;
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
    for (const name of ['PATH', 'CI', 'TEST_INSTALL'])
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
  });
  const asked = (): string =>
    existsSync(join(folder, 'asked')) ? readFileSync(join(folder, 'asked'), 'utf8') : '';

  it('does not happen without permission, and the error says how to permit it', async () => {
    await expect(startRedis(['apt'])).rejects.toThrow(
      'apt: not asked to install redis-server: with TEST_INSTALL=apt (or CI=true)',
    );
    expect(asked()).toBe('');
  });

  it.each([
    ['TEST_INSTALL', 'apt'],
    ['CI', 'true'],
  ])('happens with %s=%s, but only for root on Debian', (name, value) => {
    process.env[name] = value;
    const root = process.getuid?.() === 0 && existsSync('/usr/bin/apt-get');
    const install = (): string => {
      try {
        installPackage('nginx-light');
        return asked();
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(install()).toContain(
      root
        ? 'install -y --no-install-recommends nginx-light'
        : 'cannot install nginx-light: this is not root on Debian',
    );
  });
});
