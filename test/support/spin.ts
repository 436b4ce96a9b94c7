import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { installPackage } from './apt.js';
import { findProgram } from './program.js';

const run = promisify(execFile);
const MEMORY_MB = 1_000;

/** Why there is no spin here with a C compiler, or undefined if there is one. Installs them as `installPackage` does. */
export function missingSpin(): string | undefined {
  try {
    for (const name of ['spin', 'gcc']) if (findProgram(name) === undefined) installPackage(name);
    if (!existsSync('/usr/include/stdio.h')) installPackage('libc6-dev');
    return undefined;
  } catch (error) {
    return (error as Error).message.split('\n')[0];
  }
}

/** What spin is asked about a model. */
export interface Question {
  /** The name of a property of the model. */
  readonly property: string;
  readonly macros: readonly string[];
  /** `at last`: that something happens sooner or later, if each process that can go on does. */
  readonly kind: 'always' | 'at last';
  /** True for a search of a million states and more. Then it pays to optimise the checker, which takes gcc 5 s. */
  readonly isLong?: boolean;
}

/** Checks every state that the model can reach. Throws if there are too many for the memory or the depth of the search. */
export async function verify(
  model: string,
  { property, macros, kind, isLong = false }: Question,
): Promise<{ holds: boolean; states: number }> {
  const folder = await mkdtemp(join(tmpdir(), 'streamgate-spin-'));
  const inFolder = { cwd: folder, maxBuffer: 10_000_000 };
  try {
    await run('spin', ['-a', ...macros.map((macro) => `-D${macro}`), model], inFolder);
    const how = kind === 'always' ? ['-DSAFETY'] : ['-DNFAIR=3'];
    const options = [isLong ? '-O2' : '-O0', '-w', `-DMEMLIM=${MEMORY_MB}`, '-DCOLLAPSE', ...how];
    await run('gcc', [...options, '-o', 'pan', 'pan.c'], inFolder);
    const fair = kind === 'always' ? [] : ['-a', '-f'];
    const { stdout } = await run(join(folder, 'pan'), [...fair, '-m1000000', '-N', property], inFolder);
    const errors = /errors: (\d+)/.exec(stdout)?.[1];
    if (errors === undefined || /too small|reached memory|out of memory/i.test(stdout))
      throw new Error(`spin did not finish: ${stdout.slice(0, 1_000)}`);
    return { holds: errors === '0', states: Number(/(\d+) states, stored/.exec(stdout)?.[1]) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Runs the model once, at random, and returns the lines that it prints. */
export async function simulate(
  model: string,
  seed: number,
  steps: number,
  macros: readonly string[],
): Promise<readonly string[]> {
  const options = [`-n${seed}`, `-u${steps}`, ...macros.map((macro) => `-D${macro}`)];
  const { stdout } = await run('spin', [...options, model], { maxBuffer: 100_000_000, cwd: tmpdir() });
  return stdout.split('\n').map((line) => line.trim());
}
