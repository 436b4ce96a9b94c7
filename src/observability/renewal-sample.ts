import { type Clock } from '../clock.js';

/** Beyond the number of renewals that are logged in a second, one in this many is. */
const SHARE = 100;

/** Chooses which renewals are logged. */
export class RenewalSample {
  private second = 0;
  private seen = 0;

  /** `perSecond` renewals of each second are logged, and one in 100 of the others. */
  constructor(
    private readonly perSecond: number,
    private readonly clock: Pick<Clock, 'monotonic'>,
  ) {}

  /** How many renewals the line of the next one stands for; undefined if it is not logged. */
  next(): number | undefined {
    const second = Math.floor(this.clock.monotonic() / 1_000);
    if (second !== this.second) {
      this.second = second;
      this.seen = 0;
    }
    const beyond = ++this.seen - this.perSecond;
    if (beyond <= 0) return 1;
    return beyond % SHARE === 0 ? SHARE : undefined;
  }
}
