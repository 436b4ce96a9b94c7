import { type Redis } from 'ioredis';
import { RateTally } from '../../http/rate-limits.js';
import { type Availability, ask } from './link.js';
import { rateKey } from './keys.js';

/** Longer than the second that is counted, by what the clocks of instances may differ. */
const KEEP_MS = 2_000;

/** Counts that all instances share. Where Redis cannot be asked, there are none: nobody is refused for that. */
export class RedisRateTally extends RateTally {
  private failed = false;

  constructor(
    private readonly redis: Redis,
    private readonly availability: Availability,
    private readonly log: { warn(message: string): void },
  ) {
    super();
  }

  override async add(key: string, count: number): Promise<number | undefined> {
    try {
      const sum = await ask(this.availability, this.redis.sgCount(rateKey(key), count, KEEP_MS));
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
