import { type EndReason, type ALL_SESSIONS } from './admission.js';
import { type Quota } from './quota.js';
import {
  type Admission,
  type AdmissionRequest,
  type KeepAlive,
  type Place,
  type Session,
} from './session.js';

/**
 * Where sessions live: the port that Sessions, Streams and Expiry share. Each verb is one atomic step for the user
 * it concerns, whatever the number of service instances, and answers as the functions of admission.ts do.
 * Every verb rejects with StoreUnavailableError where the store cannot be asked, and then may or may not have acted.
 */
export abstract class SessionRepository {
  /** Decides on a phase and, where it admits, takes or renews the place at once. */
  abstract admit(request: AdmissionRequest): Promise<Admission>;

  /** The phase was delivered: makes the new session of this place permanent. */
  abstract confirm(place: Place): Promise<void>;

  /** The phase was not delivered: undoes the admission, unless something happened to the session since. */
  abstract withdraw(place: Place): Promise<void>;

  /** A paused player is still there: its session's last activity moves, within bounds. */
  abstract keepAlive(userId: string, sessionId: string): Promise<KeepAlive>;

  /** A player gave a sign of life at this instant, elsewhere: its session's last activity moves forward to it. */
  abstract noteActivity(userId: string, sessionId: string, at: number): Promise<KeepAlive>;

  /** The user's live sessions, and the quota that the latest of their phases was admitted at. */
  abstract list(userId: string): Promise<UserSessions>;

  /** Closes sessions on purpose; their places are free at once. */
  abstract end(
    userId: string,
    sessionIds: readonly string[] | typeof ALL_SESSIONS,
    reason: EndReason,
  ): Promise<EndResult>;

  /**
   * Claims what is due, each expiry for exactly one caller however many ask at once, in bounded steps until nothing
   * is due, `maxSessions` or more were claimed, or `signal` is aborted. What it claims is told by the events.
   */
  abstract expireIdle(options: SweepOptions): Promise<SweepResult>;

  /** Stops every instance's sweeps from now on, until `until` or until they are resumed. */
  abstract pauseExpiry(pause: { by: string | undefined; until: number | undefined }): Promise<Pause>;

  abstract resumeExpiry(): Promise<void>;

  /** The pause that holds now; undefined where sweeps run. */
  abstract expiryPause(): Promise<Pause | undefined>;

  /** What became of all sessions so far. At any instant, admitted = live + expired + ended + undone. */
  abstract ledger(): Promise<Ledger>;

  /** Resolves where the store answers. */
  abstract ping(): Promise<void>;
}

export interface UserSessions {
  /** Undefined where no session is live, or the store does not know. */
  readonly quota: Quota | undefined;
  /** Oldest first. */
  readonly sessions: readonly Session[];
}

export interface EndResult {
  readonly ended: readonly Session[];
  /** Ids among those asked for that had been ended before, within the last n·X. */
  readonly endedBefore: readonly string[];
}

export interface SweepOptions {
  readonly maxSessions: number;
  readonly signal?: AbortSignal;
  /** Leaves alone what anybody swept within the last 0.8 s: for timers, so that many instances share the work. */
  readonly shared?: boolean;
}

export interface SweepResult {
  /** How many expiries were claimed. */
  readonly expired: number;
  /** True where more is due already. */
  readonly more: boolean;
  /** True where sweeps are paused, and nothing was claimed. */
  readonly paused: boolean;
}

export interface Pause {
  readonly since: number;
  readonly by: string | undefined;
  readonly until: number | undefined;
}

/** Counts of sessions since the store began. An expired session counts as live until a sweep claims it. */
export interface Ledger {
  /** Sessions that were given a place, also those whose first phase never arrived. */
  readonly admitted: number;
  readonly expired: number;
  readonly ended: number;
  /** Those whose first phase never arrived. */
  readonly undone: number;
  /** Values in the store that could not be decoded and were set aside. No session is counted here. */
  readonly unreadable: number;
}

/** The store could not be asked, or failed. Message and cause are for the log, never for a client. */
export class StoreUnavailableError extends Error {
  override readonly name = 'StoreUnavailableError';
  /** True where the store has said in the log that it is away, so that nobody need say so for each request. */
  readonly announced: boolean;

  constructor(message: string, { cause, announced = false }: { cause?: unknown; announced?: boolean } = {}) {
    super(message, { cause });
    this.announced = announced;
  }
}
