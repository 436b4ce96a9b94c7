import { setTimeout as sleep } from 'node:timers/promises';
import {
  type BeforeApplicationShutdown,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import pLimit from 'p-limit';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { Metrics } from '../observability/metrics.js';
import { StoreUnavailableError } from '../sessions/session.repository.js';
import { CallbackOutbox, type OutboxEntry, type SessionEvent } from '../sessions/session-events.js';
import { CallbackSender, type Sent } from './callback-sender.js';

/** What this instance sends, or is about to send, at once; the rest waits in the store. */
const MAX_AT_WORK = 512;
/**
 * That, what waits for its next try, and what waits behind it. Much more, or a few hundred events that the receiver
 * refuses for good would hold up all others for the hours in which they are tried again; some 2 KB each.
 */
const MAX_IN_HAND = 4_096;
/** What it takes up at once, and only when half as many wait for their turn: in one go, 512 would be felt by viewers. */
const MAX_TAKEN = 64;
const REQUESTS_AT_ONCE = 64;
/** Between one request and the next, or what has piled up would hold up the requests of viewers (docs/decisions/0007). */
const APART_MS = 1;
/** After so many without a rest it is a backlog, which has time. */
const BACKLOG = 500;
const APART_IN_BACKLOG_MS = 2;
/** How often the outbox is asked; at once where it had something, or where a sweep has just put something in. */
const POLL_MS = 1_000;
/** How often the store is told that what is in hand is in hand still. */
const WORD_MS = 5_000;
/** How long the outcome of requests under way is waited for when the service stops. */
const STOP_MS = 2_000;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 15 * 60_000;
/** So many failures in a row of several events, and no success for so long, are no event's own fault. */
const DOWN_AFTER = 10;
const DOWN_AFTER_MS = 30_000;

/** How long to wait after this many tries: 0.5 to 1 s after the first, then four times as long each, up to 15 min. */
export function backOffMs(tries: number, random: () => number = Math.random): number {
  const longest = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 4 ** (tries - 1));
  return longest * (0.5 + random() / 2);
}

/**
 * Delivers events from the outbox to CALLBACK_URL: at least once, in order per session, tried again until
 * CALLBACK_MAX_TRIES. It runs beside the requests and never in their way: what it cannot deliver stays in the store.
 */
