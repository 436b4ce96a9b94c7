import {
  Api,
  type ApiOptions,
  type Ended,
  type PhaseReply,
  type Refused,
  type Session,
  StreamgateError,
} from './api.js';
import { TabSession, watchPage } from './tab.js';
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

/** Jitter: a request is sent up to this fraction early, so that viewers who started together do not stay in step. */
const JITTER = 0.1;
/** A request that starts in the last part of the time for which a place is kept may be too late to renew it. */
const MARGIN = 0.05;
/** How long the first request is retried. Later requests are retried as long as the place is kept. */
const FIRST_PATIENCE_MS = 10_000;
/** A request that takes longer has failed. (The service gives an origin 5 s.) */
const LONGEST_REQUEST_MS = 10_000;
/** An aborted request that reaches the service in spite of that reaches it within this time. */
const OVERTAKEN_MS = 1_000;
const SHORTEST_BACK_OFF_MS = 500;
const LONGEST_BACK_OFF_MS = 10_000;

export interface WatchOptions extends ApiOptions {
  /** May be left out if the token names the user. */
  readonly userId?: string;
  readonly streamId: string;
  /** The session to continue. Default: the session that this tab had before a reload, or else a new one. */
  readonly sessionId?: string;
  /** The first phase. Default: the beginning, or the position of the session. */
  readonly startPhase?: number;
  /** The number of the rendition, from `GET /v1/streams/{stream_id}/renditions`. Default: the first variant. */
  readonly rendition?: number;
  /** Aborting it does the same as `stop()`. */
  readonly signal?: AbortSignal;
}

export interface PhaseResult extends Omit<PhaseReply, 'nextRequestInSeconds'> {
  readonly type: 'phase';
  /** True if the session had lost its place, for example while the computer slept, and was admitted again. */
  readonly readmitted: boolean;
}

/** The last phase was watched, and the place was given back. */
export interface Finished {
  readonly type: 'finished';
}

export type WatchResult = PhaseResult | Refused | Ended | Finished;

/**
 * One session that watches. It starts at the first `next()`, and is for one consumer. Leaving the consumer's loop does
 * the same as `stop()`.
 *
 * The loop ends after `ended`, `finished` and `stop()`. It also ends after `refused`, unless the consumer calls
 * `takeOver`, `seek` or `moveTo`. It throws a StreamgateError if a retry cannot help or did not help. The place is then
 * left to expire, so that another `watch` with the same `sessionId` can continue.
 */
export interface Viewing extends AsyncIterable<WatchResult, undefined> {
  readonly sessionId: string;
  /** After a refusal: asks again, and ends these sessions of the user if, and only if, this session is then admitted. */
  takeOver(sessionIds: readonly string[]): void;
  /** Stops the clock of the phases. The place is kept for as long as the service allows. */
  pause(): void;
  /** Continues with the rest of the phase. */
  resume(): void;
  /** Asks for this phase at once, paused or not. The phases after it follow. */
  seek(phase: number): void;
  /** Uses this rendition from the next phase on; undefined is the first variant. */
  choose(rendition: number | undefined): void;
  /** Plays another stream in the same place, and its first variant until another is chosen. */
  moveTo(streamId: string, phase?: number): void;
  /** Gives the place back. The request is on its way when this function returns, even while the page is closed. */
  stop(): Promise<void>;
}

export function watch(options: WatchOptions): Viewing {
  return new WatchedStream(options);
}

/** The server's last statement about the place that is held, and when it was asked for. */
class Place {
  /** How long the place is kept after that: the difference of two instants of the server. */
  readonly keptMs: number;
  /** When to send a keepalive if no phase is due: late, but with time for one or two retries. */
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
  readonly #tab: TabSession | undefined;
  readonly #stopWatchingPage: () => void;
  readonly #api: Api;
  readonly #results: AsyncGenerator<WatchResult, undefined, undefined>;
  #userId: string | undefined;
  #streamId: string;
  #phase: number | undefined;
  #rendition: number | undefined;
  #endSessionIds: readonly string[] = [];
  /** When the next request is due; undefined means at once. */
  #due: { from: Instant; ms: number } | undefined;
  #pausedAt: Instant | undefined;
  #place: Place | undefined;
  /** True after a request that may have taken a place. */
  #mayHold = false;
  #admittedBefore = false;
  #refused = false;
  #ended: Ended | undefined;
  #watchedLast = false;
  /** True while the next phase is the one behind a phase that was admitted, which will exist even if it does not yet. */
  #follows = false;
  #stopped = false;
  /** Aborted when the consumer returns for the next result. */
  #given = new AbortController();
  /** Aborted by the next command, together with everything under way for the one before. */
  #turn = new AbortController();

