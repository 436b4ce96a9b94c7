import {
  Api,
  type ApiOptions,
  type Ended,
  type PhaseReply,
  type Refused,
  type Session,
  StreamgateError,
} from './api.js';
import { type Instant, nap, now, since, wait } from './time.js';

export {
  type Ended,
  type Phase,
  type ProblemDocument,
  type Refused,
  type Segment,
  type Session,
} from './api.js';
export { StreamgateError };

/** Asked so much early at most, at random, so that viewers who started together do not ask together for ever. */
const JITTER = 0.1;
/** What is left of the time that a place is kept when a question is too late to be sure to renew it. */
const MARGIN = 0.05;
/** For how long a first question is asked again; later ones as long as the place is kept. */
const FIRST_PATIENCE_MS = 10_000;
/** An answer that takes longer does not come; an origin has 5 s. */
const LONGEST_REQUEST_MS = 10_000;
/** A question that was aborted has arrived by then, if it ever does. */
const OVERTAKEN_MS = 1_000;
const SHORTEST_BACK_OFF_MS = 500;
const LONGEST_BACK_OFF_MS = 10_000;

export interface WatchOptions extends ApiOptions {
  /** May be left out where the token names the user. */
  readonly userId?: string;
  readonly streamId: string;
  /** To go on with a session; by default a new one. */
  readonly sessionId?: string;
  /** Where to begin; by default at the beginning, or where the session was. */
  readonly startPhase?: number;
  /** Which rendition of the stream, as `GET /v1/streams/{stream_id}/renditions` numbers them; by default the first variant. */
  readonly rendition?: number;
  /** Aborting it is `stop()`. */
  readonly signal?: AbortSignal;
}

export interface PhaseResult extends Omit<PhaseReply, 'nextRequestInSeconds'> {
  readonly type: 'phase';
  /** The session had lost its place, as after a sleep, and was admitted again. */
  readonly readmitted: boolean;
}

/** The last phase has been watched; the place is given back. */
export interface Finished {
  readonly type: 'finished';
}

export type WatchResult = PhaseResult | Refused | Ended | Finished;

/**
 * One session watching, from the first `next()` on. For one consumer; leaving its loop is `stop()`.
 *
 * Ends after `ended`, `finished` and `stop()`, and after `refused` unless one of `takeOver`, `seek` and `moveTo` was
 * called. Throws a StreamgateError where asking again does not help, or did not; the place is then left to expire, so
 * that another `watch` of the same `sessionId` can go on.
 */
export interface Viewing extends AsyncIterable<WatchResult, undefined> {
  readonly sessionId: string;
  /** After a refusal: asks again, and ends these sessions of the user if, and only if, that admits this one. */
  takeOver(sessionIds: readonly string[]): void;
  /** Stops the clock of the phases; the place is kept, for as long as the service allows. */
  pause(): void;
  /** Goes on with what was left of the phase. */
  resume(): void;
  /** Asks for this phase at once, paused or not; the ones after it follow. */
  seek(phase: number): void;
  /** Takes this rendition from the next phase on; undefined: the first variant. */
  choose(rendition: number | undefined): void;
  /** Plays another stream, in the same place; its first variant until another is chosen. */
  moveTo(streamId: string, phase?: number): void;
  /** Gives the place back; the request for it is on its way when this returns, also while a page is closed. */
  stop(): Promise<void>;
}

export function watch(options: WatchOptions): Viewing {
  return new WatchedStream(options);
}

/** What the server said last of a place that is held, and when it was asked. */
class Place {
  /** For how long it is kept from then on. A difference of two instants of the server's. */
  readonly keptMs: number;
  /** When to say that it is still wanted, where no phase is due: late, but with a try or two to spare. */
  readonly renewMs: number;

  constructor(
    readonly session: Session,
    readonly askedAt: Instant,
  ) {
    const activeAt = Date.parse(session.lastActivityAt);
    const idleMs = Date.parse(session.idleAt) - activeAt;
    this.keptMs = Date.parse(session.expiresAt) - activeAt;
    this.renewMs = Math.max(this.keptMs - idleMs, this.keptMs / 2);
  }
}

