import { parseArgs } from 'node:util';
import { simulate } from './simulation.js';

/**
 * `npm run prove:simulated`: lets simulated users watch for an hour, from one seed, and checks everything that the service
 * answered and told. Exits 1 if anything is wrong. docs/proof.md explains it.
 */
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    /** How many seeds are run, from `seed` on. */
    seeds: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '60' },
    users: { type: 'string', default: '40' },
  },
});

function whole(name: keyof typeof values): number {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} must be a whole number, 1 or more`);
  return value;
}

const [first, minutes, users] = [whole('seed'), whole('minutes'), whole('users')];
for (let seed = first; seed < first + whole('seeds'); seed++) {
  const started = performance.now();
  const { hash, report, events, outages, continued, faults, steps, ledger } = await simulate({
    seed,
    minutes,
    users,
  });
  const { requests, admissions, created, refused, unknown } = report;
  const seconds = ((performance.now() - started) / 1_000).toFixed(1);
  console.log(
    `seed ${seed}: ${faults.length === 0 ? 'good' : 'WRONG'}, history ${hash}, ${minutes} min in ${seconds} s`,
    {
      requests,
      admissions,
      created,
      refused,
      unknown,
      events,
      outages,
      continued,
      steps,
      undone: ledger.undone,
    },
  );
  if (faults.length === 0) continue;
  for (const fault of faults.slice(0, 10)) console.log(`  ${fault}`);
  if (faults.length > 10) console.log(`  and ${faults.length - 10} more`);
  console.log(
    `To repeat it: npm run prove:simulated -- --seed ${seed} --minutes ${minutes} --users ${users}`,
  );
  process.exitCode = 1;
}
