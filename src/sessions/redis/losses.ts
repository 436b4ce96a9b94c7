import { type ExpireAnswer } from './scripts/expire.js';

/** What this instance saw in its last sweep of a partition. */
interface Seen {
  readonly epoch: number;
  readonly sweptAt: number;
}

/** How a partition came back: empty, or in an older state. */
export type Loss = 'empty' | 'older';

/**
 * Detects that Redis lost data: by a FLUSHALL, a restart without persistence, or a failover to a replica that had not
 * received the last writes. Each sweep reads the epoch of the partition, which is set once, and the time of the
 * previous sweep. Without a loss, the epoch stays the same, and that time never goes back. A loss of less than the
 * second between two sweeps may stay undetected.
 */
export class Losses {
  private readonly seen = new Map<number, Seen>();
  private readonly found = new Map<Loss, number>();
  private oldestMs = 0;

  constructor(
    private readonly log: { error(message: string): void },
    /** Adds to the count of lost partitions. */
    private readonly count: (loss: Loss, partitions: number) => void,
  ) {}

  /** Compares a sweep of a partition with the previous one by this instance. */
  saw(partition: number, { epoch, sweptBefore, sweptAt }: ExpireAnswer): void {
    const last = this.seen.get(partition);
    this.seen.set(partition, { epoch, sweptAt });
    if (last === undefined) return;
    if (last.epoch !== epoch) this.find('empty');
    // If the clock was set back, a sweep may be earlier than the previous one.
    else if (sweptBefore < last.sweptAt && sweptAt >= last.sweptAt) {
      this.find('older');
      this.oldestMs = Math.max(this.oldestMs, last.sweptAt - sweptBefore);
    }
  }

  /** Logs and counts the losses that a sweep found. Call it at the end of the sweep. */
  report(): void {
    if (this.found.size === 0) return;
    const [empty, older] = [this.found.get('empty') ?? 0, this.found.get('older') ?? 0];
    const back = older === 0 ? '' : ` by up to ${(this.oldestMs / 1_000).toFixed(1)} s`;
    this.log.error(
      `Redis lost data: ${empty} of its partitions came back empty, and ${older} older than they were${back}. ` +
        'Clients that go on get their places again; sessions that were lost are not reported as expired',
    );
    for (const [loss, partitions] of this.found) this.count(loss, partitions);
    this.found.clear();
    this.oldestMs = 0;
  }

  private find(loss: Loss): void {
    this.found.set(loss, (this.found.get(loss) ?? 0) + 1);
  }
}
