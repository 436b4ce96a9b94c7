import { type OnApplicationShutdown } from '@nestjs/common';
import { type Redis } from 'ioredis';
import { type Policy } from '../admission.js';
import {
  EVENTS_KEPT_MS,
  SessionEvents,
  type EventType,
  type SessionEvent,
  isAfter,
  toEvent,
} from '../session-events.js';
import { type Availability, ask } from './redis-connection.js';
import { userChannel, userKeys } from './redis-keys.js';
import { type StreamEntry } from './redis-scripts.js';

/** How far an event may be on its way already when the server's clock is read. */
const IN_FLIGHT_MS = 1_000;
/** KEPT of expire.lua: a log that is shorter has lost nothing but by age. */
const KEPT_EVENTS = 256;

type Listener = (event: SessionEvent) => void;

interface Watched {
  readonly listeners: Set<Listener>;
  /** The last event that they were told. */
  last: string;
}

/**
 * Live events: a message on the user's channel names an entry of the log, which is then read. Messages get lost where
 * a connection does; so when it is back, the log is read from the last event that was told.
 */
export class RedisSessionEvents extends SessionEvents implements OnApplicationShutdown {
  private readonly watched = new Map<string, Watched>();
  private subscriber: Redis | undefined;

  constructor(
    private readonly redis: Redis,
    private readonly policy: Policy,
    private readonly availability: Availability,
  ) {
    super();
  }

  /** Disconnected, not quit: nobody waits for what it would still tell. */
  onApplicationShutdown(): void {
    this.subscriber?.disconnect();
  }

  override async watch(userId: string, listener: Listener): Promise<() => void> {
    const watched = this.watched.get(userId) ?? { listeners: new Set(), last: await this.position() };
    // Somebody else may have come while the position was asked for.
    const kept = this.watched.get(userId) ?? watched;
    this.watched.set(userId, kept);
    kept.listeners.add(listener);
    const unwatch = (): void => {
      if (!kept.listeners.delete(listener) || kept.listeners.size > 0) return;
      this.watched.delete(userId);
      this.subscriber?.unsubscribe(userChannel(userId)).catch(() => undefined);
    };
    try {
      await ask(this.availability, this.connectSubscriber().subscribe(userChannel(userId)));
    } catch (error) {
      unwatch();
      throw error;
    }
    return unwatch;
  }

  override async since(
    userId: string,
    eventId: string,
  ): Promise<{ events: SessionEvent[]; complete: boolean }> {
    const { log } = userKeys(userId);
    const [position, oldest, entries] = await Promise.all([
      this.position(),
      ask(this.availability, this.redis.xrange(log, '-', '+', 'COUNT', 1)),
      ask(this.availability, this.redis.xrange(log, `(${eventId}`, '+')),
    ]);
    const reachesBack = oldest[0] !== undefined && !isAfter(oldest[0][0], eventId);
    const recent = Number.parseInt(eventId) > Number.parseInt(position) - EVENTS_KEPT_MS + 2 * IN_FLIGHT_MS;
    return {
      events: entries.flatMap((entry) => this.told(userId, entry)),
      complete: reachesBack || (recent && entries.length < KEPT_EVENTS),
    };
  }

  override async position(): Promise<string> {
    const [seconds, micros] = await ask(this.availability, this.redis.time());
    return `${Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000) - IN_FLIGHT_MS}-0`;
  }

  private connectSubscriber(): Redis {
    if (this.subscriber) return this.subscriber;
    // Who watches can wait for the connection, and the main one tells the log when Redis is away.
    this.subscriber = this.redis.duplicate({ enableOfflineQueue: true, autoResubscribe: false });
    this.subscriber.on('error', () => undefined);
    this.subscriber.on('message', (channel: string, entryId: string) => {
      const userId = channel.slice(userChannel('').length);
      void this.catchUp(userId, entryId, entryId);
    });
    this.subscriber.on('ready', () => void this.resume());
    return this.subscriber;
  }

  private async resume(): Promise<void> {
    if (this.watched.size === 0) return;
    await this.subscriber!.subscribe(...[...this.watched.keys()].map(userChannel)).catch(() => undefined);
    for (const [userId, { last }] of this.watched) void this.catchUp(userId, `(${last}`, '+');
  }

  private async catchUp(userId: string, from: string, to: string): Promise<void> {
    const entries = await ask(this.availability, this.redis.xrange(userKeys(userId).log, from, to)).catch(
      () => [],
    ); // when the connection is back, there will be another look
    const watched = this.watched.get(userId);
    if (!watched) return;
    for (const event of entries.flatMap((entry) => this.told(userId, entry))) {
      if (!isAfter(event.id, watched.last)) continue;
      watched.last = event.id;
      for (const listener of watched.listeners) listener(event);
    }
  }

  /** The log is that of a partition, and holds what is not for watchers. */
  private told(userId: string, entry: StreamEntry): SessionEvent[] {
    const { event, replay } = readEntry(entry, this.policy);
    return event.userId === userId && event.type !== 'session.refused' && !replay ? [event] : [];
  }
}

/** An entry of the log, as events.lua writes it. */
export function readEntry(
  [id, [, text = '']]: StreamEntry,
  policy: Policy,
): { event: SessionEvent; text: string; replay: boolean } {
  const [type, at, userId, sessionId, streamId, startedAt, lastActivityAt, phase, reason, replay] =
    text.split(' ') as [string, string, string, string, string, string, string, string, string, string?];
  const record = {
    sessionId,
    streamId,
    startedAt: Number(startedAt),
    lastActivityAt: Number(lastActivityAt),
    phase: Number(phase),
  };
  const event = toEvent(
    id,
    `session.${type}` as EventType,
    Number(at),
    userId,
    record,
    policy,
    reason === '-' ? undefined : (reason as SessionEvent['reason']),
  );
  return { event, text, replay: replay !== undefined };
}
