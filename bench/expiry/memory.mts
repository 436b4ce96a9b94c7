import { randomUUID } from 'node:crypto';
import type { Device } from '../../src/sessions/device.ts';
import { type Figure, show } from '../figures.mts';
import { type RedisUnderTest, infoOf } from '../redis.mts';
import { type Screens, type Viewer, isInFirstQuarter, load, openStore, scaled, viewers } from '../store.mts';

/** The number of sessions of the aim. The memory of a session depends on how full the buckets are. */
export const SESSIONS = scaled(1_000_000);

const DEVICE_NAME = { name: 'Living-room TV', type: 'tv' };

/** Measures the memory of a session in Redis by the sessions of a user, and with a device. */
export async function measureMemory(server: RedisUnderTest): Promise<void> {
  const weigh = async (
    name: string,
    screens: Screens,
    figure: Pick<Figure, 'aim'> = {},
    device?: () => Device,
  ): Promise<Figure> => {
    // A quarter of the sessions in a quarter of the partitions: the buckets are as full as with all, in less time.
    const some = viewers(SESSIONS / 4, screens, isInFirstQuarter);
    const wanted = device ? some.map((viewer) => ({ ...viewer, device: device() })) : some;
    const bytes = await loadAndWeigh(server, wanted);
    return { name: `bytes a session, ${name}`, unit: '', digits: 1, values: [bytes], ...figure };
  };
  const [without, withDevice] = [200, 250].map((below) => ({ aim: { below, by: 'worst' } as const }));
  show(`Memory of ${SESSIONS.toLocaleString('en')} sessions with ids of 36 characters, all keys counted`, [
    await weigh('1 to 3 a user', 'mixed', without),
    await weigh('with the id of a device', 'mixed', withDevice, () => ({ id: randomUUID() })),
    await weigh('with its name and type too', 'mixed', {}, () => ({ id: randomUUID(), ...DEVICE_NAME })),
    await weigh('1 a user', 1),
    await weigh('2 a user', 2),
    await weigh('3 a user', 3),
  ]);
}

/** Empties the server, starts sessions that are backdated by a minute, and returns the bytes per session, events included. */
export async function loadAndWeigh(
  { url, redis }: RedisUnderTest,
  wanted: Iterator<Viewer, unknown>,
): Promise<number> {
  await emptyWithScripts(url, redis);
  const before = await usedMemory(redis);
  const loaded = await loadAtOneInstant(url, wanted);
  return ((await usedMemory(redis)) - before) / loaded;
}

/** Loads the scripts first: they take memory only once. */
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
  // At that instant nothing is due. A sweep then only trims the events, as the sweeps of the service do regularly.
  const { expired, more } = await store.sessions.expireIdle({ maxSessions: 1 });
  const { admitted, undone } = await store.sessions.ledger();
  if (expired > 0 || more || admitted !== loaded || undone > 0)
    throw new Error(
      `of ${loaded} sessions ${admitted} were admitted, ${expired} expired, ${undone} were undone`,
    );
  return loaded;
}

async function usedMemory(redis: RedisUnderTest['redis']): Promise<number> {
  return Number(await infoOf(redis, 'memory', 'used_memory'));
}
