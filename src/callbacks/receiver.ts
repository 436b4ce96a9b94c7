import { Logger } from '@nestjs/common';
import pLimit from 'p-limit';
import { type Clock } from '../clock.js';
import { type SessionEvent } from '../sessions/session-events.js';
import { type Failed, type Sent } from './callback-sender.js';

const REQUESTS_AT_ONCE = 64;
const FIRST_RETRY_MS = 1_000;
/** The longest wait between two tries, also where the receiver asks for more. */
const LONGEST_RETRY_MS = 15 * 60_000;
/** The receiver counts as down after this many failures in a row, of several events, without a success for this long. */
const DOWN_AFTER = 10;
const DOWN_AFTER_MS = 30_000;
/**
 * After so many deliveries in a row, the events that wait for their next try are tried at once. An event that fails then
 * is most likely refused for its own sake: its wait is cut short again only after four times as many deliveries.
 */
const FIRST_STREAK = 5;
const STREAKS = [FIRST_STREAK, 20, 80, 320];
const NEXT_STREAK = 4;

/** Longer than an instance takes to look for new events. */
const OTHERS_FIRST_MS = 2_000;

/** How long to wait after this many tries: 0.5 to 1 s after the first, then four times as long each, up to 15 min. */
export function backOffMs(tries: number, random: () => number): number {
  const longest = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 4 ** (tries - 1));
  return longest * (0.5 + random() / 2);
}

/** How this instance sees the receiver. */
export interface ReceiverView {
  /**
   * `failing`: every try has failed for a while. `resting`: it asked for fewer requests. `stopped`: it is gone (410), and
   * an operator has to resume the deliveries.
   */
  readonly state: 'working' | 'failing' | 'resting' | 'stopped';
  /** When that state began; undefined while it works. Unix milliseconds. */
  readonly since: number | undefined;
  /** Why it is not working. */
  readonly failure: string | undefined;
}

/** An event that waits for its next try. */
interface Wait {
  /** The number of deliveries in a row that cuts it short. */
  readonly streak: number;
  readonly end: AbortController;
}

/** The history of the tries of one event. */
export class Tries {
  /** The number of deliveries in a row that cuts the next wait short. */
  streak = FIRST_STREAK;
  /** How many events the receiver had taken when it last asked for a rest instead of taking this one. */
  deliveriesAtRest: number | undefined;

  constructor(public count: number) {}

  /** Failed although the receiver worked for other events. */
  get isSuspect(): boolean {
    return this.streak > FIRST_STREAK;
  }
}

/**
 * The circuit breaker of a receiver. It decides from the outcomes of all tries when the next may be sent, and how many at
 * the same time. This state is kept in this process: another instance, or this one after a restart, learns it anew.
 */
export class Receiver {
  private readonly log = new Logger(Receiver.name);
  private readonly limit = pLimit(REQUESTS_AT_ONCE);
  private readonly waits = new Set<Wait>();
  private deliveries = 0;
  private deliveredInARow = 0;
  private failuresInARow = 0;
  /** Since when every try failed, on the clock that only goes forward. */
  private failingSince = 0;
  private firstFailing = '';
  private severalFail = false;
  private restsInARow = 0;
  /** On the clock that only goes forward. */
  private restsUntil = 0;
  private resumed = new AbortController();
  private view: ReceiverView = { state: 'working', since: undefined, failure: undefined };

  /** `stopping`: aborted when the service stops, which ends all waits. */
  constructor(
    private readonly name: string,
    private readonly clock: Clock,
    private readonly stopping: AbortSignal,
  ) {}

  /** Every try has failed for a while. Events are tried one at a time, to find out whether the receiver works again. */
  get isDown(): boolean {
    return this.view.state === 'failing';
  }

  /** It gets no requests for now. */
  get isClosed(): boolean {
    return this.isStopped || this.clock.monotonic() < this.restsUntil;
  }

  get isStopped(): boolean {
    return this.view.state === 'stopped';
  }

  /** The tries that wait for a free connection. */
  get pending(): number {
    return this.limit.pendingCount;
  }

  look(): ReceiverView {
    if (this.view.state !== 'resting' || this.isClosed) return this.view;
    return { state: 'working', since: undefined, failure: undefined };
  }

  /**
   * Sends when a connection is free. Undefined if the receiver was closed in the meantime. An answer that closes the
   * receiver does so before the connection is free for the next event.
   */
  async send(send: () => Promise<Sent>): Promise<Sent | undefined> {
    return this.limit(async () => {
      if (this.isClosed) return undefined;
      const sent = await send();
      if (!sent.delivered && sent.asks === 'stop') this.stop(sent.failure);
      if (!sent.delivered && sent.asks === 'rest') this.rest(sent.failure, sent.retryAfterMs);
      return sent;
    });
  }

  /** Waits while the receiver is closed, or until the service stops. */
  async untilOpen(): Promise<void> {
    while (this.isClosed && !this.stopping.aborted)
      if (this.isStopped) await this.pause(undefined, this.resumed.signal);
      else await this.pause(this.restsUntil - this.clock.monotonic());
  }

