import { setTimeout as sleep } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Injectable, Logger } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { Clock } from '../clock.js';
import { SessionRepository, StoreUnavailableError } from '../sessions/session.repository.js';

/** One sweep claims no more than this and takes little longer than that, whatever has piled up. */
const MAX_SESSIONS = 10_000;
const MAX_MS = 2_000;
/** Spreads the sweeps of many instances, whose cron fires at the same instant, over the second. */
const JITTER_MS = 800;

export interface Sweep {
  readonly expired: number;
  /** True where more was due when the sweep reached its bound. */
  readonly more: boolean;
  readonly tookMs: number;
}

/**
 * Reclaims what idle sessions left behind. Nothing waits for it: an expired session's place is free without any
 * sweep. It runs in every instance without a lock, because the store gives each expiry to one claimer only.
 */
@Injectable()
export class ExpiryService implements BeforeApplicationShutdown {
  private readonly log = new Logger(ExpiryService.name);
  private readonly stopping = new AbortController();
  private readonly running = new Set<Promise<unknown>>();
  private failing = false;

  constructor(
    private readonly sessions: SessionRepository,
    private readonly clock: Clock,
  ) {}

  @Cron('* * * * * *', { name: 'expire-idle-sessions', waitForCompletion: true })
  async tick(): Promise<void> {
    try {
      await sleep(Math.random() * JITTER_MS, undefined, { signal: this.stopping.signal });
      await this.sweep();
      if (this.failing) this.log.log('sweeps work again');
      this.failing = false;
    } catch (error) {
      if (this.stopping.signal.aborted) return;
      // The next tick tries again. A store that is away has said so itself; what else fails is said once.
      const announced = error instanceof StoreUnavailableError && error.announced;
      if (!announced && !this.failing)
        this.log.error({ reason: (error as Error).message, msg: 'sweeps fail from now on' });
      this.failing ||= !announced;
    }
  }

  async sweep(): Promise<Sweep> {
    const started = this.clock.monotonic();
    const signal = AbortSignal.any([this.stopping.signal, AbortSignal.timeout(MAX_MS)]);
    const sweeping = this.sessions.expireIdle({ maxSessions: MAX_SESSIONS, signal });
    this.running.add(sweeping);
    const { expired, more } = await sweeping.finally(() => this.running.delete(sweeping));
    const tookMs = Math.round(this.clock.monotonic() - started);
    if (expired.length > 0) {
      this.log.log({ expired: expired.length, more, ms: tookMs, msg: 'idle sessions expired' });
      this.log.debug({ sessions: expired, msg: 'expired' });
    }
    return { expired: expired.length, more, tookMs };
  }

  /** A claim that the store has made is lost if its reply is: let what runs come to its end. */
  async beforeApplicationShutdown(): Promise<void> {
    this.stopping.abort();
    await Promise.allSettled(this.running);
  }
}
