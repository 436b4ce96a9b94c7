import { RateTally } from '../../http/rate-limits.js';
import { type ScriptRunner } from './script.js';
import { count } from './scripts/count.js';

/** How long a count is kept. It is longer than the counted second, because the clocks of instances may differ. */
const KEEP_MS = 2_000;

/** Counts of requests that all instances share. Without Redis there are none, and no request is refused for that. */
export class RedisRateTally extends RateTally {
  private failed = false;

  constructor(
    private readonly scripts: ScriptRunner,
    private readonly log: { warn(message: string): void },
  ) {
    super();
  }

  override async add(key: string, more: number): Promise<number | undefined> {
    try {
      const sum = await count(this.scripts, key, { more, keepMs: KEEP_MS });
      this.failed = false;
      return sum;
    } catch (error) {
      if (!this.failed)
        this.log.warn(`Rates are counted by this instance alone (${(error as Error).message})`);
      this.failed = true;
      return undefined;
    }
  }
}
