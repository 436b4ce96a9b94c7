import { EventEmitter } from 'node:events';
import { type Clock } from '../../clock.js';
import { type Policy } from '../admission.js';
import {
  CallbackOutbox,
  type DeadLetter,
  EVENTS_KEPT_MS,
  type EventSettings,
  type EventType,
  type OutboxEntry,
  type OutboxState,
  SessionEvents,
  type SessionEvent,
  isAfter,
  messageId,
  toEvent,
} from '../session-events.js';
import { type ShownRecord } from '../session.js';

/** About 60 MB at the worst. */
const MAX_EVENTS = 100_000;
const FORGET_EVERY = 1_000;
const MAX_DEAD_LETTERS = 10_000;

/** The events of the embedded store: in this process, and for as long as it runs. */
export class MemoryEventLog extends SessionEvents {
  /** Oldest first. Every event of the last minute. */
  private events: SessionEvent[] = [];
  private readonly emitter = new EventEmitter().setMaxListeners(0);
  private number = 0;
  /** Where they are to be delivered from. */
  readonly outbox: MemoryCallbackOutbox;

  constructor(
    private readonly policy: Policy,
    private readonly clock: Clock,
    private readonly settings: EventSettings,
  ) {
    super();
    this.outbox = new MemoryCallbackOutbox(clock);
  }

  tell(
    type: EventType,
    at: number,
    userId: string,
    record: ShownRecord,
    reason: SessionEvent['reason'],
  ): void {
    const refused = type === 'session.refused';
    if (refused && !this.settings.refusals) return;
    const event = toEvent(
      `${this.clock.now()}-${++this.number}`,
      type,
      at,
      userId,
      record,
      this.policy,
      reason,
    );
    if (this.settings.outbox) this.outbox.add(event);
    if (refused) return;
    this.events.push(event);
    if (this.number % FORGET_EVERY === 0) this.forget();
    this.emitter.emit(userId, event);
  }

  override async watch(userId: string, listener: (event: SessionEvent) => void): Promise<() => void> {
    this.emitter.on(userId, listener);
    return () => this.emitter.off(userId, listener);
  }

  override async since(
    userId: string,
    eventId: string,
  ): Promise<{ events: SessionEvent[]; complete: boolean }> {
    const oldest = this.forget();
    const complete = Number.parseInt(eventId) >= oldest && this.events.length < MAX_EVENTS;
    return {
      events: this.events.filter((event) => event.userId === userId && isAfter(event.id, eventId)),
      complete,
    };
  }

  override async position(): Promise<string> {
    return `${this.clock.now()}-${this.number}`;
  }

  /** Gives since when events are kept. */
  private forget(): number {
    const oldest = this.clock.now() - EVENTS_KEPT_MS;
    this.events = this.events
      .slice(this.events.findLastIndex(({ at }) => at < oldest) + 1)
      .slice(-MAX_EVENTS);
    return oldest;
  }
}

/** What is to be delivered from this process. The oldest is lost where too much waits, and counted. */
export class MemoryCallbackOutbox extends CallbackOutbox {
  private readonly waiting = new Map<string, SessionEvent>();
  private readonly taken = new Map<string, SessionEvent>();
  private dead: DeadLetter[] = [];
  private lost = 0;

  constructor(private readonly clock: Clock) {
    super();
  }

  add(event: SessionEvent): void {
    this.waiting.set(event.id, event);
    if (this.waiting.size <= MAX_EVENTS) return;
    this.waiting.delete(this.waiting.keys().next().value!);
    this.lost++;
  }

  override async take(room: number): Promise<OutboxEntry[]> {
    const entries = [...this.waiting.values().take(Math.max(0, room))].map((event) => ({ event, tries: 0 }));
    for (const { event } of entries) {
      this.waiting.delete(event.id);
      this.taken.set(event.id, event);
    }
    return entries;
  }

  override async settle(events: readonly SessionEvent[]): Promise<void> {
    for (const { id } of events) this.taken.delete(id);
  }

  override async failed(): Promise<void> {}

  override async stillDelivering(): Promise<void> {}

  override async release(): Promise<void> {}

  override async bury(event: SessionEvent, tries: number, failure: string): Promise<void> {
    if (!this.taken.delete(event.id)) return;
    this.dead.push({ event, tries, failure, buriedAt: this.clock.now() });
    if (this.dead.length <= MAX_DEAD_LETTERS) return;
    this.dead.shift();
    this.lost++;
  }

  override async deadLetters(limit: number): Promise<DeadLetter[]> {
    return this.dead.slice(0, limit);
  }

  override async replay(ids: readonly string[] | undefined): Promise<number> {
    const wanted = this.dead.filter(({ event }) => ids?.includes(messageId(event)) ?? true);
    this.dead = this.dead.filter((letter) => !wanted.includes(letter));
    for (const { event } of wanted) this.add(event);
    return wanted.length;
  }

  override async state(): Promise<OutboxState> {
    const [oldest] = [...this.taken.values().take(1), ...this.waiting.values().take(1)];
    return {
      waiting: this.taken.size + this.waiting.size,
      oldestAt: oldest?.at,
      deadLetters: this.dead.length,
      lost: this.lost,
    };
  }
}
