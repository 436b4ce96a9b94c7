import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

/** Checks all shell scripts of the project with ShellCheck. */
const phasesOf = (file: string) =>
  Object.entries(
    (parse(readFileSync(file, 'utf8')) as { phases: Record<string, { commands: string[] }> }).phases,
  ).map(([phase, { commands }]) => ({ file, phase, commands }));
const scripts = [
  ...['.ci/run', 'terraform/check.sh', 'terraform/mutants.sh', 'samples/make-sample.sh'].map((path) => ({
    name: path,
    text: readFileSync(path, 'utf8'),
  })),
  ...[...phasesOf('buildspec.yml'), ...phasesOf('terraform/record.buildspec.yml')].map(
    ({ file, phase, commands }) => ({
      name: `${phase} of ${file}`,
      text: ['#!/bin/bash', ...commands, ''].join('\n'),
    }),
  ),
];
const lint = (input: string) => spawnSync('shellcheck', ['-x', '-'], { input, encoding: 'utf8' });
const found = lint('').error === undefined;
if (!found)
  process.stderr.write('The linting of shell scripts is skipped: shellcheck is not on this machine.\n');

(found ? describe : describe.skip)('a shell script', () => {
  it.each(scripts)('has no finding of the linter: $name', ({ text }) => {
    expect(lint(text).stdout).toBe('');
  });

  it('has a finding if a variable is not quoted', () => {
    expect(lint('#!/bin/bash\nrm -r $HOME/*.old\ncd $1\n').stdout).toContain('SC2086');
  });
});
