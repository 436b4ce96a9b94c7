import { Clock } from '../../src/clock.js';

/** A clock that the test moves, for the service and for its store, so that no test has to wait. */
export class ManualClock extends Clock {
  constructor(private at = Date.UTC(2026, 0, 1)) {
    super();
  }

  override now(): number {
    return this.at;
  }

  override monotonic(): number {
    return this.at;
  }

  override storeNow(): number {
    return this.at;
  }

  advance(ms: number): void {
    this.at += ms;
  }

  advanceTo(instant: string): void {
    this.at = Date.parse(instant);
  }
}
