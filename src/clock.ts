import { setTimeout as sleep } from 'node:timers/promises';

/**
 * The only reader of this machine's clock. Instants are Unix milliseconds throughout.
 *
 * The store judges all sessions by a single clock, because the clocks of service instances differ. With Redis it is the
 * clock of the Redis server; with the embedded store it is this one.
 */
export class Clock {
  /** Whether the timers of this machine go by this clock. Otherwise nothing is done at regular intervals by itself. */
  readonly hasTimers: boolean = true;

  now(): number {
    return Date.now();
  }

  /** Milliseconds of a clock that never goes back, for durations. */
  monotonic(): number {
    return performance.now();
  }

  /** Resolves after so many milliseconds. Rejects when `signal` is aborted. Without `ref` a process that stops does not wait for it. */
  async sleep(ms: number, options: { signal?: AbortSignal; ref?: boolean } = {}): Promise<void> {
    await sleep(ms, undefined, options);
  }

  /** A random number from 0 to below 1, that spreads over time what would otherwise happen at the same instant. */
  jitter(): number {
    return Math.random();
  }

  /** The instant that the store uses as now. Tests set it; otherwise it is undefined and the store reads its own clock. */
  storeNow(): number | undefined {
    return undefined;
  }
}
