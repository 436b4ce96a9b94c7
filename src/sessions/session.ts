import {
  type Ask,
  type EndReason,
  type Grant,
  type HeldRecord,
  type Policy,
  expiresAt,
} from './admission.js';

/** A session as everybody outside the store sees it. Instants are Unix milliseconds on the store's clock. */
export interface Session {
  readonly sessionId: string;
  readonly userId: string;
  readonly streamId: string;
  /** `idle` once it asked for nothing for X; it holds its place until `expiresAt`. */
  readonly state: 'active' | 'idle' | 'expired';
  readonly startedAt: number;
  readonly lastActivityAt: number;
  readonly idleAt: number;
  readonly expiresAt: number;
  readonly phase: number;
}

/** As much of a record as is shown. */
export type ShownRecord = Omit<HeldRecord, 'status' | 'version' | 'pausedMs' | 'quota'>;

export function toSession(userId: string, record: ShownRecord, policy: Policy, now: number): Session {
  const idleAt = record.lastActivityAt + policy.idleAfterMs;
  const expiry = expiresAt(record, policy);
  return {
    sessionId: record.sessionId,
    userId,
    streamId: record.streamId,
    state: now < idleAt ? 'active' : now < expiry ? 'idle' : 'expired',
    startedAt: record.startedAt,
    lastActivityAt: record.lastActivityAt,
    idleAt,
    expiresAt: expiry,
    phase: record.phase,
  };
}

export interface AdmissionRequest extends Ask {
  readonly userId: string;
}

/** A place that was taken for a phase on its way: pass it to `confirm` or `withdraw`, once, and to nothing else. */
export interface Place extends Grant {
  readonly userId: string;
  /** True for a reservation, which lapses unless it is confirmed; a running session needs no second word. */
  readonly reserved: boolean;
}

/** The answer to a request for a phase. A refusal is data; an exception means that the store could not be asked. */
export type Admission =
  | {
      readonly outcome: 'admitted';
      readonly session: Session;
      readonly created: boolean;
      readonly live: number;
      readonly place: Place;
    }
  | { readonly outcome: 'session-ended'; readonly endedAt: number; readonly reason: EndReason }
  | {
      readonly outcome: 'limit-reached';
      readonly sessions: readonly Session[];
      readonly now: number;
      readonly retryAt: number;
    }
  | { readonly outcome: 'phase-not-found' };

/** The answer to a keepalive. */
export type KeepAlive =
  | { readonly outcome: 'kept'; readonly session: Session }
  | Extract<Admission, { outcome: 'session-ended' }>
  | { readonly outcome: 'session-not-found' };

/** What was decided, as the port tells it. */
export function admitted(
  userId: string,
  policy: Policy,
  now: number,
  { record, created, former, live }: AdmittedDecision,
): Admission {
  const { sessionId, startedAt, version, status } = record;
  return {
    outcome: 'admitted',
    session: toSession(userId, record, policy, now),
    created,
    live,
    place: {
      userId,
      sessionId,
      startedAt,
      version,
      reserved: status === 'reserved',
      former: former && {
        lastActivityAt: former.lastActivityAt,
        streamId: former.streamId,
        phase: former.phase,
        pausedMs: former.pausedMs,
      },
    },
  };
}

export interface AdmittedDecision {
  readonly record: Omit<HeldRecord, 'pausedMs' | 'quota'>;
  readonly created: boolean;
  readonly former: Grant['former'];
  readonly live: number;
}
