import { type BeforeApplicationShutdown, Injectable, Logger } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { Clock } from '../clock.js';
import { instant } from '../http/fields.js';
import { Metrics } from '../observability/metrics.js';
import { type CountedSeries, type TimedSeries } from '../observability/series.js';
import { type Pause, SessionRepository, StoreUnavailableError } from '../sessions/session.repository.js';
import { CallbackOutboxes } from '../sessions/session-events.js';

/**
 * Bounds of one sweep: how many sessions it claims, and how long it runs. Such a sweep is about half a second of work for
 * the service and for the store, so that requests of viewers are hardly delayed (bench/README.md).
 */
const MAX_SESSIONS = 5_000;
const MAX_MS = 2_000;
/** The cron of all instances fires at the same instant. A random offset up to this spreads their sweeps over the second. */
const SPREAD_MS = 800;
/** How often each instance logs that sweeps are paused. */
const REMIND_MS = 60_000;
const NOT_ALL = 'a part of the store did not answer: call again when it is back';

export interface Sweep {
  readonly expired: number;
  /** True if more sessions were due when the sweep reached its bound. */
  readonly more: boolean;
  readonly tookMs: number;
}

/**
 * Claims and reports expired sessions. No answer depends on it: the place of an expired session is free without any
 * sweep. It runs in every instance without a lock, because the store gives each expiry to one caller only.
 */
@Injectable()
export class ExpiryService implements BeforeApplicationShutdown {
  private readonly log = new Logger(ExpiryService.name);
  private readonly stopping = new AbortController();
  private readonly running = new Set<Promise<unknown>>();
  /** Fixed for the life of the process, so that the sweeps of one instance are one second apart. */
  private readonly offsetMs: number;
  private failing = false;
  private backlog = 0;
  private readonly durations: TimedSeries;
  private readonly lateness: TimedSeries;
  private readonly failures: CountedSeries;
  private remindedAt: number | undefined;

  constructor(
    private readonly sessions: SessionRepository,
    private readonly outboxes: CallbackOutboxes,
    private readonly clock: Clock,
    metrics: Metrics,
  ) {
    this.offsetMs = clock.jitter() * SPREAD_MS;
    this.durations = metrics
      .histogram('sweep_duration_seconds', 'How long the sweeps of this instance took.')
      .series({});
    this.lateness = metrics
      .histogram('expiry_lateness_seconds', 'From the instant of an expiry to the sweep that claimed it.')
      .series({});
    this.failures = metrics
      .seriesCounter('sweep_failures_total', 'Sweeps of this instance that failed.')
      .series({});
    metrics.gauge(
      'expiry_backlog',
      'Whether the last sweep of this instance left sessions that are due.',
      () => this.backlog,
    );
    metrics.fromStore(
      {
        expiry_paused: { type: 'gauge', help: 'Whether the sweeps are paused.' },
        expiry_paused_seconds: { type: 'gauge', help: 'For how long the sweeps have been paused.' },
      },
      async () => {
        const pause = await this.sessions.expiryPause();
        return {
          expiry_paused: pause ? 1 : 0,
          expiry_paused_seconds: pause ? Math.max(0, this.clock.now() - pause.since) / 1_000 : 0,
        };
      },
    );
  }

  @Cron('* * * * * *', { name: 'expire-idle-sessions', waitForCompletion: true })
  async tick(): Promise<void> {
    try {
      await this.clock.sleep(this.offsetMs, { signal: this.stopping.signal });
      const { paused } = await this.run({ shared: true });
      await this.remind(paused);
      if (this.failing) this.log.log('The expiry sweep works again');
      this.failing = false;
    } catch (error) {
      if (this.stopping.signal.aborted) return;
      // The next tick tries again. The store logs itself that it is unavailable; any other failure is logged once.
      const announced = error instanceof StoreUnavailableError && error.announced;
      if (!announced && !this.failing)
        this.log.error({
          reason: (error as Error).message,
          msg: 'The expiry sweep failed; further failures are not logged until it works again',
        });
      this.failing ||= !announced;
    }
  }

  async sweep(): Promise<Sweep> {
    return this.run({ shared: false });
  }

  async pause(pause: { by: string | undefined; until: number | undefined }): Promise<Pause> {
    const paused = await this.sessions.pauseExpiry(pause);
    this.remindedAt = this.clock.monotonic();
    this.warnThatPaused(paused);
    return paused;
  }

  /** Resolves to false if a part of the store did not answer and is paused still. */
  async resume(): Promise<boolean> {
    const whole = await this.sessions.resumeExpiry();
    if (whole) this.log.log('The expiry sweeps are resumed');
    else this.log.warn(`The expiry sweeps are resumed, but ${NOT_ALL}`);
    return whole;
  }

  async paused(): Promise<Pause | undefined> {
    return this.sessions.expiryPause();
  }

  /** Waits for running sweeps, so that their result is logged. The store records the events of a claim itself. */
  async beforeApplicationShutdown(): Promise<void> {
    this.stopping.abort();
    await Promise.allSettled(this.running);
  }

  private async run({ shared }: { shared: boolean }): Promise<Sweep & { paused: boolean }> {
    const started = this.clock.monotonic();
    const signal = AbortSignal.any([this.stopping.signal, AbortSignal.timeout(MAX_MS)]);
    const sweeping = this.sessions.expireIdle({ maxSessions: MAX_SESSIONS, signal, shared });
    this.running.add(sweeping);
    const { expired, latenessMs, more, paused } = await sweeping
      .catch((error: unknown) => {
        this.failures.count++;
        throw error;
      })
      .finally(() => this.running.delete(sweeping));
    const tookMs = Math.round(this.clock.monotonic() - started);
    this.durations.observe(tookMs / 1_000);
    for (const lateMs of latenessMs) this.lateness.observe(lateMs / 1_000);
    this.backlog = more ? 1 : 0;
    if (expired > 0) {
      this.outboxes.announceNewEvents();
      this.log.log({ expired, more, ms: tookMs, msg: 'idle sessions expired' });
    }
    return { expired, more, paused, tookMs };
  }

  /** Logs a pause at regular intervals, in every instance, so that operators do not forget it. */
  private async remind(paused: boolean): Promise<void> {
    if (!paused) {
      this.remindedAt = undefined;
      return;
    }
    const now = this.clock.monotonic();
    if (this.remindedAt !== undefined && now - this.remindedAt < REMIND_MS) return;
    const pause = await this.sessions.expiryPause();
    if (!pause) return;
    this.remindedAt = now;
    this.warnThatPaused(pause);
  }

  private warnThatPaused({ since, by, until, partial }: Pause): void {
    if (partial) this.log.warn(`The expiry sweeps are paused, but ${NOT_ALL}`);
    this.log.warn({
      since: instant(since),
      by,
      until: until === undefined ? undefined : instant(until),
      msg: 'The expiry sweeps are paused: no session is reported as expired until POST /internal/expiry/resume',
    });
  }
}
