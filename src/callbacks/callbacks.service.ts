import { type BeforeApplicationShutdown, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { Network } from '../network.js';
import { Metrics } from '../observability/metrics.js';
import { type SeriesMetric, type TimedSeries } from '../observability/series.js';
import { Tracing } from '../observability/tracing.js';
import { CallbackOutboxes, type DeadLetter, type OutboxState, totalOf } from '../sessions/session-events.js';
import { CallbackSender, type Sent } from './callback-sender.js';
import { Deliveries } from './deliveries.js';
import { type ReceiverView } from './receiver.js';

/** The outbox of one receiver in the store, and the receiver as this instance sees it. */
export interface ReceiverState extends OutboxState, ReceiverView {
  readonly receiver: string;
}

/** A dead letter, with the name of its receiver. */
export interface ListedDeadLetter extends DeadLetter {
  readonly receiver: string;
}

/** Delivers events to the receivers of callbacks. Each has its own outbox and deliveries: one that is away delays no other. */
@Injectable()
export class CallbacksService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly deliveries: ReadonlyMap<string, Deliveries>;

  constructor(
    private readonly outboxes: CallbackOutboxes,
    private readonly clock: Clock,
    config: Config,
    metrics: Metrics,
    tracing: Tracing,
    network: Network,
  ) {
    const tries = metrics.histogram<'receiver' | 'result'>(
      'callback_duration_seconds',
      'Tries of this instance to deliver an event, by the receiver and the result.',
    );
    this.deliveries = new Map(
      config.receivers.map((receiver) => [
        receiver.receiver,
        new Deliveries(
          receiver.receiver,
          outboxes.of(receiver.receiver),
          this.measured(
            receiver.receiver,
            new CallbackSender(receiver, clock, tracing, network.dispatcher()),
            tries,
          ),
          clock,
          config.CALLBACK_MAX_TRIES,
        ),
      ]),
    );
    this.register(metrics);
  }

  onApplicationBootstrap(): void {
    for (const deliveries of this.deliveries.values()) {
      this.outboxes.onNewEvents(() => {
        deliveries.wake();
      });
      deliveries.start();
    }
  }

  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all([...this.deliveries.values()].map((deliveries) => deliveries.stop()));
  }

  /** The state of each receiver. Rejects with StoreUnavailableError. */
  async states(): Promise<readonly ReceiverState[]> {
    return Promise.all(
      [...this.outboxes.byReceiver].map(async ([receiver, outbox]) => ({
        receiver,
        ...(await outbox.state()),
        ...(this.deliveries.get(receiver)?.receiverView() ?? WORKING),
      })),
    );
  }

  /** The oldest dead letters of all receivers, at most `limit`. */
  async deadLetters(limit: number): Promise<ListedDeadLetter[]> {
    const lists = await Promise.all(
      [...this.outboxes.byReceiver].map(async ([receiver, outbox]) =>
        (await outbox.deadLetters(limit)).map((letter) => ({ receiver, ...letter })),
      ),
    );
    return lists
      .flat()
      .toSorted((a, b) => a.buriedAt - b.buriedAt)
      .slice(0, limit);
  }

  /**
   * Puts dead letters back into their outboxes: those with these message ids, or all; those of the named receiver, or of
   * all. Each call moves a bounded number.
   */
  async replay(
    messageIds: readonly string[] | undefined,
    receiver?: string,
  ): Promise<{ replayed: number; more: boolean }> {
    const total = { replayed: 0, more: false };
    for (const [name, outbox] of this.outboxes.byReceiver) {
      if ((receiver ?? name) !== name) continue;
      const { replayed, more } = await outbox.replay(messageIds);
      total.replayed += replayed;
      total.more ||= more;
    }
    if (total.replayed > 0) this.outboxes.announceNewEvents();
    return total;
  }

  /** Whether a receiver of this name is configured. */
  knows(receiver: string): boolean {
    return this.outboxes.byReceiver.has(receiver);
  }

  /**
   * Resumes deliveries that a receiver stopped by 410, on this instance: those of the named receiver, or all. Returns the
   * receivers whose deliveries were stopped.
   */
  resume(receiver?: string): readonly string[] {
    return [...this.deliveries].flatMap(([name, deliveries]) =>
      (receiver ?? name) === name && deliveries.resume() ? [name] : [],
    );
  }

  private measured(
    receiver: string,
    sender: CallbackSender,
    tries: SeriesMetric<'receiver' | 'result', TimedSeries>,
  ): Pick<CallbackSender, 'send'> {
    return {
      send: async (event, signal) => {
        const started = this.clock.monotonic();
        const sent = await sender.send(event, signal);
        const seconds = (this.clock.monotonic() - started) / 1_000;
        tries.series({ receiver, result: resultOf(sent) }).observe(seconds);
        return sent;
      },
    };
  }

  private register(metrics: Metrics): void {
    metrics.gauge(
      'callbacks_stopped',
      'Receivers to which deliveries are stopped, because they answered 410.',
      () => [...this.deliveries.values()].filter(({ isStopped }) => isStopped).length,
    );
    metrics.fromStore(
      {
        callbacks_waiting: { type: 'gauge', help: 'Events that are not delivered yet.' },
        callbacks_oldest_seconds: { type: 'gauge', help: 'The age of the oldest event that waits.' },
        callbacks_dead_letters: { type: 'gauge', help: 'Events that were given up.' },
        callbacks_lost_total: { type: 'counter', help: 'Events and dead letters that were dropped.' },
      },
      async () => {
        const { waiting, oldestAt, deadLetters, lost } = totalOf(await this.states());
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
}

/** The name of a result in the metrics: `no-answer` is a time-out or a broken connection, `busy` 429 or 503, `gone` 410. */
function resultOf(sent: Sent): 'delivered' | 'refused' | 'no-answer' | 'busy' | 'gone' {
  if (sent.delivered) return 'delivered';
  if (sent.asks !== 'retry') return sent.asks === 'rest' ? 'busy' : 'gone';
  return sent.answered ? 'refused' : 'no-answer';
}

const WORKING: ReceiverView = { state: 'working', since: undefined, failure: undefined };
