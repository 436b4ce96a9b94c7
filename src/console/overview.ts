import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { Clock } from '../clock.js';
import { Metrics } from '../observability/metrics.js';
import { CallbackOutboxes, type OutboxState, totalOf } from '../sessions/session-events.js';
import { type Ledger, SessionRepository } from '../sessions/session.repository.js';

const MINUTE_MS = 60_000;
const MAX_MINUTES = 60;

/** What the store, and this instance, had counted at an instant. */
interface Sample {
  readonly at: number;
  readonly ledger: Ledger;
  readonly callbacks: OutboxState;
  readonly refused: number;
}

/** About a minute. `refused` is of this instance, everything else of the whole system. */
interface Minute {
  readonly from: number;
  readonly to: number;
  readonly live: number;
  readonly admitted: number;
  readonly ended: number;
  readonly expired: number;
  readonly refused: number;
  readonly callbacksWaiting: number;
}

/**
 * The last hour in figures. Each instance reads the totals of the store once a minute and keeps the differences in memory,
 * so that an installation needs no Prometheus for them. A minute in which the store did not answer is left out.
 */
@Injectable()
export class Overview implements OnApplicationBootstrap {
  private readonly closed: Minute[] = [];
  private last: Sample | undefined;

  constructor(
    private readonly sessions: SessionRepository,
    private readonly outboxes: CallbackOutboxes,
    private readonly metrics: Metrics,
    private readonly clock: Clock,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    await this.closeMinute();
  }

  /** Ends the current minute. To be called once a minute. */
  @Interval('console-overview', MINUTE_MS)
  async closeMinute(): Promise<void> {
    const sample = await this.sample().catch(() => undefined);
    if (sample !== undefined && this.last !== undefined) this.closed.push(between(this.last, sample));
    if (this.closed.length > MAX_MINUTES) this.closed.shift();
    this.last = sample;
  }

  /** The minutes that have ended, oldest first, and then the current one. Rejects with StoreUnavailableError. */
  async read(): Promise<{ readonly minutes: readonly Minute[]; readonly callbacks: OutboxState }> {
    const now = await this.sample();
    this.last ??= now;
    // After an outage of the store, older minutes than those of the last hour may be left.
    const firstAt = now.at - MAX_MINUTES * MINUTE_MS;
    const minutes = [...this.closed.filter(({ from }) => from >= firstAt), between(this.last, now)];
    return { minutes: minutes.slice(-MAX_MINUTES), callbacks: now.callbacks };
  }

  private async sample(): Promise<Sample> {
    const [ledger, callbacks, refused] = await Promise.all([
      this.sessions.ledger(),
      Promise.all([...this.outboxes.byReceiver.values()].map((outbox) => outbox.state())),
      this.metrics.total('refusals_by_level_total'),
    ]);
    return { at: this.clock.now(), ledger, callbacks: totalOf(callbacks), refused };
  }
}

function between(before: Sample, after: Sample): Minute {
  const { admitted, ended, expired, undone } = after.ledger;
  // A store that lost its data counts from 0 again.
  const since = (count: 'admitted' | 'ended' | 'expired'): number =>
    Math.max(0, after.ledger[count] - before.ledger[count]);
  return {
    from: before.at,
    to: after.at,
    live: Math.max(0, admitted - ended - expired - undone),
    admitted: since('admitted'),
    ended: since('ended'),
    expired: since('expired'),
    refused: after.refused - before.refused,
    callbacksWaiting: after.callbacks.waiting,
  };
}