  constructor(options: WatchOptions) {
    this.#api = new Api(options);
    this.#userId = options.userId;
    this.#streamId = options.streamId;
    this.#phase = options.startPhase;
    this.#rendition = options.rendition;
    // The client makes the id, so that a retry after a lost reply cannot take a second place.
    this.#tab =
      options.sessionId === undefined
        ? new TabSession(`watch ${options.userId ?? ''} ${options.streamId}`)
        : undefined;
    this.sessionId = options.sessionId ?? this.#tab!.id;
    this.#stopWatchingPage = watchPage(() => void this.#stop('left'));
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
    // The place was lost. To find out whether there is another is worth more than the rest of the phase.
    if (this.#place === undefined) this.#due = undefined;
    this.#pausedAt = undefined;
    this.#nextTurn();
  }

  seek(phase: number): void {
    this.#phase = phase;
    this.#watchedLast = this.#follows = false;
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

  stop(): Promise<void> {
    return this.#stop('user');
  }

  /** `left`: the page goes, and a reload may continue the session. */
  async #stop(reason: 'user' | 'left'): Promise<void> {
    this.#stopped = true;
    this.#given.abort();
    this.#nextTurn();
    this.#stopWatchingPage();
    this.#tab?.forget();
    if (!this.#mayHold || this.#userId === undefined) return;
    this.#mayHold = false;
    if (await this.#api.release(this.#userId, this.sessionId, reason)) return;
    // A proxy may forward a request although it was aborted. That request would take a place after the release.
    await wait(OVERTAKEN_MS);
    await this.#api.release(this.#userId, this.sessionId, reason);
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

  /** Yields a result, and keeps the place for as long as the consumer is busy with it. */
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

  /** Waits until the next request is due, and sends keepalives if that request would come too late to keep the place. */
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

  /** Returns whether the server answered. An answer about a place that is no longer held is ignored. */
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
      // If the service stays away, the next request for a phase fails too and reports it.
      return false;
    }
  }

  /** Asks for the next phase, with retries. Returns undefined if a command came in between. */
  async #ask(turn: AbortSignal): Promise<WatchResult | undefined> {
    const place = this.#place;
    const begun = now();
    const keptMs = place?.keptMs ?? FIRST_PATIENCE_MS;
    // Retry as long as the place is kept. If it is lost, for example after sleep, give the network time to come back.
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
        if (!(error instanceof StreamgateError && (error.transient || this.#isEarly(error)))) throw error;
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
    // The request names its phase, so that a retry after a lost reply does not skip one.
    this.#phase = phase.index + 1;
    this.#watchedLast = phase.last;
    this.#follows = !phase.last;
    const early = phase.last ? 0 : JITTER * Math.random();
    this.#due = { from: askedAt, ms: nextRequestInSeconds * 1_000 * (1 - early) };
    if (this.#pausedAt) this.#pausedAt = now();
    return { ...reply, readmitted };
  }

  /** Whether the next phase of a live stream was asked for before it was whole, as jitter or an encoder's delay cause. */
  #isEarly({ code }: StreamgateError): boolean {
    return this.#follows && code === 'phase-not-found';
  }

  #lose(refusal: Refused | Ended): void {
    this.#place = undefined;
    this.#mayHold = false;
    if (refusal.type === 'ended') this.#ended = refusal;
    else this.#refused = true;
  }
}

/** Exponential backoff with jitter over the upper half. It starts shorter if a place is kept only for a short time. */
function backOff(failures: number, keptMs: number): number {
  const first = Math.min(SHORTEST_BACK_OFF_MS, keptMs / 8);
  return Math.min(first * 2 ** failures, LONGEST_BACK_OFF_MS) * (1 - Math.random() / 2);
}

function impatient(signal: AbortSignal, ms: number): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(Math.max(1, Math.ceil(ms)))]);
}
