/**
 * The only reader of this machine's clock. Instants are Unix milliseconds throughout.
 *
 * The store judges all sessions by a single clock, because the clocks of service instances differ. With Redis it is the
 * clock of the Redis server; with the embedded store it is this one.
 */
export class Clock {
  now(): number {
    return Date.now();
  }

  /** Milliseconds of a clock that never goes back, for durations. */
  monotonic(): number {
    return performance.now();
  }

  /** The instant that the store uses as now. Tests set it; otherwise it is undefined and the store reads its own clock. */
  storeNow(): number | undefined {
    return undefined;
  }
}
