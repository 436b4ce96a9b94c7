import { type ExpireAnswer } from './scripts/expire.js';

/** What this instance saw of a partition in its last sweep of it. */
interface Seen {
  readonly epoch: number;
  readonly sweptAt: number;
}

/** How a partition came back: without anything, or as it was some time ago. */
export type Loss = 'empty' | 'older';

/**
 * Notices that Redis lost what it held: by a FLUSHALL, a restart without persistence, or a failover to a replica that had not
 * received the last writes. Each sweep reads the epoch of the partition, which is set once, and when the partition was swept
 * before. Neither changes back by itself. Of a loss that is shorter than the second between two sweeps, it may notice nothing.
 */
export class Losses {
  private readonly seen = new Map<number, Seen>();
  private readonly found = new Map<Loss, number>();
  private oldestMs = 0;

  constructor(
    private readonly log: { error(message: string): void },
    /** Counts partitions. */
    private readonly count: (loss: Loss, partitions: number) => void,
  ) {}

  /** Compares a sweep of a partition with the one that this instance did before. */
  saw(partition: number, { epoch, sweptBefore, sweptAt }: ExpireAnswer): void {
    const last = this.seen.get(partition);
    this.seen.set(partition, { epoch, sweptAt });
    if (last === undefined) return;
    if (last.epoch !== epoch) this.find('empty');
    // Where the clock was set back, a sweep may be earlier than the one before it.
    else if (sweptBefore < last.sweptAt && sweptAt >= last.sweptAt) {
      this.find('older');
      this.oldestMs = Math.max(this.oldestMs, last.sweptAt - sweptBefore);
    }
  }

  /** At the end of a sweep: logs and counts what it noticed. */
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
