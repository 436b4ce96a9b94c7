import { randomUUID } from 'node:crypto';
import { type Clock } from '../../clock.js';
import { type ScriptRunner } from './script.js';
import { elect } from './scripts/elect.js';

/** More than two scrapes apart, which are a minute at most in common set-ups. */
const LEASE_MS = 150_000;
/** How many of the last intervals between scrapes are kept. The longest of them is that of Prometheus. */
const INTERVALS = 8;

/** Elects the instance that reports the metrics of the whole system, by a lease that each scrape renews. */
export class RedisReporter {
  private readonly instance = randomUUID();
  private electedAt: number | undefined;
  /** The times between the last scrapes, which several parties may send: two Prometheus servers, or a person. */
  private intervals: readonly number[] = [];
  private stopped = false;

  constructor(
    private readonly scripts: ScriptRunner,
    private readonly clock: Clock,
  ) {}

  /** Whether this instance is to report. Rejects with StoreUnavailableError. */
  async elect(): Promise<boolean> {
    if (this.stopped) return false;
    const isElected = await elect(this.scripts, this.instance, LEASE_MS);
    const now = this.clock.monotonic();
    if (isElected && this.electedAt !== undefined)
      this.intervals = [...this.intervals, Math.ceil(now - this.electedAt)].slice(-INTERVALS);
    this.electedAt = isElected ? now : undefined;
    return isElected;
  }

  /**
   * Leaves the role to another instance, but not before Prometheus has found, at its next scrape, that this one reports no
   * more: a sum would count both. Half an interval more is for scrapes that come late.
   */
  async stop(): Promise<void> {
    this.stopped = true;
    if (this.electedAt !== undefined)
      await elect(this.scripts, this.instance, leaseAfter(this.intervals)).catch(() => undefined);
  }
}

function leaseAfter(intervals: readonly number[]): number {
  return Math.min(LEASE_MS, Math.max(1, Math.ceil(1.5 * Math.max(0, ...intervals))));
}
