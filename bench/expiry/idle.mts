import { setTimeout as sleep } from 'node:timers/promises';
import { show } from '../figures.mts';
import { CALLBACK_SECRET, startReceiver } from '../receiver.mts';
import { type RedisUnderTest, redisCpu } from '../redis.mts';
import { ENVIRONMENT, startServer } from '../servers.mts';
import { MAX_SESSIONS, load, openStore, scaled, viewers } from '../store.mts';

const INSTANCES = 10;
const LIVE = scaled(100_000);
const SWEEPS = 100;
const WINDOWS = 4;
const WINDOW_MS = 5_000;
/** The time that instances need for their start. */
const SETTLED_MS = 3_000;

/** Measures the cost of sweeps that find nothing to do. */
export async function measureIdle(server: RedisUnderTest): Promise<void> {
  const nobody = await timeSweeps(server, undefined);
  const alone = await cpuShares(server);
  const together = await runIdle(server);
  const at = Date.now();
  await startWatching(server, at);
  const withLive = await timeSweeps(server, at);
  const inMillis = { unit: 'ms', digits: 1, aim: { below: 20, by: 'median' } } as const;
  show(
    `Nothing to do: ${SWEEPS} sweeps of all partitions, and ${INSTANCES} instances with callbacks for 20 s`,
    [
      { name: 'a sweep where nobody watches', ...inMillis, values: nobody },
      {
        name: `a sweep where ${LIVE.toLocaleString('en')} sessions are live, none due`,
        ...inMillis,
        values: withLive,
      },
      { name: 'CPU of Redis without any instance', unit: '%', digits: 2, values: alone },
      {
        name: `CPU of Redis with ${INSTANCES} idle instances`,
        unit: '%',
        digits: 2,
        values: together,
        aim: { below: 5, by: 'median' },
      },
    ],
  );
}

async function startWatching({ url }: RedisUnderTest, at: number): Promise<void> {
  using store = await openStore(url);
  store.at = at;
  await load(store, viewers(LIVE));
}

/** Returns the milliseconds of each sweep. At the instant at which all sessions started, none has to be looked at. */
async function timeSweeps({ url }: RedisUnderTest, at: number | undefined): Promise<number[]> {
  using store = await openStore(url);
  store.at = at;
  const millis: number[] = [];
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const started = performance.now();
    const { expired, more } = await store.sessions.expireIdle({ maxSessions: MAX_SESSIONS });
    millis.push(performance.now() - started);
    if (expired > 0 || more) throw new Error(`a sweep of nothing claimed ${expired}`);
    await sleep(10);
  }
  return millis;
}

async function runIdle(server: RedisUnderTest): Promise<number[]> {
  await using resources = new AsyncDisposableStack();
  const receiver = resources.use(await startReceiver());
  for (let instance = 0; instance < INSTANCES; instance++)
    resources.use(
      await startServer('../dist/main.js', {
        ...ENVIRONMENT,
        REDIS_URL: server.url,
        LOG_LEVEL: 'warn',
        CALLBACK_URL: receiver.url,
        CALLBACK_SECRET,
      }),
    );
  await sleep(SETTLED_MS);
  const shares = await cpuShares(server);
  const callbacks = await receiver.count();
  if (callbacks > 0) throw new Error(`${callbacks} callbacks of nothing`);
  return shares;
}

/** The CPU of Redis in percent of one core, per window. */
async function cpuShares({ redis }: RedisUnderTest): Promise<number[]> {
  const shares: number[] = [];
  for (let window = 0; window < WINDOWS; window++) {
    const [cpuBefore, started] = [await redisCpu(redis), performance.now()];
    await sleep(WINDOW_MS);
    const cpuMillis = ((await redisCpu(redis)) - cpuBefore) / 1_000;
    shares.push((cpuMillis / (performance.now() - started)) * 100);
  }
  return shares;
}
