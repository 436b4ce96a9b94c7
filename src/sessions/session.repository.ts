import { type EndReason, type ALL_SESSIONS } from './admission.js';
import { type Admission, type AdmissionRequest, type Place, type Session } from './session.js';

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

  /** The user's live sessions, oldest first. */
  abstract list(userId: string): Promise<Session[]>;

  /** Closes sessions on purpose; their places are free at once. */
  abstract end(
    userId: string,
    sessionIds: readonly string[] | typeof ALL_SESSIONS,
    reason: EndReason,
  ): Promise<EndResult>;

  /**
   * Claims what is due, each expiry for exactly one caller however many ask at once, in bounded steps until nothing
   * is due, `maxSessions` or more were claimed, or `signal` is aborted.
   */
  abstract expireIdle(options: { maxSessions: number; signal?: AbortSignal }): Promise<ExpireResult>;

  /** Resolves where the store answers. */
  abstract ping(): Promise<void>;
}

export interface EndResult {
  readonly ended: readonly Session[];
  /** Ids among those asked for that had been ended before, within the last n·X. */
  readonly endedBefore: readonly string[];
}

export interface ExpireResult {
  readonly expired: readonly Session[];
  /** True where more is due already. */
  readonly more: boolean;
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
