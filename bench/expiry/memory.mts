import { show } from '../figures.mts';
import { type RedisUnderTest, infoOf } from '../redis.mts';
import { isInFirstQuarter, load, openStore, scaled, viewers } from '../store.mts';

/** As many as are aimed at; how full buckets are decides what a session takes. */
export const SESSIONS = scaled(1_000_000);

/** What a session takes of Redis where every user has one, two, or three. */
export async function measureMemory(server: RedisUnderTest): Promise<void> {
  const figures = [];
  for (const screens of [1, 2, 3] as const) {
    // A quarter of them in a quarter of the partitions: their buckets are as full as with all, and it takes less time.
    const bytes = await loadAndWeigh(server, viewers(SESSIONS / 4, screens, isInFirstQuarter));
    figures.push({ name: `bytes a session, ${screens} a user`, unit: '', digits: 1, values: [bytes] });
  }
  show(
    `Memory of ${SESSIONS.toLocaleString('en')} sessions with ids of 36 characters, all keys counted`,
    figures,
  );
}

/** Empties the server. Bytes of Redis a session then, the events of starts and all. They are dated a minute back. */
export async function loadAndWeigh(
  { url, redis }: RedisUnderTest,
  wanted: Iterator<{ userId: string; sessionId: string; streamId: string }, void>,
): Promise<number> {
  await emptyWithScripts(url, redis);
  const before = await usedMemory(redis);
  const loaded = await loadAtOneInstant(url, wanted);
  return ((await usedMemory(redis)) - before) / loaded;
}

/** The server knows the scripts: they take memory once. */
async function emptyWithScripts(url: string, redis: RedisUnderTest['redis']): Promise<void> {
  using store = await openStore(url);
  await load(store, viewers(1));
  await store.sessions.expireIdle({ maxSessions: 1 });
  await redis.flushall();
}

async function loadAtOneInstant(url: string, wanted: Parameters<typeof load>[1]): Promise<number> {
  using store = await openStore(url);
  store.at = Date.now() - 60_000;
  const loaded = await load(store, wanted);
  // At that same instant nothing is due; a sweep then only trims the log, as the service's sweeps do all the while.
  const { expired, more } = await store.sessions.expireIdle({ maxSessions: 1 });
  const { started, undone } = await store.sessions.ledger();
  if (expired > 0 || more || started !== loaded || undone > 0)
    throw new Error(`of ${loaded} sessions ${started} started, ${expired} expired, ${undone} were undone`);
  return loaded;
}

async function usedMemory(redis: RedisUnderTest['redis']): Promise<number> {
  return Number(await infoOf(redis, 'memory', 'used_memory'));
}
