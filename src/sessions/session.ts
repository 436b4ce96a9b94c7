import {
  type Ask,
  type Grant,
  type HeldRecord,
  type Policy,
  type SessionEnded,
  expiresAt,
  idleAt,
  undone,
} from './admission.js';
import { type Device } from './device.js';

/** A session as everybody outside the store sees it. Instants are Unix milliseconds on the store's clock. */
export interface Session {
  readonly sessionId: string;
  readonly userId: string;
  readonly streamId: string;
  /** `idle` once it asked for nothing for X and has nothing left to play; it holds its place until `expiresAt`. */
  readonly state: 'active' | 'idle' | 'expired';
  readonly startedAt: number;
  readonly lastActivityAt: number;
  /** When everything that it was handed out would have been played at normal speed. */
  readonly playsUntil: number;
  readonly idleAt: number;
  readonly expiresAt: number;
  readonly phase: number;
  readonly device: Device | undefined;
}

/** As much of a record as is shown. */
export type ShownRecord = Pick<
  HeldRecord,
  'sessionId' | 'streamId' | 'startedAt' | 'lastActivityAt' | 'playsUntil' | 'phase' | 'device'
>;

export function toSession(userId: string, record: ShownRecord, policy: Policy, now: number): Session {
  const idle = idleAt(record, policy);
  const expiry = expiresAt(record, policy);
  return {
    sessionId: record.sessionId,
    userId,
    streamId: record.streamId,
    state: now < idle ? 'active' : now < expiry ? 'idle' : 'expired',
    startedAt: record.startedAt,
    lastActivityAt: record.lastActivityAt,
    playsUntil: record.playsUntil,
    idleAt: idle,
    expiresAt: expiry,
    phase: record.phase,
    device: record.device,
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
  | SessionEnded
  | {
      readonly outcome: 'limit-reached';
      readonly sessions: readonly Session[];
      readonly now: number;
      readonly retryAt: number;
    }
  | { readonly outcome: 'too-far-ahead'; readonly now: number; readonly retryAt: number }
  | { readonly outcome: 'phase-not-found' };

/** The answer to a keepalive. */
export type KeepAlive =
  | { readonly outcome: 'kept'; readonly session: Session }
  | SessionEnded
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
      former: former && undone(former),
    },
  };
}

interface AdmittedDecision {
  readonly record: ShownRecord & Pick<HeldRecord, 'status' | 'version'>;
  readonly created: boolean;
  readonly former: Grant['former'];
  readonly live: number;
}