@Injectable()
export class CallbacksService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly log = new Logger(CallbacksService.name);
  private readonly stopping = new AbortController();
  private readonly breakOff = new AbortController();
  private readonly limit = pLimit(REQUESTS_AT_ONCE);
  private readonly maxTries: number;
  /** The last delivery of each session that has any in hand: the next one waits for it. */
  private readonly lanes = new Map<string, Promise<void>>();
  private inHand = 0;
  private atWork = 0;
  /** The last look at the outbox found something. */
  private mayBeMore = false;
  private sentInARow = 0;
  private nextTurn: Promise<void> = Promise.resolve();
  private running: Promise<void> | undefined;
  private wakeUp = new AbortController();
  /** Aborted when the receiver works again: what waits for its next try need not. */
  private recovered = new AbortController();
  private failuresInARow = 0;
  /** Since when every try failed, on the clock that only goes forward. */
  private failingSince = 0;
  private firstFailing = '';
  private severalFail = false;
  private down = false;
  private givenUp = 0;
  private storeFails = false;

  constructor(
    private readonly outbox: CallbackOutbox,
    private readonly sender: CallbackSender,
    private readonly clock: Clock,
    config: Config,
    metrics: Metrics,
  ) {
    this.maxTries = config.CALLBACK_MAX_TRIES;
    this.register(metrics);
  }

  onApplicationBootstrap(): void {
    if (!this.sender.enabled) return;
    this.outbox.onNewEvents(() => {
      this.wake();
    });
    this.running = this.run();
  }

  /** What is not delivered by then goes back to the store, for another instance to take at once. */
  async beforeApplicationShutdown(): Promise<void> {
    if (!this.running) return;
    this.stopping.abort();
    await this.running;
    const lanes = Promise.allSettled(this.lanes.values());
    await Promise.race([lanes, sleep(STOP_MS, undefined, { ref: false })]);
    this.breakOff.abort();
    await this.outbox.release().catch((error: Error) => {
      this.log.warn({ reason: error.message, msg: 'events in hand could not be given back' });
    });
  }

  private register(metrics: Metrics): void {
    metrics.fromStore(
      {
        callbacks_waiting: { type: 'gauge', help: 'Events that are not delivered yet.' },
        callbacks_oldest_seconds: { type: 'gauge', help: 'The age of the oldest event that waits.' },
        callbacks_dead_letters: { type: 'gauge', help: 'Events that were given up.' },
        callbacks_lost_total: { type: 'counter', help: 'Events and dead letters that were dropped.' },
      },
      async () => {
        const { waiting, oldestAt, deadLetters, lost } = await this.outbox.state();
        const ageMs = oldestAt === undefined ? 0 : Math.max(0, this.clock.now() - oldestAt);
        return {
          callbacks_waiting: waiting,
          callbacks_oldest_seconds: ageMs / 1_000,
          callbacks_dead_letters: deadLetters,
          callbacks_lost_total: lost,
        };
      },
    );
  }

  /** Ends the current wait between two polls of the outbox. */
  private wake(): void {
    this.wakeUp.abort();
  }

  private async run(): Promise<void> {
    let lastWord = this.clock.monotonic();
    while (!this.stopping.signal.aborted) {
      try {
        if (this.clock.monotonic() - lastWord >= WORD_MS) {
          lastWord = this.clock.monotonic();
          this.tellGivenUp();
          await this.outbox.stillDelivering();
        }
        const taken = await this.takeUp();
        if (this.storeFails) this.log.log('the outbox works again');
        this.storeFails = false;
        this.mayBeMore = taken > 0;
        if (!this.mayBeMore) this.sentInARow = 0;
        if (this.mayBeMore && this.hasRoom()) continue;
      } catch (error) {
        // A store that is away has said so itself.
        const announced = error instanceof StoreUnavailableError && error.announced;
        if (!announced && !this.storeFails)
          this.log.error({ reason: (error as Error).message, msg: 'the outbox fails from now on' });
        this.storeFails ||= !announced;
      }
      await this.pause(POLL_MS, this.wakeUp.signal);
      this.wakeUp = new AbortController();
    }
  }

  private async takeUp(): Promise<number> {
    // A receiver that is down is asked with one new event each time, to be found working again soon.
    const most = this.down ? 1 : MAX_TAKEN;
    const room = Math.min(most, MAX_AT_WORK - this.atWork, MAX_IN_HAND - this.inHand);
    const entries = await this.outbox.take(Math.max(0, room));
    for (const entry of entries) {
      this.inHand++;
      const { userId, sessionId } = entry.event;
      const key = `${userId} ${sessionId}`;
      const lane = (this.lanes.get(key) ?? Promise.resolve())
        .then(() => this.work(() => this.deliver(entry)))
        .finally(() => {
          this.inHand--;
          if (this.lanes.get(key) === lane) this.lanes.delete(key);
        });
      this.lanes.set(key, lane);
    }
    return entries.length;
  }

  /** Ends when the event is settled, or when the service stops. Never rejects. */
  private async deliver({ event, tries: before }: OutboxEntry): Promise<void> {
    // What was tried often enough by instances that died of it, or of something else, gets one more try.
    for (let tries = Math.min(before, this.maxTries - 1) + 1; ; tries++) {
      if (this.stopping.signal.aborted) return;
      const sent = await this.limit(() => this.send(event));
      if (sent.delivered) {
        this.receiverWorks();
        await this.persist(() => this.outbox.settle(event));
        return;
      }
      if (this.breakOff.signal.aborted) return;
      this.receiverFails(event, tries, sent.failure);
      if (tries >= this.maxTries) {
        this.givenUp++;
        await this.persist(() => this.outbox.bury(event, tries, sent.failure));
        return;
      }
      void this.outbox.failed(event, tries).catch(() => undefined); // one try more, then, should this instance die
      await this.rest(backOffMs(tries), Math.min(sent.retryAfterMs, LONGEST_RETRY_MS));
    }
  }

  private async work(deliver: () => Promise<void>): Promise<void> {
    this.atWork++;
    await deliver();
    this.atWork--;
  }

  /** What the receiver asked for is kept to; the rest of the wait is cut short when it works again. */
  private async rest(ms: number, asked: number): Promise<void> {
    this.atWork--;
    if (asked > 0) await this.pause(asked);
    await this.pause(Math.max(0, ms - asked), this.recovered.signal);
    this.atWork++;
  }

  /** In its turn. A process that is busy comes to its timers later and so sends less. */
  private async send(event: SessionEvent): Promise<Sent> {
    const turn = this.nextTurn;
    const apart = ++this.sentInARow > BACKLOG ? APART_IN_BACKLOG_MS : APART_MS;
    this.nextTurn = turn.then(() => sleep(apart));
    await turn;
    if (this.mayBeMore && this.hasRoom()) this.wake();
    return this.sender.send(event, this.breakOff.signal);
  }

  private hasRoom(): boolean {
    if (this.down || this.inHand >= MAX_IN_HAND) return false;
    return this.atWork < MAX_AT_WORK && this.limit.pendingCount < MAX_TAKEN / 2;
  }

  /** An outcome must reach the store, or the event is delivered once more: tries until it does. */
  private async persist(write: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await write();
        return;
      } catch {
        if (this.stopping.signal.aborted) return;
        await this.pause(POLL_MS);
      }
    }
  }

  private receiverWorks(): void {
    this.failuresInARow = 0;
    if (!this.down) return;
    this.down = false;
    this.log.log('the receiver of callbacks works again');
    this.recovered.abort();
    this.recovered = new AbortController();
  }

  private receiverFails(event: SessionEvent, tries: number, failure: string): void {
    this.log.debug({ type: event.type, session_id: event.sessionId, tries, failure, msg: 'callback failed' });
    const now = this.clock.monotonic();
    if (this.failuresInARow++ === 0)
      [this.failingSince, this.firstFailing, this.severalFail] = [now, event.id, false];
    this.severalFail ||= event.id !== this.firstFailing;
    if (this.down || !this.severalFail || this.failuresInARow < DOWN_AFTER) return;
    if (now - this.failingSince < DOWN_AFTER_MS) return;
    this.down = true;
    this.log.error({ failure, msg: 'the receiver of callbacks is down: events wait in the outbox' });
  }

  private tellGivenUp(): void {
    if (this.givenUp === 0) return;
    this.log.error({
      events: this.givenUp,
      msg: `given up after ${this.maxTries} tries: see GET /internal/callbacks/dead-letters`,
    });
    this.givenUp = 0;
  }

  /** Waits, unless the service stops or one of these is aborted. */
  private async pause(ms: number, ...signals: readonly AbortSignal[]): Promise<void> {
    const signal = AbortSignal.any([this.stopping.signal, ...signals]);
    await sleep(ms, undefined, { signal }).catch(() => undefined);
  }
}
