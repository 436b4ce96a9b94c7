import { fork } from 'node:child_process';
import { once } from 'node:events';
import { constants, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';
import { quantile, show } from './figures.mts';
import { type Asked, type Check, checkRenewal } from './load.mts';
import { pace } from './pace.mts';
import { startRedisForBench } from './redis.mts';
import { ENVIRONMENT, startServer } from './servers.mts';

/**
 * Measures whether one user who sends requests as fast as possible (the hammer) slows others down. A hundred others ask
 * for their phases twice a second each: without the hammer, with it under the default rate limits, and with it without
 * limits. README.md explains the figures. Exits 1 if one of the others got a wrong answer, never because of a figure.
 */
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const SLICE_SECONDS = 4;
const OTHERS = 100;
const REQUESTS_PER_SECOND = 2 * OTHERS;
const HAMMER_CONNECTIONS = 64;

interface Slice {
  readonly waits: number[];
  /** How many answers of each status the hammer got. */
  readonly hammered: Readonly<Record<string, number>>;
}

const renewalOf = (user: string): Asked => ({
  user_id: user,
  session_id: 'tv',
  stream_id: 'test-pattern',
  phase: 1,
});

/** The first slice of a server starts the sessions that the later slices renew. */
const checkPhase: Check = (asked, status, body) =>
  status === 201 ? undefined : checkRenewal(asked, status, body);

/** Runs in a process of its own with low priority, so that it does not slow the measurement down. */
async function hammerOn(url: string): Promise<Record<string, number>> {
  const child = fork(fileURLToPath(import.meta.url), [url], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  setPriority(child.pid!, constants.priority.PRIORITY_LOW);
  const [answered] = (await once(child, 'message')) as [Record<string, number>];
  return answered;
}

async function hammer(url: string): Promise<void> {
  const { statusCodeStats = {} } = await autocannon({
    url: `${url}/v1/phases`,
    connections: HAMMER_CONNECTIONS,
    duration: SLICE_SECONDS,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(renewalOf('hammer')),
  });
  process.send!(
    Object.fromEntries(Object.entries(statusCodeStats).map(([status, { count }]) => [status, count])),
  );
}

async function slice(url: string, hammering: boolean): Promise<Slice> {
  const others = Array.from({ length: OTHERS }, (_, at) => renewalOf(`viewer-${at}`));
  const answered = hammering ? hammerOn(url) : undefined;
  const waits = await pace(url, others, REQUESTS_PER_SECOND, SLICE_SECONDS, checkPhase);
  return { waits, hammered: (await answered) ?? {} };
}

async function main(): Promise<void> {
  await using redis = await startRedisForBench();
  const start = (database: number, limits: Record<string, string>) =>
    startServer('../dist/main.js', {
      ...ENVIRONMENT,
      LOG_LEVEL: 'warn',
      REDIS_URL: `${redis.url}/${database}`,
      ...limits,
    });
  // All requests come from the one address of this machine, so the limit per address must be off.
  await using limited = await start(1, { RATE_LIMIT_PER_USER: '50', RATE_LIMIT_PER_ADDRESS: '0' });
  await using unlimited = await start(2, { RATE_LIMIT_PER_USER: '0', RATE_LIMIT_PER_ADDRESS: '0' });

  const cases = [
    { name: 'no hammer', url: limited.url, hammering: false, slices: [] as Slice[] },
    { name: 'a hammer, limited', url: limited.url, hammering: true, slices: [] as Slice[] },
    { name: 'a hammer, no limit', url: unlimited.url, hammering: true, slices: [] as Slice[] },
  ];
  for (const { url, hammering } of cases) await slice(url, hammering);
  for (let round = 0; round < ROUNDS; round++)
    for (const one of cases) one.slices.push(await slice(one.url, one.hammering));

  for (const { name, hammering, slices } of cases) {
    const perSecond = (wanted: (status: number) => boolean): number[] =>
      slices.map(({ hammered }) => {
        const counts = Object.entries(hammered).filter(([status]) => wanted(Number(status)));
        return counts.reduce((sum, [, count]) => sum + count, 0) / SLICE_SECONDS;
      });
    show(name, [
      {
        name: 'the others wait, median',
        unit: 'ms',
        digits: 2,
        values: slices.map(({ waits }) => quantile(waits, 0.5)),
      },
      {
        name: 'the others wait, 99th percentile',
        unit: 'ms',
        digits: 2,
        values: slices.map(({ waits }) => quantile(waits, 0.99)),
      },
      ...(hammering
        ? [
            { name: 'the hammer is answered', unit: 'a second', values: perSecond((status) => status < 300) },
            {
              name: 'the hammer is refused',
              unit: 'a second',
              values: perSecond((status) => status === 429),
            },
          ]
        : []),
    ]);
  }
}

const [, , target] = process.argv;
await (target === undefined ? main() : hammer(target));
