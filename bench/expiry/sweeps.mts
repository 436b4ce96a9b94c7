import { show } from '../figures.mts';
import { type RedisUnderTest, redisCpu } from '../redis.mts';
import { DELIVERED, POLICY, load, openStore, scaled, sweepAll, viewers } from '../store.mts';

const BACKLOG = scaled(200_000);
const TRIALS = 3;
/** State, ring and outbox of each partition: the keys that remain without sessions. */
const KEYS_LEFT = 768;

interface Trial {
  readonly perSecond: number;
  readonly redisMicros: number;
}

/** Measures the cost of claims, one sweep after the other. No events are taken from the outbox. */
export async function measureSweeps(server: RedisUnderTest): Promise<void> {
  const trials: Record<'off' | 'on', Trial[]> = { off: [], on: [] };
  for (let trial = 0; trial < TRIALS; trial++)
    for (const outbox of ['off', 'on'] as const) {
      await server.redis.flushall();
      trials[outbox].push(await sweepBacklog(server, outbox));
    }
  for (const outbox of ['off', 'on'] as const)
    show(
      `Sweeps over a backlog of ${BACKLOG.toLocaleString('en')} sessions, the outbox ${outbox}, ${TRIALS} times`,
      [
        {
          name: 'expiries a second',
          unit: '',
          values: trials[outbox].map(({ perSecond }) => perSecond),
          aim: { atLeast: 50_000, by: 'median' },
        },
        {
          name: 'CPU of Redis an expiry',
          unit: 'µs',
          digits: 1,
          values: trials[outbox].map(({ redisMicros }) => redisMicros),
          aim: { below: 11, by: 'median' },
        },
      ],
    );
}

async function sweepBacklog({ url, redis }: RedisUnderTest, outbox: 'off' | 'on'): Promise<Trial> {
  using store = await openStore(url, outbox === 'on' ? DELIVERED : []);
  const now = Date.now();
  store.at = now - POLICY.expireAfterMs;
  const loaded = await load(store, viewers(BACKLOG));
  store.at = now;
  const [cpuBefore, started] = [await redisCpu(redis), performance.now()];
  const expired = await sweepAll(store);
  const tookMs = performance.now() - started;
  const cpu = (await redisCpu(redis)) - cpuBefore;
  const ledger = await store.sessions.ledger();
  const keys = await redis.dbsize();
  if (expired !== loaded || ledger.expired !== loaded || keys > KEYS_LEFT)
    throw new Error(`${expired} of ${loaded} expired, ${keys} keys left: ${JSON.stringify(ledger)}`);
  return { perSecond: (loaded / tookMs) * 1_000, redisMicros: cpu / loaded };
}
