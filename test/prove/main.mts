import { createWriteStream, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { type Report, check, isGood } from './checker.js';
import { DEPLOYMENTS } from './deployments.js';
import { DURABILITIES, type Line } from './history.js';
import { record } from './run.js';

/**
 * `npm run prove`: records a history of the built service and checks it. Exits 1 unless every reply is what the rule
 * gives. An interrupt ends the recording, and what was recorded is checked. docs/proof.md explains it.
 */
const { values } = parseArgs({
  options: {
    admissions: { type: 'string', default: '20000' },
    users: { type: 'string', default: '1000' },
    instances: { type: 'string', default: '4' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    history: { type: 'string', default: 'prove.ndjson' },
    /** Checks a recorded history and records none. */
    check: { type: 'string' },
    redis: { type: 'string', default: 'server' },
    durability: { type: 'string', default: 'primary' },
    /** After so many steps the search for the order of one user's requests is given up. */
    steps: { type: 'string', default: '200000' },
    'no-faults': { type: 'boolean', default: false },
  },
});

async function recordTo(file: string): Promise<void> {
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'])
    process.once(signal, () => {
      interrupted.abort();
    });
  const out = createWriteStream(file);
  const lost = once(out, 'error').then(([error]) => Promise.reject(error as Error));
  lost.catch(() => undefined);
  const recording = record({
    seed: whole('seed'),
    admissions: whole('admissions'),
    users: whole('users'),
    instances: whole('instances'),
    faults: !values['no-faults'],
    cuts: true,
    deployment: oneOf('redis', DEPLOYMENTS),
    durability: oneOf('durability', DURABILITIES),
    signal: interrupted.signal,
    folder: process.cwd(),
    write: (line) => out.write(`${JSON.stringify(line)}\n`),
  });
  await Promise.race([recording, lost]);
  out.end();
  await once(out, 'finish');
}

function whole(name: 'seed' | 'admissions' | 'users' | 'instances' | 'steps'): number {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} must be a whole number, 1 or more`);
  return value;
}

function oneOf<T extends string>(name: 'redis' | 'durability', choices: readonly T[]): T {
  const found = choices.find((value) => value === values[name]);
  if (found === undefined) throw new Error(`--${name} must be one of ${choices.join(', ')}`);
  return found;
}

function print(report: Report): void {
  const { violated, undecided, overfull, incomplete, ...counts } = report;
  console.log(counts);
  for (const [title, faults] of Object.entries({ violated, undecided, overfull, incomplete })) {
    console.log(`${title}: ${faults.length}`);
    for (const fault of faults.slice(0, 5)) console.log(`  ${fault}`);
  }
}

const file = values.check ?? values.history;
const started = performance.now();
if (values.check === undefined) {
  console.log(`seed ${values.seed}, history ${file}`);
  await recordTo(file);
}
const recorded = performance.now();
const lines = readFileSync(file, 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Line);
const report = check(lines, whole('steps'));
print(report);
const seconds = (from: number, to: number): string => `${((to - from) / 1_000).toFixed(1)} s`;
console.log(`recorded in ${seconds(started, recorded)}, checked in ${seconds(recorded, performance.now())}`);
process.exitCode = isGood(report) ? 0 : 1;
