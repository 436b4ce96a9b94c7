import { type LoggerService } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { type Clock } from '../clock.js';

/** A failure starts a new outage if there was none for the same reason within this time. */
const OUTAGE_ENDS_AFTER_MS = 60_000;
const MAX_REASONS = 100;

/** Counts failures of the origin, and logs one line for each outage instead of one for each request. */
export class OriginFailures {
  /** How many reads of the origin have failed since the start. */
  total = 0;
  /** How many of these failures were bridged by a manifest in memory. */
  bridged = 0;
  /** When each reason last occurred, in monotonic milliseconds. */
  private readonly lastAt = new LRUCache<string, number>({ max: MAX_REASONS });

  constructor(
    private readonly log: LoggerService,
    private readonly clock: Clock,
  ) {}

  note(error: unknown, streamId?: string): void {
    this.total++;
    const { message, cause } = error as Error & { cause?: { code?: string } };
    // The text after a colon contains a URI or similar, which differs between streams.
    const kind = `${message.split(':', 1)[0]!} ${cause?.code ?? ''}`;
    const now = this.clock.monotonic();
    const last = this.lastAt.get(kind);
    this.lastAt.set(kind, now);
    if (last !== undefined && now - last < OUTAGE_ENDS_AFTER_MS) return;
    this.log.warn({ reason: message, code: cause?.code, stream_id: streamId, msg: 'the origin failed' });
  }
}
