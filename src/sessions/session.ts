import {
  type Ask,
  type Grant,
  type HeldRecord,
  type Policy,
  type SessionEnded,
  expiresAt,
  heldUntil,
  idleAt,
  undone,
} from './admission.js';
import { type Device } from './device.js';

/** A session as code outside the store sees it. Instants are Unix milliseconds on the store's clock. */
export interface Session {
  readonly sessionId: string;
  readonly userId: string;
  readonly streamId: string;
  /** `idle`: it sent no request for X and has nothing left to play. It holds its place until `expiresAt`. */
  readonly state: 'active' | 'idle' | 'expired';
  readonly startedAt: number;
  readonly lastActivityAt: number;
  /** When everything that the session was given would have been played at normal speed. */
  readonly playsUntil: number;
  readonly idleAt: number;
  readonly expiresAt: number;
  readonly phase: number;
  readonly device: Device | undefined;
}

/** The part of a record that is shown. */
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

/** A record with what decides until when it holds its place. */
export type KeptRecord = ShownRecord & Pick<HeldRecord, 'status'>;

/**
 * The session in the answer to a keepalive, which promises the place until `expiresAt`. Elsewhere a reservation is shown as
 * the session that it is about to become.
 */
export function toKeptSession(userId: string, record: KeptRecord, policy: Policy, now: number): Session {
  const session = toSession(userId, record, policy, now);
  const until = heldUntil(record, policy);
  return { ...session, idleAt: Math.min(session.idleAt, until), expiresAt: until };
}

/** The longest subject that a store keeps, in bytes of UTF-8. Events of users with a longer one have the id alone. */
export const MAX_KEPT_SUBJECT_BYTES = 255;

export interface AdmissionRequest extends Ask {
  readonly userId: string;
  /** The issuer's name of the user, which the store keeps beside the sessions. At most `MAX_KEPT_SUBJECT_BYTES`. */
  readonly subject?: string | undefined;
}

/** A place that was taken for a phase that is being delivered. Pass it to `confirm` or to `withdraw`. */
export interface Place extends Grant {
  readonly userId: string;
  /** True for a reservation, which lapses unless it is confirmed. A running session needs no confirmation. */
  readonly reserved: boolean;
}

/** The session has the phase. */
export interface Admitted {
  readonly outcome: 'admitted';
  readonly session: Session;
  readonly created: boolean;
  readonly live: number;
  readonly place: Place;
  /** True if this instance continued the session by itself, because the store is away. */
  readonly degraded?: true;
}

/** The answer to a request for a phase. A refusal is data. An exception means that the store did not answer. */
export type Admission =
  | Admitted
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

/** Maps a decision to admit to the answer of the port. */
export function admitted(
  userId: string,
  policy: Policy,
  now: number,
  { record, created, former, live }: AdmittedDecision,
): Admitted {
  return {
    outcome: 'admitted',
    session: toSession(userId, record, policy, now),
    created,
    live,
    place: placeOf(userId, record, former),
  };
}

/** The place that an admission has taken, for its confirmation or its withdrawal. */
export function placeOf(
  userId: string,
  { sessionId, startedAt, version, status }: AdmittedDecision['record'],
  former: AdmittedDecision['former'],
): Place {
  return {
    userId,
    sessionId,
    startedAt,
    version,
    reserved: status === 'reserved',
    former: former && undone(former),
  };
}

export interface AdmittedDecision {
  readonly record: ShownRecord & Pick<HeldRecord, 'status' | 'version'>;
  readonly created: boolean;
  readonly former: Grant['former'];
  readonly live: number;
}
