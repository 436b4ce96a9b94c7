import { createHash, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import type { Device } from '../src/sessions/device.ts';
import type { Policy } from '../src/sessions/admission.ts';
import type { Subscription } from '../src/sessions/session-events.ts';
import type { SessionRepository } from '../src/sessions/session.repository.ts';

/** The Redis store without a service: the built classes and scripts, in the process of the benchmark. */
const built = createRequire(import.meta.url);
const { Clock } = built('../dist/clock.js') as typeof import('../src/clock.ts');
const { connectRedis } = built(
  '../dist/sessions/redis/link.js',
) as typeof import('../src/sessions/redis/link.ts');
const { Availability } = built(
  '../dist/sessions/redis/availability.js',
) as typeof import('../src/sessions/redis/availability.ts');
const { openRedisStore } = built(
  '../dist/sessions/redis/redis-store.js',
) as typeof import('../src/sessions/redis/redis-store.ts');
const { assembleScript } = built(
  '../dist/sessions/redis/script.js',
) as typeof import('../src/sessions/redis/script.ts');
const { partitionOf } = built(
  '../dist/sessions/redis/keys.js',
) as typeof import('../src/sessions/redis/keys.ts');

/** A long time-out, because the benchmark sends so many commands at once that they wait in long queues. */
const PATIENCE_MS = 600_000;
/** The default of the service: X = 10 s, n = 3. */
/** The window of a film that is longer than any run. */
export const WINDOW = { oldest: 0, end: 1_000, start: 0, live: false, phaseMs: 10_000, lastPhaseMs: 10_000 };

export const POLICY: Policy = {
  quota: { maxSessions: 3 },
  idleAfterMs: 10_000,
  expireAfterMs: 30_000,
  leaseMs: 5_000,
  maxPauseMs: 1_800_000,
  maxAheadMs: 60_000,
  pacedAheadMs: 40_000,
};
/** The events that a service with a CALLBACK_URL and default CALLBACK_EVENTS writes into the outbox. */
export const DELIVERED: readonly Subscription[] = [
  { receiver: 'default', events: ['session.expired', 'session.ended'] },
];
/** The maximum that one sweep of the service claims. */
export const MAX_SESSIONS = 5_000;
/** The names of a sweep's script in SLOWLOG, with callbacks and without. */
export const EXPIRE_SCRIPTS: ReadonlySet<string> = new Set(
  [DELIVERED, []].map((subscriptions) => {
    const lua = assembleScript('expire', { policy: POLICY, subscriptions, layout: 2 });
    return createHash('sha1').update(lua).digest('hex');
  }),
);

const BATCH = 400;
const LANES = 3;

export interface Store extends Disposable {
  readonly sessions: SessionRepository;
  /** The current time for the store, in Unix milliseconds; undefined leaves it to Redis, as in the service. */
  at: number | undefined;
}

export interface Viewer {
  readonly userId: string;
  readonly sessionId: string;
  readonly streamId: string;
  readonly device?: Device;
}

/** The number of sessions of each user; `mixed`: one, two and three in turn, which is two on average. */
export type Screens = 1 | 2 | 3 | 'mixed';

/** BENCH_SCALE scales all sizes, for a quick look. The published figures are those of 1. */
export function scaled(count: number): number {
  return Math.ceil(count * Number(process.env.BENCH_SCALE ?? 1));
}

/** `delivered`: the events that go to the outbox. `awaitsReplica`: whether new sessions wait for a replica. */
export async function openStore(
  url: string,
  delivered: readonly Subscription[] = [],
  awaitsReplica = false,
): Promise<Store> {
  const clock = Object.assign(new Clock(), { storeNow: () => store.at });
  const availability = new Availability({ log: console.error, warn: console.error, error: console.error });
  const link = connectRedis({ url, awaitsReplica }, availability, PATIENCE_MS);
  const settings = { policy: POLICY, subscriptions: delivered, STORE_LAYOUT: '2' } as const;
  const { sessions } = openRedisStore(link, settings, clock, availability);
  const store: Store = {
    sessions,
    at: undefined,
    [Symbol.dispose]() {
      void link.close();
    },
  };
  await sessions.onModuleInit();
  return store;
}

/** Makes viewers with ids of 36 characters, the length of a UUID. */
export function* viewers(
  count: number,
  screens: Screens = 'mixed',
  accept: (userId: string) => boolean = () => true,
): Generator<Viewer, void> {
  for (let user = 0, made = 0; made < count;) {
    const userId = randomUUID();
    if (!accept(userId)) continue;
    const screensHere = screens === 'mixed' ? 1 + (user++ % 3) : screens;
    for (let screen = 0; screen < screensHere && made < count; screen++, made++)
      yield { userId, sessionId: randomUUID(), streamId: randomUUID() };
  }
}

/** Whether a user's keys are in the first quarter of the partitions. */
export function isInFirstQuarter(userId: string): boolean {
  return partitionOf(userId) < 64;
}

/** Starts a session for each viewer by the store's own operations, many at once, and returns their number. `at` backdates each session. */
export async function load(
  store: Store,
  wanted: Iterator<Viewer, unknown>,
  at: (viewer: Viewer) => number | undefined = () => store.at,
): Promise<number> {
  let loaded = 0;
  const lane = async (): Promise<void> => {
    for (;;) {
      const batch = take(wanted, BATCH);
      if (batch.length === 0) return;
      const places = await Promise.all(batch.map((viewer) => admitNew(store, viewer, at(viewer))));
      await Promise.all(places.map((place) => store.sessions.confirm(place)));
      loaded += batch.length;
    }
  };
  // While one of these waits for Redis, the others send: Redis is never idle.
  await Promise.all(Array.from({ length: LANES }, lane));
  return loaded;
}

async function admitNew(store: Store, viewer: Viewer, at: number | undefined) {
  const before = store.at;
  store.at = at; // the store reads it before the first await
  const asked = store.sessions.admit({
    ...viewer,
    phase: 0,
    window: WINDOW,
    endSessionIds: [],
    quota: POLICY.quota,
  });
  store.at = before;
  const admission = await asked;
  if (admission.outcome !== 'admitted' || !admission.created)
    throw new Error(`${JSON.stringify(viewer)} was not admitted: ${JSON.stringify(admission)}`);
  return admission.place;
}

/** Sweeps until nothing is due, as the service does but without rests, and returns the number of claims. */
export async function sweepAll({ sessions }: Store): Promise<number> {
  for (let expired = 0; ;) {
    const swept = await sessions.expireIdle({ maxSessions: MAX_SESSIONS });
    expired += swept.expired;
    if (!swept.more) return expired;
  }
}

function take<T>(from: Iterator<T, unknown>, count: number): T[] {
  const taken: T[] = [];
  while (taken.length < count) {
    const next = from.next();
    if (next.done) break;
    taken.push(next.value);
  }
  return taken;
}