class WatchedStream implements Viewing {
  readonly sessionId: string;
  readonly #api: Api;
  readonly #results: AsyncGenerator<WatchResult, undefined, undefined>;
  #userId: string | undefined;
  #streamId: string;
  #phase: number | undefined;
  #rendition: number | undefined;
  #endSessionIds: readonly string[] = [];
  /** When the next question is due; undefined: at once. */
  #due: { from: Instant; ms: number } | undefined;
  #pausedAt: Instant | undefined;
  #place: Place | undefined;
  /** A question was sent that may have taken a place. */
  #mayHold = false;
  #admittedBefore = false;
  #refused = false;
  #ended: Ended | undefined;
  #watchedLast = false;
  #stopped = false;
  /** Until the consumer comes back for the next result. */
  #given = new AbortController();
  /** Until the next command; aborts whatever is under way for the last one. */
  #turn = new AbortController();

  constructor(options: WatchOptions) {
    this.#api = new Api(options);
    this.#userId = options.userId;
    this.#streamId = options.streamId;
    this.#phase = options.startPhase;
    this.#rendition = options.rendition;
    // Made here, so that asking once more after a lost reply cannot take a second place.
    this.sessionId = options.sessionId ?? randomId();
    this.#results = this.#watch();
    if (options.signal?.aborted) this.#stopped = true;
    options.signal?.addEventListener('abort', () => void this.stop(), { once: true });
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchResult, undefined> {
    return this.#results;
  }

  takeOver(sessionIds: readonly string[]): void {
    this.#endSessionIds = sessionIds;
    if (this.#refused) this.#askAtOnce();
  }

  pause(): void {
    this.#pausedAt ??= now();
  }

  resume(): void {
    if (this.#pausedAt === undefined) return;
    if (this.#due) this.#due.ms += Math.min(since(this.#pausedAt), since(this.#due.from));
    // Nothing was kept: what is left of the phase is of less worth than knowing.
    if (this.#place === undefined) this.#due = undefined;
    this.#pausedAt = undefined;
    this.#nextTurn();
  }

  seek(phase: number): void {
    this.#phase = phase;
    this.#watchedLast = false;
    this.#askAtOnce();
  }

  choose(rendition: number | undefined): void {
    this.#rendition = rendition;
  }

  moveTo(streamId: string, phase = 0): void {
    this.#streamId = streamId;
    this.#rendition = undefined;
    this.seek(phase);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#given.abort();
    this.#nextTurn();
    if (!this.#mayHold || this.#userId === undefined) return;
    this.#mayHold = false;
    if (await this.#api.release(this.#userId, this.sessionId)) return;
    // A proxy may pass a question on although it was aborted: then it takes the place after this.
    await wait(OVERTAKEN_MS);
    await this.#api.release(this.#userId, this.sessionId);
  }

  #askAtOnce(): void {
    this.#due = undefined;
    this.#refused = false;
    this.#nextTurn();
  }

  #nextTurn(): void {
    this.#turn.abort();
    this.#turn = new AbortController();
  }

  async *#watch(): AsyncGenerator<WatchResult, undefined, undefined> {
    let failed = false;
    try {
      while (!this.#stopped && !this.#refused) {
        const { signal } = this.#turn;
        await this.#tend(signal, () => this.#msUntilDue());
        if (this.#ended) yield* this.#give(this.#ended);
        else if (signal.aborted) continue;
        else if (this.#watchedLast) {
          await this.stop();
          yield { type: 'finished' };
        } else {
          const result = await this.#ask(signal);
          if (result) yield* this.#give(result);
        }
      }
    } catch (error) {
      failed = true;
      throw error;
    } finally {
      if (!failed) await this.stop();
    }
    return undefined;
  }

  /** However long the consumer takes over a result, its place is kept meanwhile. */
  async *#give(result: WatchResult): AsyncGenerator<WatchResult, void, undefined> {
    if (result.type === 'ended') this.#stopped = true;
    this.#given = new AbortController();
    void this.#tend(this.#given.signal, () => Infinity);
    try {
      yield result;
    } finally {
      this.#given.abort();
    }
  }

  #msUntilDue(): number {
    if (this.#due === undefined) return 0;
    return this.#pausedAt ? Infinity : this.#due.ms - since(this.#due.from);
  }

  /** Waits, and says that the place is still wanted where no question will be in time to. */
  async #tend(signal: AbortSignal, msLeft: () => number): Promise<void> {
    for (let failures = 0; !signal.aborted && !this.#stopped && !this.#ended;) {
      const left = msLeft();
      if (left <= 0) return;
      const place = this.#place;
      const sparedMs = place ? place.keptMs * (1 - MARGIN) - since(place.askedAt) : Infinity;
      const renewIn = place && left > sparedMs ? place.renewMs - since(place.askedAt) : Infinity;
      if (renewIn > 0) await nap(Math.min(left, renewIn), signal);
      else if (await this.#keepAlive(place!, signal)) failures = 0;
      else await wait(backOff(failures++, place!.keptMs), signal);
    }
  }

  /** Whether the server answered. What it said of another place than the one that is held by then is of no interest. */
  async #keepAlive(place: Place, signal: AbortSignal): Promise<boolean> {
    const askedAt = now();
    const { userId, sessionId } = place.session;
    try {
      const kept = await this.#api.keepAlive(userId, sessionId, impatient(signal, LONGEST_REQUEST_MS));
      if (this.#place !== place) return true;
      if (kept === undefined) this.#place = undefined;
      else if ('type' in kept) this.#lose(kept);
      else this.#place = new Place(kept, askedAt);
      return true;
    } catch {
      // The next question tells, if it fails as well.
      return false;
    }
  }

  /** Asks for the next phase, again where that may help; undefined when a command came in between. */
  async #ask(turn: AbortSignal): Promise<WatchResult | undefined> {
    const place = this.#place;
    const begun = now();
    const keptMs = place?.keptMs ?? FIRST_PATIENCE_MS;
    // As long as the place is kept; once it is lost, as after a sleep, as long as it takes a network to come back.
    const kept = place ? keptMs - since(place.askedAt) : 0;
    const patienceMs = kept > 0 ? kept : Math.max(keptMs, FIRST_PATIENCE_MS);
    for (let failures = 0; ; failures++) {
      const askedAt = now();
      const leftMs = patienceMs - since(begun);
      try {
        this.#mayHold = true;
        const reply = await this.#api.askForPhase(
          {
            user_id: this.#userId,
            session_id: this.sessionId,
            stream_id: this.#streamId,
            phase: this.#phase,
            rendition: this.#rendition,
            ...(this.#endSessionIds.length > 0 && { end_session_ids: this.#endSessionIds }),
          },
          impatient(turn, Math.min(leftMs, LONGEST_REQUEST_MS)),
        );
        if (turn.aborted) return undefined;
        if (reply.type === 'phase') return this.#accept(reply, askedAt);
        this.#lose(reply);
        return reply;
      } catch (error) {
        if (turn.aborted) return undefined;
        if (!(error instanceof StreamgateError && error.transient)) throw error;
        const waitMs = Math.max(error.retryAfterSeconds * 1_000, backOff(failures, keptMs));
        if (since(begun) + waitMs >= patienceMs) throw error;
        await wait(waitMs, turn);
        if (turn.aborted) return undefined;
      }
    }
  }

  #accept(
    { created, nextRequestInSeconds, ...reply }: PhaseReply & { type: 'phase'; created: boolean },
    askedAt: Instant,
  ): PhaseResult {
    const { session, phase } = reply;
    const readmitted = created && this.#admittedBefore;
    this.#admittedBefore = true;
    this.#place = new Place(session, askedAt);
    this.#userId = session.userId;
    this.#endSessionIds = [];
    // Named, so that asking once more after a lost reply does not skip a phase.
    this.#phase = phase.index + 1;
    this.#watchedLast = phase.last;
    const early = phase.last ? 0 : JITTER * Math.random();
    this.#due = { from: askedAt, ms: nextRequestInSeconds * 1_000 * (1 - early) };
    if (this.#pausedAt) this.#pausedAt = now();
    return { ...reply, readmitted };
  }

  #lose(refusal: Refused | Ended): void {
    this.#place = undefined;
    this.#mayHold = false;
    if (refusal.type === 'ended') this.#ended = refusal;
    else this.#refused = true;
  }
}

/** Doubled with each failure, scattered over its upper half; short where a place is kept only shortly. */
function backOff(failures: number, keptMs: number): number {
  const first = Math.min(SHORTEST_BACK_OFF_MS, keptMs / 8);
  return Math.min(first * 2 ** failures, LONGEST_BACK_OFF_MS) * (1 - Math.random() / 2);
}

function impatient(signal: AbortSignal, ms: number): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(Math.max(1, Math.ceil(ms)))]);
}

/** Not randomUUID, which pages have on secure origins only. */
function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('');
}
