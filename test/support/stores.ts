import { type Clock } from '../../src/clock.js';
import { type Policy } from '../../src/sessions/admission.js';
import { MemoryEventLog } from '../../src/sessions/memory/memory-event-log.js';
import { MemorySessionRepository } from '../../src/sessions/memory/memory-session.repository.js';
import { type Layout } from '../../src/sessions/redis/layout/layout.js';
import { type RedisLink } from '../../src/sessions/redis/link.js';
import { type RedisStore, openRedisStore as open } from '../../src/sessions/redis/redis-store.js';
import {
  type CallbackOutbox,
  EVENT_TYPES,
  type EventType,
  type SessionEvent,
  type SessionEvents,
} from '../../src/sessions/session-events.js';
import { type SessionRepository } from '../../src/sessions/session.repository.js';
import { QUIET } from './redis-database.js';

/** The default policy: X = 10 s, n = 3. */
export const POLICY: Policy = {
  quota: { maxSessions: 3 },
  idleAfterMs: 10_000,
  expireAfterMs: 30_000,
  leaseMs: 5_000,
  maxPauseMs: 120_000,
  maxAheadMs: 60_000,
  pacedAheadMs: 40_000,
};

/** The ports to one store, as one process has them. */
export interface Store {
  readonly sessions: SessionRepository;
  readonly events: SessionEvents;
  readonly outbox: CallbackOutbox;
}

/** The events that go to the outbox. */
const ALL: readonly EventType[] = EVENT_TYPES;

export function openMemoryStore(policy: Policy, clock: Clock, wanted = ALL): Store {
  const events = new MemoryEventLog(policy, clock, wanted);
  return { sessions: new MemorySessionRepository(policy, clock, events), events, outbox: events.outbox };
}

/** The Redis store of one process, which writes this layout, by default the newest. */
export function openRedisStore(
  link: RedisLink,
  policy: Policy,
  clock: Clock,
  { wanted = ALL, layout = 2 }: { wanted?: readonly EventType[]; layout?: Layout } = {},
): RedisStore {
  const settings = { policy, wantedEvents: wanted, STORE_LAYOUT: layout === 1 ? '1' : '2' } as const;
  return open(link, settings, clock, QUIET);
}

/** All events of a user that the log still has. */
export async function eventsOf(
  { events }: Pick<Store, 'events'>,
  userId: string,
): Promise<readonly SessionEvent[]> {
  const { missed, stop } = await events.watch(userId, '0-0', () => undefined);
  stop();
  return missed;
}
