import { setTimeout as sleep } from 'node:timers/promises';
import {
  type BeforeApplicationShutdown,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { Metrics } from '../observability/metrics.js';
import { StoreUnavailableError } from '../sessions/session.repository.js';
import { CallbackOutbox, type OutboxEntry, type SessionEvent } from '../sessions/session-events.js';
import { CallbackSender, type Sent } from './callback-sender.js';
import { Receiver, type ReceiverView, Tries } from './receiver.js';

/** What this instance sends, or is about to send, at once; the rest waits in the store. */
const MAX_AT_WORK = 512;
/**
 * That, what waits for its next try, and what waits behind it. Much more, or a few hundred events that the receiver
 * refuses for good would hold up all others for the hours in which they are tried again; some 2 KB each.
 */
const MAX_IN_HAND = 4_096;
/** What it takes up at once, and only when half as many wait for their turn: in one go, 512 would be felt by viewers. */
const MAX_TAKEN = 64;
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
/**
 * Delivers events from the outbox to CALLBACK_URL: at least once, in order per session, tried again until
 * CALLBACK_MAX_TRIES. It runs beside the requests and never in their way: what it cannot deliver stays in the store.
 *
 * A stop at 410 is kept in this process. Meanwhile the instance takes nothing and no longer reports the events in hand as
 * its own, so that an instance whose deliveries were resumed takes them over after 20 s. After its own resume it delivers
 * what it still has in hand, so that an event can arrive twice, under one webhook-id.
 */
@Injectable()
export class CallbacksService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly log = new Logger(CallbacksService.name);
  private readonly stopping = new AbortController();
  private readonly breakOff = new AbortController();
  private readonly receiver: Receiver;
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
    this.receiver = new Receiver(clock, this.stopping.signal);
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

  /** How this instance sees the receiver. */
  receiverView(): ReceiverView {
    return this.receiver.look();
  }

  /** Resumes deliveries that the receiver stopped by 410, on this instance. Tells whether they were stopped. */
  resume(): boolean {
    const resumed = this.receiver.resume();
    if (resumed) this.wake();
    return resumed;
  }

  private register(metrics: Metrics): void {
    metrics.gauge(
      'callbacks_stopped',
      'Deliveries are stopped by a 410 of the receiver (1) or not (0).',
      () => Number(this.receiver.isStopped),
    );
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
          if (!this.receiver.isStopped) await this.outbox.stillDelivering();
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
    const most = this.receiver.isClosed ? 0 : this.receiver.isDown ? 1 : MAX_TAKEN;
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
    // An event that used up its tries on instances that crashed gets one more.
    const tries = new Tries(Math.min(before, this.maxTries - 1));
    for (;;) {
      await this.idle(() => this.receiver.untilOpen());
      if (this.stopping.signal.aborted) return;
      const sent = await this.receiver.send(() => this.send(event));
      if (sent === undefined) continue;
      if (sent.delivered) {
        this.receiver.delivered();
        await this.persist(() => this.outbox.settle(event));
        return;
      }
      if (this.breakOff.signal.aborted) return;
      this.log.debug({
        type: event.type,
        session_id: event.sessionId,
        tries: tries.count + 1,
        failure: sent.failure,
        msg: 'callback failed',
      });
      if (!this.receiver.failed(event, tries, sent)) {
        await this.idle(() => this.receiver.letOthersPass());
        continue;
      }
      if (++tries.count >= this.maxTries) {
        this.givenUp++;
        await this.persist(() => this.outbox.bury(event, tries.count, sent.failure));
        return;
      }
      void this.outbox.failed(event, tries.count).catch(() => undefined); // for another instance, should this one crash
      await this.idle(() => this.receiver.waitForRetry(tries, sent.retryAfterMs));
    }
  }

  private async work(deliver: () => Promise<void>): Promise<void> {
    this.atWork++;
    await deliver();
    this.atWork--;
  }

  /** Waits without counting as an event at work. */
  private async idle(wait: () => Promise<void>): Promise<void> {
    this.atWork--;
    await wait();
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
    if (this.receiver.isClosed || this.receiver.isDown || this.inHand >= MAX_IN_HAND) return false;
    return this.atWork < MAX_AT_WORK && this.receiver.pending < MAX_TAKEN / 2;
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

  private tellGivenUp(): void {
    if (this.givenUp === 0) return;
    this.log.error({
      events: this.givenUp,
      msg: `given up after ${this.maxTries} tries: see GET /internal/callbacks/dead-letters`,
    });
    this.givenUp = 0;
  }

  /** Waits, unless the service stops or one of the signals is aborted. */
  private async pause(ms: number, ...signals: readonly AbortSignal[]): Promise<void> {
    const signal = AbortSignal.any([this.stopping.signal, ...signals]);
    await sleep(ms, undefined, { signal }).catch(() => undefined);
  }
}
