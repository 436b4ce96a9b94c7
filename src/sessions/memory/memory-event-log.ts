import { type Clock } from '../../clock.js';
import { type Policy, type Replacement } from '../admission.js';
import {
  CallbackOutbox,
  CallbackOutboxes,
  type DeadLetter,
  type EventType,
  type OutboxEntry,
  type OutboxState,
  SessionEvents,
  type SessionEvent,
  type RecordInEvent,
  type Refusal,
  type Subscription,
  type Watch,
  isAfter,
  messageId,
  toEvent,
} from '../session-events.js';

/** How many events are kept for subscribers that reconnect. */
const MAX_SEEN = 10_000;
/** At most about 60 MB. */
const MAX_WAITING = 100_000;
const MAX_DEAD_LETTERS = 10_000;

/** The events of the embedded store. They are kept in this process only, and are lost when it stops. */
export class MemoryEventLog extends SessionEvents {
  /** The latest events, oldest first. */
  private readonly seen: SessionEvent[] = [];
  private readonly listeners = new Map<string, Set<(event: SessionEvent) => void>>();
  /** The prefix of event ids. It changes with each start, because a new process does not have the previous events. */
  private readonly startedAt: number;
  private number = 0;
  /** The events that are to be posted as callbacks. */
  readonly outboxes: CallbackOutboxes;
  private readonly subscribed: readonly {
    readonly events: readonly EventType[];
    readonly outbox: MemoryCallbackOutbox;
  }[];

  constructor(
    private readonly policy: Policy,
    private readonly clock: Clock,
    subscriptions: readonly Subscription[],
  ) {
    super();
    this.startedAt = clock.now();
    this.subscribed = subscriptions.map(({ events }) => ({
      events,
      outbox: new MemoryCallbackOutbox(clock),
    }));
    this.outboxes = new CallbackOutboxes(
      new Map(subscriptions.map(({ receiver }, index) => [receiver, this.subscribed[index]!.outbox])),
    );
  }

  record(
    type: EventType,
    at: number,
    user: Pick<SessionEvent, 'userId' | 'subject'>,
    record: RecordInEvent,
    reason: SessionEvent['reason'],
    replacedBy?: Replacement,
    refusal?: Refusal,
  ): void {
    const id = `${this.startedAt}-${++this.number}`;
    const told = toEvent(id, type, at, user, record, this.policy, reason, replacedBy);
    for (const { events, outbox } of this.subscribed) if (events.includes(type)) outbox.add(told);
    // Each refusal is a callback. Those that are kept for support (KeptRefusals) have the holders of the places too.
    if (type === 'session.refused' && refusal === undefined) return;
    const event = refusal === undefined ? told : { ...told, refusal };
    if (this.seen.push(event) > MAX_SEEN) this.seen.shift();
    for (const listener of this.listeners.get(user.userId) ?? []) listener(event);
  }

  override async watch(
    userId: string,
    after: string | undefined,
    listener: (event: SessionEvent) => void,
  ): Promise<Watch> {
    const listeners = (this.listeners.get(userId) ?? new Set()).add(listener);
    this.listeners.set(userId, listeners);
    const stop = (): void => {
      if (listeners.delete(listener) && listeners.size === 0) this.listeners.delete(userId);
    };
    const position = this.position();
    if (after === undefined) return { missed: [], complete: true, position, stop };
    return {
      position,
      missed: this.seen.filter((event) => event.userId === userId && isAfter(event.id, after)),
      complete:
        after.startsWith(`${this.startedAt}-`) &&
        (this.seen.length < MAX_SEEN || !isAfter(this.seen[0]!.id, after)) &&
        !isAfter(after, position),
      stop,
    };
  }

  override position(): string {
    return `${this.startedAt}-${this.number}`;
  }

  override async refresh(): Promise<void> {}
}

/** The outbox of one receiver, in this process. If too many events wait, the oldest is dropped and counted as lost. */
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
    if (this.waiting.size <= MAX_WAITING) return;
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

  override async settle({ id }: SessionEvent): Promise<void> {
    this.taken.delete(id);
  }

  override async failed(): Promise<void> {}

  override async bury(event: SessionEvent, tries: number, failure: string): Promise<void> {
    if (!this.taken.delete(event.id)) return;
    this.dead.push({ event, tries, failure, buriedAt: this.clock.now() });
    if (this.dead.length <= MAX_DEAD_LETTERS) return;
    this.dead.shift();
    this.lost++;
  }

  override async stillDelivering(): Promise<void> {}

  override async release(): Promise<void> {}

  override async deadLetters(limit: number): Promise<DeadLetter[]> {
    return this.dead.slice(0, limit);
  }

  override async replay(
    messageIds: readonly string[] | undefined,
  ): Promise<{ replayed: number; more: boolean }> {
    const wanted = this.dead.filter(({ event }) => messageIds?.includes(messageId(event)) ?? true);
    this.dead = this.dead.filter((letter) => !wanted.includes(letter));
    for (const { event } of wanted) this.add(event);
    return { replayed: wanted.length, more: false };
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
