/**
 * The only reader of this machine's clock. Instants are Unix milliseconds throughout.
 *
 * The store judges every session by one clock of its own, because the clocks of service instances differ:
 * Redis by the clock of its server, the embedded store by this one.
 */
export class Clock {
  now(): number {
    return Date.now();
  }

  /** Milliseconds that only ever go forward, for durations. */
  monotonic(): number {
    return performance.now();
  }

  /** The instant that the store is to take for now; undefined, always outside tests, leaves it to its own clock. */
  storeNow(): number | undefined {
    return undefined;
  }
}
