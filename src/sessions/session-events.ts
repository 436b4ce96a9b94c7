import { createHash } from 'node:crypto';
import { type Change, type EndReason, type HeldRecord, type Policy, type Replacement } from './admission.js';
import { type Session, type ShownRecord, toSession } from './session.js';

export const EVENT_TYPES = [
  'session.started',
  'session.moved',
  'session.ended',
  'session.expired',
  'session.refused',
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

/** What happened to a session. The store writes it down in the same atomic step that makes it happen. */
export interface SessionEvent {
  /** Its place in the log, `milliseconds-number`: later events of one user have greater ones. */
  readonly id: string;
  readonly type: EventType;
  /** Unix milliseconds on the store's clock. */
  readonly at: number;
  readonly userId: string;
  readonly sessionId: string;
  readonly streamId: string;
  /** Counts what happened to this life of the session. */
  readonly version: number;
  /** As it was then; undefined for one that was refused, which never was a session. */
  readonly session: (Omit<Session, 'state'> & { readonly state: Session['state'] | 'ended' }) | undefined;
  readonly reason: EndReason | 'session-limit-reached' | undefined;
  /** Of a session that was replaced: the one that has its place now. */
  readonly replacedBy: Replacement | undefined;
}

/** The changes that are told, and how they are called. */
export const TOLD: Readonly<Partial<Record<Change['type'], EventType>>> = {
  started: 'session.started',
  moved: 'session.moved',
  ended: 'session.ended',
  expired: 'session.expired',
};

/** What somebody who watches has been told so far, and how to stop. */
export interface Watch {
  /** What happened between `after` and now, oldest first. */
  readonly missed: readonly SessionEvent[];
  /** False where some of that may be forgotten already. */
  readonly complete: boolean;
  /** The id to resume after, from here on. */
  readonly position: string;
  readonly stop: () => void;
}

/** The events of users, for who watches them live. Starts, moves, ends and expiries; refusals change nothing. */
export abstract class SessionEvents {
  /**
   * Calls back for each event of this user from now on, each once and in order. `after`: the id of an event, to be told
   * what was missed since; undefined for nothing.
   */
  abstract watch(
    userId: string,
    after: string | undefined,
    listener: (event: SessionEvent) => void,
  ): Promise<Watch>;

  /** An id up to which everybody who watches this user has been told everything: where they can resume. */
  abstract position(userId: string): string;

  /** Looks for what watchers should have been told and were not, because a message was lost. Call it now and then. */
  abstract refresh(): Promise<void>;
}

/** An event that this instance was given to deliver. */
export interface OutboxEntry {
  readonly event: SessionEvent;
  /** How often anybody tried to deliver it before. */
  readonly tries: number;
}

export interface DeadLetter {
  readonly event: SessionEvent;
  readonly tries: number;
  /** Why the last try failed. */
  readonly failure: string;
  /** When it was given up, in Unix milliseconds. */
  readonly buriedAt: number;
}

export interface OutboxState {
  /** Events that nobody has delivered yet. */
  readonly waiting: number;
  /** When the oldest of them happened. */
  readonly oldestAt: number | undefined;
  readonly deadLetters: number;
  /** Events and dead letters that were lost, because there were too many. */
  readonly lost: number;
}

/**
 * The events that are to be delivered to somebody: each until that is settled, in order per session, by one instance
 * at a time. What an instance takes and does not settle, another is given some 20 s after the last word of it.
 *
 * It also carries one signal inside this process, so that the code that fills the outbox and the code that empties it
 * need not know each other. The signal only saves time: without it, new events are found by the next regular poll.
 */
export abstract class CallbackOutbox {
  private readonly newEventsListeners: (() => void)[] = [];

  /** Calls `listener` each time that new events are announced in this process, for as long as the process runs. */
  onNewEvents(listener: () => void): void {
    this.newEventsListeners.push(listener);
  }

  /** Tells the listeners of this process that the outbox holds new events. */
  announceNewEvents(): void {
    for (const listener of this.newEventsListeners) listener();
  }

  /** Takes over what this instance may deliver now, `room` events or rather fewer. */
  abstract take(room: number): Promise<OutboxEntry[]>;

  /** It is delivered. */
  abstract settle(event: SessionEvent): Promise<void>;

  /** A try failed: remembers how many there were, should another instance have to go on. */
  abstract failed(event: SessionEvent, tries: number): Promise<void>;

  /** It is given up: it becomes a dead letter. */
  abstract bury(event: SessionEvent, tries: number, failure: string): Promise<void>;

  /** This instance still has everything that it took and did not settle. Call it every few seconds. */
  abstract stillDelivering(): Promise<void>;

  /** Gives back what was not settled, for others to take at once: this instance stops. */
  abstract release(): Promise<void>;

  /** The oldest dead letters, as many as this. */
  abstract deadLetters(limit: number): Promise<DeadLetter[]>;

  /** Puts dead letters back into the outbox, those of these message ids or any, a bounded number; gives how many. */
  abstract replay(messageIds: readonly string[] | undefined): Promise<{ replayed: number; more: boolean }>;

  abstract state(): Promise<OutboxState>;
}

/** As much of a record as an event tells. */
export type ToldRecord = ShownRecord & Pick<HeldRecord, 'version'>;

/** The event of a change, by a store that keeps its events as such. */
export function toEvent(
  id: string,
  type: EventType,
  at: number,
  userId: string,
  record: ToldRecord,
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

/** Order of events by their ids. */
export function isAfter(eventId: string, other: string): boolean {
  const [a, b] = [eventId, other].map((id) => id.split('-').map(Number) as [number, number]) as [
    [number, number],
    [number, number],
  ];
  return a[0] - b[0] > 0 || (a[0] === b[0] && a[1] > b[1]);
}

/**
 * The name of an event for who receives it: made of what happened, so that it is the same however often it is told,
 * and by whom. A life of a session starts, ends and expires once; it may move often, and be refused.
 */
export function messageId({ type, at, userId, sessionId, streamId, version, session }: SessionEvent): string {
  const often = type === 'session.moved' || type === 'session.refused';
  const parts = [
    type,
    userId,
    sessionId,
    session?.startedAt ?? '',
    ...(often ? [at, version, streamId] : []),
  ];
  return `msg_${createHash('sha256').update(parts.join(' ')).digest('base64url').slice(0, 27)}`;
}
