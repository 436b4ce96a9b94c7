import { type Redis } from 'ioredis';
import { type Clock } from '../../src/clock.js';
import { type Policy } from '../../src/sessions/admission.js';
import { MemoryEventLog } from '../../src/sessions/memory/memory-event-log.js';
import { MemorySessionRepository } from '../../src/sessions/memory/memory-session.repository.js';
import { RedisCallbackOutbox } from '../../src/sessions/redis/redis-callback-outbox.js';
import { RedisSessionEvents } from '../../src/sessions/redis/redis-session-events.js';
import { RedisSessionRepository } from '../../src/sessions/redis/redis-session.repository.js';
import {
  type CallbackOutbox,
  EVENT_TYPES,
  type EventType,
  type SessionEvent,
  type SessionEvents,
} from '../../src/sessions/session-events.js';
import { type SessionRepository } from '../../src/sessions/session.repository.js';
import { QUIET } from './redis-database.js';

/** The usual policy: X = 10 s, n = 3. */
export const POLICY: Policy = {
  quota: { maxSessions: 3 },
  idleAfterMs: 10_000,
  expireAfterMs: 30_000,
  leaseMs: 5_000,
  maxPauseMs: 120_000,
  maxAheadMs: 60_000,
  pacedAheadMs: 40_000,
};

/** The ports on one store, as one process has them. */
export interface Store {
  readonly sessions: SessionRepository;
  readonly events: SessionEvents;
  readonly outbox: CallbackOutbox;
}

/** Which events go to the outbox. */
const ALL: readonly EventType[] = EVENT_TYPES;

export function openMemoryStore(policy: Policy, clock: Clock, wanted = ALL): Store {
  const events = new MemoryEventLog(policy, clock, wanted);
  return { sessions: new MemorySessionRepository(policy, clock, events), events, outbox: events.outbox };
}

export function openRedisStore(redis: Redis, policy: Policy, clock: Clock, wanted = ALL) {
  const events = new RedisSessionEvents(redis, policy, QUIET);
  // Its second connection ends with the first.
  redis.setMaxListeners(0).once('end', () => events.onApplicationShutdown());
  return {
    sessions: new RedisSessionRepository(redis, policy, clock, QUIET, wanted),
    events,
    outbox: new RedisCallbackOutbox(redis, policy, QUIET),
  };
}

/** All that is still known of what happened to a user. */
export async function eventsOf(
  { events }: Pick<Store, 'events'>,
  userId: string,
): Promise<readonly SessionEvent[]> {
  const { missed, stop } = await events.watch(userId, '0-0', () => undefined);
  stop();
  return missed;
}