  /**
   * Waits until the receiver is open, and then until other events have had their turn: an event that alone makes the
   * receiver ask for a rest would otherwise be the first after each rest, and hold up all others.
   */
  async letOthersPass(): Promise<void> {
    await this.untilOpen();
    await this.pause(OTHERS_FIRST_MS);
  }

  /** The receiver accepted an event. */
  delivered(): void {
    this.deliveries++;
    this.deliveredInARow++;
    this.failuresInARow = 0;
    this.restsInARow = 0;
    if (!this.isClosed && this.limit.concurrency < REQUESTS_AT_ONCE) this.limit.concurrency *= 2;
    const wasDown = this.isDown;
    if (wasDown) this.log.log({ receiver: this.name, msg: 'the receiver of callbacks works again' });
    if (!this.isClosed) this.view = { state: 'working', since: undefined, failure: undefined };
    if (!wasDown && !STREAKS.includes(this.deliveredInARow)) return;
    for (const wait of this.waits) if (wasDown || wait.streak <= this.deliveredInARow) wait.end.abort();
  }

  /**
   * Notes a failed try. Returns whether the try counts against the event. It does not if the receiver is gone, or if it is
   * busy and has accepted no other event since this one was last tried.
   */
  failed(event: SessionEvent, tries: Tries, { failure, asks }: Failed): boolean {
    if (asks === 'stop') return false;
    if (asks === 'rest') {
      const before = tries.deliveriesAtRest;
      tries.deliveriesAtRest = this.deliveries;
      return before !== undefined && this.deliveries > before;
    }
    // The receiver refuses this event but accepts others, so that this failure does not mean that the receiver fails.
    if (!tries.isSuspect) this.deliveredInARow = 0;
    this.noteFailure(event, failure);
    return true;
  }

  /**
   * Waits before an event is tried again. The wait is at least as long as the receiver asked for. The rest of it is cut
   * short when the receiver works again.
   */
  async waitForRetry(tries: Tries, askedMs: number): Promise<void> {
    const asked = Math.min(askedMs, LONGEST_RETRY_MS);
    if (asked > 0) await this.pause(asked);
    const wait: Wait = { streak: tries.streak, end: new AbortController() };
    this.waits.add(wait);
    await this.pause(Math.max(0, this.backOffMs(tries.count) - asked), wait.end.signal);
    this.waits.delete(wait);
    if (wait.end.signal.aborted) tries.streak *= NEXT_STREAK;
  }

  /** Ends a stop. Returns whether there was one. */
  resume(): boolean {
    if (!this.isStopped) return false;
    this.log.log({ receiver: this.name, msg: 'deliveries of callbacks were resumed' });
    this.view = { state: 'working', since: undefined, failure: undefined };
    this.resumed.abort();
    this.resumed = new AbortController();
    return true;
  }

  private stop(failure: string): void {
    // The next tries after a stop or a rest begin with a single one.
    this.limit.concurrency = 1;
    if (this.isStopped) return;
    this.view = { state: 'stopped', since: this.clock.now(), failure };
    this.log.error({
      receiver: this.name,
      failure,
      msg: 'deliveries of callbacks are stopped, events wait: see POST /internal/callbacks/resume',
    });
  }

  private rest(failure: string, retryAfterMs: number): void {
    this.limit.concurrency = 1;
    // The outcomes of requests that were under way together are one request for a rest.
    if (!this.isClosed) this.restsInARow++;
    const ms = Math.min(retryAfterMs || this.backOffMs(this.restsInARow), LONGEST_RETRY_MS);
    this.restsUntil = Math.max(this.restsUntil, this.clock.monotonic() + ms);
    if (this.isStopped) return;
    if (this.look().state !== 'resting' && this.restsInARow === 1)
      this.log.warn({
        receiver: this.name,
        failure,
        msg: 'the receiver of callbacks asks for fewer requests: events wait',
      });
    const since = this.view.state === 'resting' ? this.view.since : this.clock.now();
    this.view = { state: 'resting', since, failure };
  }

  private backOffMs(tries: number): number {
    return backOffMs(tries, () => this.clock.jitter());
  }

  private noteFailure(event: SessionEvent, failure: string): void {
    const now = this.clock.monotonic();
    if (this.failuresInARow++ === 0)
      [this.failingSince, this.firstFailing, this.severalFail] = [now, event.id, false];
    this.severalFail ||= event.id !== this.firstFailing;
    if (this.isClosed || this.isDown || !this.severalFail || this.failuresInARow < DOWN_AFTER) return;
    if (now - this.failingSince < DOWN_AFTER_MS) return;
    this.view = { state: 'failing', since: this.clock.now(), failure };
    this.log.error({
      receiver: this.name,
      failure,
      msg: 'the receiver of callbacks is down: events wait in the outbox',
    });
  }

  /** Waits for `ms` milliseconds, or for ever without `ms`, unless the service stops or the signal is aborted. */
  private async pause(ms: number | undefined, ...signals: readonly AbortSignal[]): Promise<void> {
    const signal = AbortSignal.any([this.stopping, ...signals]);
    if (ms !== undefined) return this.clock.sleep(ms, { signal }).catch(() => undefined);
    if (!signal.aborted)
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
  }
}
