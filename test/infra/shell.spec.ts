import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

/** Everything of ours that a shell reads, under the linter of shells. */
const { phases } = parse(readFileSync('buildspec.yml', 'utf8')) as {
  phases: Record<string, { commands: string[] }>;
};
const scripts = [
  ...['.ci/run', 'terraform/check.sh', 'samples/make-sample.sh'].map((path) => ({
    name: path,
    text: readFileSync(path, 'utf8'),
  })),
  ...Object.entries(phases).map(([name, { commands }]) => ({
    name: `${name} of buildspec.yml`,
    text: ['#!/bin/bash', ...commands, ''].join('\n'),
  })),
];
const lint = (input: string) => spawnSync('shellcheck', ['-'], { input, encoding: 'utf8' });
const found = lint('').error === undefined;
if (!found)
  process.stderr.write('The linting of shell scripts is skipped: shellcheck is not on this machine.\n');

(found ? describe : describe.skip)('a shell script', () => {
  it.each(scripts)('has nothing that the linter objects to: $name', ({ text }) => {
    expect(lint(text).stdout).toBe('');
  });

  it('would be objected to where a word is split', () => {
    expect(lint('#!/bin/bash\nrm -r $HOME/*.old\ncd $1\n').stdout).toContain('SC2086');
  });
});
