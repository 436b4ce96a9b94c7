import { type EndReason, type ALL_SESSIONS } from './admission.js';
import { type Quota } from './quota.js';
import {
  type Admission,
  type AdmissionRequest,
  type KeepAlive,
  type Place,
  type Session,
} from './session.js';

/** Gets sessions that are ended, by their ids or all of the user. */
type EndListener = (userId: string, sessionIds: readonly string[] | typeof ALL_SESSIONS) => void;

/**
 * The port to the session store, shared by Sessions, Streams, Gate and Expiry. Each method is one atomic step for its
 * user, with any number of service instances, and answers like the functions of admission.ts. Every method rejects with
 * StoreUnavailableError if the store does not answer; then the step may or may not have been done.
 */
export abstract class SessionRepository {
  private readonly endListeners: EndListener[] = [];

  /** Decides on a request for a phase. If it is admitted, takes or renews the place in the same step. */
  abstract admit(request: AdmissionRequest): Promise<Admission>;

  /**
   * The phase was delivered: makes the new session of this place permanent. Resolves to false if the session has lost its
   * place since. It may be repeated.
   */
  abstract confirm(place: Place): Promise<boolean>;

  /** The phase was not delivered: undoes the admission, unless the session has changed since. */
  abstract withdraw(place: Place): Promise<void>;

  /** Handles a keepalive of a paused player: moves the last activity of its session, within bounds. */
  abstract keepAlive(userId: string, sessionId: string): Promise<KeepAlive>;

  /** Handles a report that the player was active at `at`: moves the last activity of its session forward to it. */
  abstract noteActivity(userId: string, sessionId: string, at: number): Promise<KeepAlive>;

  /** The user's live sessions, and the quota that the latest of their phases was admitted at. */
  abstract list(userId: string): Promise<UserSessions>;

  /** Ends sessions on purpose. Their places are free at once. */
  abstract end(
    userId: string,
    sessionIds: readonly string[] | typeof ALL_SESSIONS,
    reason: EndReason,
  ): Promise<EndResult>;

  /**
   * Calls `listener` with sessions that an answer of `end`, `keepAlive` or `noteActivity` says are ended, also if they were
   * ended before. Answers of `admit` say so themselves.
   */
  onEnded(listener: EndListener): void {
    this.endListeners.push(listener);
  }

  protected noteEnded(userId: string, sessionIds: readonly string[] | typeof ALL_SESSIONS): void {
    for (const listener of this.endListeners) listener(userId, sessionIds);
  }

  /**
   * Claims due records in bounded steps, until no record is due, `maxSessions` or more were claimed, or `signal` is
   * aborted. Each expiry is claimed by exactly one caller, however many sweep at the same time, and has one event.
   */
  abstract expireIdle(options: SweepOptions): Promise<SweepResult>;

  /** Pauses the sweeps of all instances, until `until` or until they are resumed. */
  abstract pauseExpiry(pause: { by: string | undefined; until: number | undefined }): Promise<Pause>;

  /** Resolves to true if the whole store is resumed, and to false if a part did not answer and is still paused. */
  abstract resumeExpiry(): Promise<boolean>;

  /** The current pause; undefined if sweeps run. */
  abstract expiryPause(): Promise<Pause | undefined>;

  /** The counts of all sessions so far. At any instant, admitted = live + expired + ended + undone. */
  abstract ledger(): Promise<Ledger>;

  /**
   * Checks that the store does everything that requests need. Resolves to `degraded` if only a part of it does, which
   * serves the users of that part. Rejects, with the reason for the log, if it serves no user.
   */
  abstract check(): Promise<'ok' | 'degraded'>;

  /** Whether the store may drop sessions when its memory is full. */
  abstract mayEvict(): Promise<boolean>;
}

export interface UserSessions {
  /** Undefined if no session is live, or if the store does not know the quota. */
  readonly quota: Quota | undefined;
  /** The issuer's name of the user; undefined if it is the id, or if the store does not know it. */
  readonly subject: string | undefined;
  /** Oldest first. */
  readonly sessions: readonly Session[];
}

export interface EndResult {
  readonly ended: readonly Session[];
  /** The requested ids whose sessions had been ended before, within the last n·X. */
  readonly endedBefore: readonly string[];
}

export interface SweepOptions {
  readonly maxSessions: number;
  readonly signal?: AbortSignal;
  /** Skips parts that any instance swept within the last 0.8 s. For timers, so that instances share the work. */
  readonly shared?: boolean;
}

export interface SweepResult {
  /** How many expiries were claimed. */
  readonly expired: number;
  /** For each of the expiries, how long ago it was due, in milliseconds. */
  readonly latenessMs: readonly number[];
  /** True if more records are due. */
  readonly more: boolean;
  /** True if sweeps are paused. Then nothing was claimed. */
  readonly paused: boolean;
}

export interface Pause {
  readonly since: number;
  readonly by: string | undefined;
  readonly until: number | undefined;
  /** Set if a part of the store is not paused: it did not answer when it was asked to pause, or does not answer now. */
  readonly partial?: true;
}

/** Counts of sessions since the store was created. An expired session counts as live until a sweep claims it. */
export interface Ledger {
  /** Sessions that were admitted, including those whose first phase was not delivered. */
  readonly admitted: number;
  readonly expired: number;
  readonly ended: number;
  /** Sessions whose first phase was not delivered. */
  readonly undone: number;
  /** Values in the store that could not be decoded and were set aside. No session is counted here. */
  readonly unreadable: number;
}

/** The store did not answer, or failed. Message and cause are for the log only, never for a client. */
export class StoreUnavailableError extends Error {
  override readonly name = 'StoreUnavailableError';
  /** True if the log already says that the store is unavailable, so that requests do not log it again. */
  readonly announced: boolean;

  /** True if the store did not answer; false if it refused the command. */
  readonly away: boolean;

  constructor(
    message: string,
    { cause, announced = false, away = false }: { cause?: unknown; announced?: boolean; away?: boolean } = {},
  ) {
    super(message, { cause });
    this.announced = announced;
    this.away = away;
  }
}

/** Whether an error means that the store did not answer. Otherwise it refused the command, or the error is another one. */
export function isAway(error: unknown): boolean {
  return error instanceof StoreUnavailableError && error.away;
}
