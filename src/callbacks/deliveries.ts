import { Logger } from '@nestjs/common';
import { type Clock } from '../clock.js';
import { StoreUnavailableError } from '../sessions/session.repository.js';
import { type CallbackOutbox, type OutboxEntry, type SessionEvent } from '../sessions/session-events.js';
import { type CallbackSender, type Sent } from './callback-sender.js';
import { Receiver, type ReceiverView, Tries } from './receiver.js';

/** How many events this instance sends, or is about to send, at the same time. The others wait in the store. */
const MAX_AT_WORK = 512;
/**
 * The bound on all events in hand: those at work, those that wait for their next try, and those behind them, about 2 KB
 * each. A receiver can refuse some hundred events for good. This bound leaves room for the others in the hours of tries.
 */
const MAX_IN_HAND = 4_096;
/**
 * How many events are taken at once. More are taken when half as many wait for a connection: viewers would notice the
 * delay if 512 were taken in one step.
 */
const MAX_TAKEN = 64;
/** The pause between two requests, so that a backlog does not delay the requests of viewers (docs/decisions/0007). */
const APART_MS = 1;
/** After so many requests in a row the events are a backlog, which is not urgent. */
const BACKLOG = 500;
const APART_IN_BACKLOG_MS = 2;
/** How often the outbox is polled. It is polled at once if it had events the last time, or if a sweep has just added some. */
const POLL_MS = 1_000;
/** How often this instance renews its claim on the events in hand. */
const CLAIM_MS = 5_000;
/** How long a graceful shutdown waits for the outcome of requests that are under way. */
const STOP_MS = 2_000;

/**
 * Delivers the events of one outbox to its receiver: at least once, in order per session, tried again until
 * CALLBACK_MAX_TRIES. Deliveries run beside the requests of viewers and do not delay them: an event that cannot be
 * delivered stays in the store.
 *
 * A stop at 410 is kept in this process. Meanwhile the instance takes no events and does not renew its claim on those in
 * hand, so that an instance whose deliveries were resumed takes them over after 20 s. After its own resume it delivers the
 * events that it still has in hand, so that an event can arrive twice, under one webhook-id.
 */
export class Deliveries {
  private readonly log = new Logger(Deliveries.name);
  private readonly stopping = new AbortController();
  private readonly breakOff = new AbortController();
  private readonly receiver: Receiver;
  /** For each session with events in hand, its last delivery. The next one waits for it. */
  private readonly lanes = new Map<string, Promise<void>>();
  private inHand = 0;
  private atWork = 0;
  /** Whether the last poll of the outbox found events. */
  private mayBeMore = false;
  private sentInARow = 0;
  private nextTurn: Promise<void> = Promise.resolve();
  private running: Promise<void> | undefined;
  private wakeUp = new AbortController();
  private givenUp = 0;
  private storeFails = false;

  /** `name`: of the receiver. */
  constructor(
    private readonly name: string,
    private readonly outbox: CallbackOutbox,
    private readonly sender: Pick<CallbackSender, 'send'>,
    private readonly clock: Clock,
    private readonly maxTries: number,
  ) {
    this.receiver = new Receiver(name, clock, this.stopping.signal);
  }

  /** To be called once. */
  start(): void {
    this.running = this.run();
  }

  /** Gives the events that are not delivered by then back to the store, so that another instance can take them at once. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
    const lanes = Promise.allSettled(this.lanes.values());
    await Promise.race([lanes, this.clock.sleep(STOP_MS, { ref: false })]);
    this.breakOff.abort();
    await this.outbox.release().catch((error: Error) => {
      this.log.warn({
        receiver: this.name,
        reason: error.message,
        msg: 'events in hand could not be given back',
      });
    });
  }

  /** How this instance sees the receiver. */
  receiverView(): ReceiverView {
    return this.receiver.look();
  }

  get isStopped(): boolean {
    return this.receiver.isStopped;
  }

  /** Resumes deliveries that the receiver stopped by 410, on this instance. Returns whether they were stopped. */
  resume(): boolean {
    const resumed = this.receiver.resume();
    if (resumed) this.wake();
    return resumed;
  }

  /** Ends the current wait between two polls of the outbox. */
  wake(): void {
    this.wakeUp.abort();
  }

  private async run(): Promise<void> {
    let lastClaim = this.clock.monotonic();
    while (!this.stopping.signal.aborted) {
      try {
        if (this.clock.monotonic() - lastClaim >= CLAIM_MS) {
          lastClaim = this.clock.monotonic();
          this.logGivenUp();
          if (!this.receiver.isStopped) await this.outbox.stillDelivering();
        }
        const taken = await this.takeEvents();
        if (this.storeFails) this.log.log({ receiver: this.name, msg: 'the outbox works again' });
        this.storeFails = false;
        this.mayBeMore = taken > 0;
        if (!this.mayBeMore) this.sentInARow = 0;
        if (this.mayBeMore && this.hasRoom()) continue;
      } catch (error) {
        // The store has logged an outage itself.
        const announced = error instanceof StoreUnavailableError && error.announced;
        if (!announced && !this.storeFails)
          this.log.error({
            receiver: this.name,
            reason: (error as Error).message,
            msg: 'the outbox failed; further failures are not logged until it works again',
          });
        this.storeFails ||= !announced;
      }
      await this.pause(POLL_MS, this.wakeUp.signal);
      this.wakeUp = new AbortController();
    }
  }

  private async takeEvents(): Promise<number> {
    // A receiver that is down gets one new event at each poll, so that its recovery is noticed soon.
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

  /** Ends when the event is delivered or given up, or when the service stops. Never rejects. */
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
        receiver: this.name,
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
      // If this instance crashes, another one continues with this number of tries.
      void this.outbox.failed(event, tries.count).catch(() => undefined);
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

  /** Sends after a pause since the request before. In a busy process timers fire later, so that it sends less. */
  private async send(event: SessionEvent): Promise<Sent> {
    const turn = this.nextTurn;
    const apart = ++this.sentInARow > BACKLOG ? APART_IN_BACKLOG_MS : APART_MS;
    this.nextTurn = turn.then(async () => this.clock.sleep(apart));
    await turn;
    if (this.mayBeMore && this.hasRoom()) this.wake();
    return this.sender.send(event, this.breakOff.signal);
  }

  private hasRoom(): boolean {
    if (this.receiver.isClosed || this.receiver.isDown || this.inHand >= MAX_IN_HAND) return false;
    return this.atWork < MAX_AT_WORK && this.receiver.pending < MAX_TAKEN / 2;
  }

  /** Tries until the outcome is in the store. Otherwise the event would be delivered once more. */
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

  private logGivenUp(): void {
    if (this.givenUp === 0) return;
    this.log.error({
      receiver: this.name,
      events: this.givenUp,
      msg: `given up after ${this.maxTries} tries: see GET /internal/callbacks/dead-letters`,
    });
    this.givenUp = 0;
  }

  /** Waits, unless the service stops or one of the signals is aborted. */
  private async pause(ms: number, ...signals: readonly AbortSignal[]): Promise<void> {
    const signal = AbortSignal.any([this.stopping.signal, ...signals]);
    await this.clock.sleep(ms, { signal }).catch(() => undefined);
  }
}
