import { infoOf, redisCpu, startRedisForBench } from './redis.mts';
import { type Figure, quantile, show } from './figures.mts';
import { type Store, type Viewer, WINDOW, POLICY, openStore, scaled, viewers } from './store.mts';
import { startOwnRedis } from '../test/support/redis-server.ts';
import { until } from '../test/support/until.ts';

/**
 * Measures what ADMIT_DURABILITY=replicated costs a new session and a renewal, at the store, with a replica on the same
 * machine. README.md explains the figures.
 */
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 15);
const REQUESTS = scaled(640);
const LANES = [1, 32];

const DURABILITIES = ['primary', 'replicated'] as const;
type Durability = (typeof DURABILITIES)[number];

async function ask({ sessions }: Store, viewer: Viewer): Promise<number> {
  const start = performance.now();
  const admission = await sessions.admit({
    ...viewer,
    phase: 0,
    window: WINDOW,
    endSessionIds: [],
    quota: POLICY.quota,
  });
  if (admission.outcome !== 'admitted') throw new Error(`refused: ${admission.outcome}`);
  return performance.now() - start;
}

await using primary = await startRedisForBench();
const { port, hostname } = new URL(primary.url);
const replica = await startOwnRedis(['--replicaof', hostname, port, '--repl-diskless-sync-delay', '0']);
await until(async () => (await primary.redis.info('replication')).includes('state=online'));
const stores: Record<Durability, Store> = {
  primary: await openStore(primary.url),
  replicated: await openStore(primary.url, [], true),
};

/** Of each kind of request: its durations and the CPU of Redis, of each round and durability. */
const figures = new Map<string, Record<Durability, { millis: number[]; slow: number[]; redis: number[] }>>();

async function slice(name: string, durability: Durability, lanes: number, asked: readonly Viewer[]) {
  const left = asked.values();
  const took: number[] = [];
  const before = await redisCpu(primary.redis);
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      for (const viewer of left) took.push(await ask(stores[durability], viewer));
    }),
  );
  const cpu = ((await redisCpu(primary.redis)) - before) / took.length;
  const of = figures.get(name) ?? {
    primary: { millis: [], slow: [], redis: [] },
    replicated: { millis: [], slow: [], redis: [] },
  };
  figures.set(name, of);
  of[durability].millis.push(quantile(took, 0.5));
  of[durability].slow.push(quantile(took, 0.99));
  of[durability].redis.push(cpu);
}

for (let round = -1; round < ROUNDS; round++) {
  if (round === 0) figures.clear(); // the round before warmed up
  for (const lanes of LANES)
    for (const durability of Math.random() < 0.5 ? DURABILITIES : DURABILITIES.toReversed()) {
      const asked = [...viewers(REQUESTS, 1)];
      await slice(`new session, ${lanes} at once`, durability, lanes, asked);
      await slice(`renewal, ${lanes} at once`, durability, lanes, asked);
    }
}

const rows: Figure[] = [];
for (const [name, { primary: one, replicated: two }] of figures) {
  const ratio = (a: readonly number[], b: readonly number[]): number[] =>
    a.map((value, at) => value / b[at]!);
  rows.push(
    { name: `${name}: primary, median`, unit: 'ms', digits: 2, values: one.millis },
    { name: `${name}: replicated, median`, unit: 'ms', digits: 2, values: two.millis },
    { name: `${name}: replicated, p99`, unit: 'ms', digits: 2, values: two.slow },
    { name: `${name}: ratio of the medians`, unit: '', digits: 2, values: ratio(two.millis, one.millis) },
    { name: `${name}: CPU of Redis, ratio`, unit: '', digits: 2, values: ratio(two.redis, one.redis) },
  );
}
show(`Redis ${await infoOf(primary.redis, 'server', 'redis_version')}`, rows);
for (const store of Object.values(stores)) store[Symbol.dispose]();
await replica.stop();
