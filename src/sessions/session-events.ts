import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { type Change, type EndReason, type HeldRecord, type Policy, type Replacement } from './admission.js';
import { type Device } from './device.js';
import { type AdmissionRequest, type Session, type ShownRecord, toSession } from './session.js';

export const EVENT_TYPES = [
  'session.started',
  'session.moved',
  'session.ended',
  'session.expired',
  'session.refused',
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

/** The name of the receiver of CALLBACK_URL. */
export const DEFAULT_RECEIVER = 'default';

/** Which events a receiver of callbacks gets. */
export interface Subscription {
  /** The name of the receiver: up to 63 of `a-z 0-9 . -`. */
  readonly receiver: string;
  readonly events: readonly EventType[];
}

/** A change of a session, as it is reported. The store records the event in the same atomic step as the change. */
export interface SessionEvent {
  /** The position in the log, `milliseconds-number`. Later events of a user have greater ids. */
  readonly id: string;
  readonly type: EventType;
  /** Unix milliseconds on the store's clock. */
  readonly at: number;
  readonly userId: string;
  /** The issuer's name of the user; undefined if it is the id, or if the store does not know it. */
  readonly subject?: string | undefined;
  readonly sessionId: string;
  readonly streamId: string;
  /** Counts the changes of this life of the session. */
  readonly version: number;
  /** The session at that instant; undefined for `session.refused`, since a refused request creates no session. */
  readonly session: (Omit<Session, 'state'> & { readonly state: Session['state'] | 'ended' }) | undefined;
  readonly reason: EndReason | 'session-limit-reached' | undefined;
  /** If the session was replaced: the session that took its place. */
  readonly replacedBy: Replacement | undefined;
  /** Why a `session.refused` was refused. Only live events have it; callbacks do not. */
  readonly refusal?: Refusal | undefined;
}

/** What explains a refusal afterwards. */
export interface Refusal {
  readonly limit: number;
  /** The device that asked. */
  readonly device: Device | undefined;
  /** The sessions that held the places at that instant, at most `MAX_HOLDERS`. */
  readonly holders: readonly Session[];
}

/** The sessions that an event of a refusal names at most, so that its size is bounded. */
export const MAX_HOLDERS = 10;
/** A refusal is kept once in this time for the same user, stream and device. */
const SAME_REFUSAL_MS = 10_000;
const MAX_REFUSALS_OF_USER = 5;

/**
 * Decides which refusals are kept as live events. A refused client may repeat its request many times a second; without
 * this bound, one such client would push the events of all other users out of the log. Each instance decides for itself.
 */
export class KeptRefusals {
  private readonly byUser = new LRUCache<string, { readonly since: number; readonly kept: Set<string> }>({
    max: 10_000,
  });

  /** `at`: when the request was refused, in Unix milliseconds. */
  isNew({ userId, streamId, device }: AdmissionRequest, at: number): boolean {
    let recent = this.byUser.get(userId);
    if (recent === undefined || Math.abs(at - recent.since) >= SAME_REFUSAL_MS)
      this.byUser.set(userId, (recent = { since: at, kept: new Set() }));
    const attempt = `${streamId} ${device?.id ?? ''}`;
    if (recent.kept.has(attempt) || recent.kept.size >= MAX_REFUSALS_OF_USER) return false;
    recent.kept.add(attempt);
    return true;
  }
}

/** The changes that are reported as events, with the type of the event. */
export const EVENT_TYPE_OF_CHANGE: Readonly<Partial<Record<Change['type'], EventType>>> = {
  started: 'session.started',
  moved: 'session.moved',
  ended: 'session.ended',
  expired: 'session.expired',
};

/** A subscription to the events of a user. */
export interface Watch {
  /** The events between `after` and now, oldest first. */
  readonly missed: readonly SessionEvent[];
  /** False if some of these events may be lost, because the log keeps a bounded number. */
  readonly complete: boolean;
  /** The event id after which a subscriber can resume later. */
  readonly position: string;
  readonly stop: () => void;
}

/** The live events of users: starts, moves, ends and expiries, and the refusals that `KeptRefusals` keeps. */
export abstract class SessionEvents {
  /**
   * Calls `listener` for each event of this user from now on, once each and in order. With the id of an event as `after`,
   * the result contains the events since then.
   */
  abstract watch(
    userId: string,
    after: string | undefined,
    listener: (event: SessionEvent) => void,
  ): Promise<Watch>;

  /** The id of the last event that all subscribers of this user have received: they can resume after it. */
  abstract position(userId: string): string;

  /** Delivers events that subscribers missed because a message was lost. To be called periodically. */
  abstract refresh(): Promise<void>;
}

/** An event that this instance has taken over to deliver. */
export interface OutboxEntry {
  readonly event: SessionEvent;
  /** How many tries to deliver it have failed, at any instance. */
  readonly tries: number;
}

export interface DeadLetter {
  readonly event: SessionEvent;
  readonly tries: number;
  /** Why the last try failed. */
  readonly failure: string;
  /** When it became a dead letter, in Unix milliseconds. */
  readonly buriedAt: number;
}

export interface OutboxState {
  /** Events that are not delivered yet. */
  readonly waiting: number;
  /** The instant of the oldest of them. */
  readonly oldestAt: number | undefined;
  readonly deadLetters: number;
  /** Events and dead letters that were dropped because there were too many. */
  readonly lost: number;
}

/** The sum of several outboxes, or of the parts of one. An event for two receivers counts twice. */
export function totalOf(states: readonly OutboxState[]): OutboxState {
  const sum = (figure: 'waiting' | 'deadLetters' | 'lost'): number =>
    states.reduce((total, state) => total + state[figure], 0);
  const oldest = states.flatMap(({ oldestAt }) => oldestAt ?? []);
  return {
    waiting: sum('waiting'),
    oldestAt: oldest.length === 0 ? undefined : Math.min(...oldest),
    deadLetters: sum('deadLetters'),
    lost: sum('lost'),
  };
}

/**
 * The outboxes of all receivers of callbacks. Each receiver has one of its own, so that a receiver that is away delays no
 * other.
 *
 * The class also carries one signal inside this process, so that the code that fills the outboxes does not depend on the
 * code that empties them. The signal only saves time: without it, the next regular poll finds new events.
 */
export class CallbackOutboxes {
  private readonly newEventsListeners: (() => void)[] = [];

  /** By the name of the receiver. */
  constructor(readonly byReceiver: ReadonlyMap<string, CallbackOutbox>) {}

  /** The outbox of a receiver that is configured. */
  of(receiver: string): CallbackOutbox {
    const outbox = this.byReceiver.get(receiver);
    if (outbox === undefined) throw new Error(`no receiver is called ${receiver}`);
    return outbox;
  }

  /** Calls `listener` each time that new events are announced in this process. */
  onNewEvents(listener: () => void): void {
    this.newEventsListeners.push(listener);
  }

  /** Notifies the listeners of this process that the outboxes have new events. */
  announceNewEvents(): void {
    for (const listener of this.newEventsListeners) listener();
  }
}

/**
 * The events that are to be posted to one receiver of callbacks. Each stays here until it is delivered or becomes a dead
 * letter. The events of a session are delivered in order, by one instance at a time. If an instance stops calling
 * `stillDelivering`, another instance takes over its events after about 20 s.
 */
export abstract class CallbackOutbox {
  /** Takes over events that this instance may deliver now: at most `room`. */
  abstract take(room: number): Promise<OutboxEntry[]>;

  /** The event was delivered: removes it. */
  abstract settle(event: SessionEvent): Promise<void>;

  /** A try failed: stores the number of failed tries, in case another instance has to continue. */
  abstract failed(event: SessionEvent, tries: number): Promise<void>;

  /** The event is given up: makes it a dead letter. */
  abstract bury(event: SessionEvent, tries: number, failure: string): Promise<void>;

  /** Renews the claim of this instance on the events that it took and did not settle. To be called every few seconds. */
  abstract stillDelivering(): Promise<void>;

  /** Gives back the unsettled events when this instance stops, so that others can take them at once. */
  abstract release(): Promise<void>;

  /** The oldest dead letters, at most `limit`. */
  abstract deadLetters(limit: number): Promise<DeadLetter[]>;

  /** Puts dead letters back into the outbox: those with these message ids, or all. Each call moves a bounded number. */
  abstract replay(messageIds: readonly string[] | undefined): Promise<{ replayed: number; more: boolean }>;

  abstract state(): Promise<OutboxState>;
}

/** The part of a record that an event contains. */
export type RecordInEvent = ShownRecord & Pick<HeldRecord, 'version'>;

/** Makes the event of a change. */
export function toEvent(
  id: string,
  type: EventType,
  at: number,
  { userId, subject }: Pick<SessionEvent, 'userId' | 'subject'>,
  record: RecordInEvent,
  policy: Policy,
  reason: SessionEvent['reason'],
  replacedBy?: Replacement,
): SessionEvent {
  const { sessionId, streamId, version } = record;
  const session = toSession(userId, record, policy, at);
  return {
    id,
    type,
    at,
    userId,
    subject,
    sessionId,
    streamId,
    version,
    session:
      type === 'session.refused'
        ? undefined
        : { ...session, state: type === 'session.ended' ? 'ended' : session.state },
    reason,
    replacedBy,
  };
}

/** Whether an event is later than another one, by their ids. */
export function isAfter(eventId: string, other: string): boolean {
  const [a, b] = [eventId, other].map((id) => id.split('-').map(Number) as [number, number]) as [
    [number, number],
    [number, number],
  ];
  return a[0] - b[0] > 0 || (a[0] === b[0] && a[1] > b[1]);
}

/**
 * The id of an event for its receiver (`webhook-id`). It is derived from the content, so that it is the same for every
 * try and from every instance. A life of a session starts, ends and expires once, but it can move and be refused often.
 */
export function messageId({ type, at, userId, sessionId, streamId, version, session }: SessionEvent): string {
  const isRepeatable = type === 'session.moved' || type === 'session.refused';
  const parts = [
    type,
    userId,
    sessionId,
    session?.startedAt ?? '',
    ...(isRepeatable ? [at, version, streamId] : []),
  ];
  return `msg_${createHash('sha256').update(parts.join(' ')).digest('base64url').slice(0, 27)}`;
}
