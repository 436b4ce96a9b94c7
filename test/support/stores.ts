import { type AuditLog } from '../../src/audit/audit-log.js';
import { type Clock } from '../../src/clock.js';
import { type Policy } from '../../src/sessions/admission.js';
import { MemoryAuditLog } from '../../src/sessions/memory/memory-audit-log.js';
import { MemoryEventLog } from '../../src/sessions/memory/memory-event-log.js';
import { MemorySessionRepository } from '../../src/sessions/memory/memory-session.repository.js';
import { type Layout } from '../../src/sessions/redis/layout/layout.js';
import { type RedisLink } from '../../src/sessions/redis/link.js';
import { type RedisStore, openRedisStore as open } from '../../src/sessions/redis/redis-store.js';
import {
  type CallbackOutbox,
  type CallbackOutboxes,
  EVENT_TYPES,
  type SessionEvent,
  type SessionEvents,
  type Subscription,
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
  readonly outboxes: CallbackOutboxes;
  /** The outbox of the receiver `default`. */
  readonly outbox: CallbackOutbox;
  readonly audit: AuditLog;
}

/** One receiver that wants all events. */
export const ONE_RECEIVER: readonly Subscription[] = [{ receiver: 'default', events: EVENT_TYPES }];

/** Two receivers that want all events. */
export const TWO_RECEIVERS: readonly Subscription[] = [
  ...ONE_RECEIVER,
  { receiver: 'crm', events: EVENT_TYPES },
];

export function openMemoryStore(policy: Policy, clock: Clock, subscriptions = ONE_RECEIVER): Store {
  const events = new MemoryEventLog(policy, clock, subscriptions);
  const { outboxes } = events;
  const sessions = new MemorySessionRepository(policy, clock, events);
  return { sessions, events, outboxes, outbox: outboxes.of('default'), audit: new MemoryAuditLog() };
}

/** This store as another instance has it: what is ended through it is not noted here. */
export function elsewhere(store: SessionRepository): SessionRepository {
  return Object.create(store, { noteEnded: { value: () => undefined } }) as SessionRepository;
}

/** The Redis store of one process, which writes this layout, by default the newest. */
export function openRedisStore(
  link: RedisLink,
  policy: Policy,
  clock: Clock,
  {
    subscriptions = ONE_RECEIVER,
    layout = 2,
  }: { subscriptions?: readonly Subscription[]; layout?: Layout } = {},
): RedisStore & { readonly outbox: CallbackOutbox } {
  const settings = { policy, subscriptions, STORE_LAYOUT: layout === 1 ? '1' : '2' } as const;
  const store = open(link, settings, clock, QUIET);
  return { ...store, outbox: store.outboxes.of('default') };
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
