import { type LoggerService } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { type Clock } from '../clock.js';

/** A failure for the same reason after so long without one is a new outage. */
const OUTAGE_ENDS_AFTER_MS = 60_000;
const MAX_REASONS = 100;

/** Counts what the origin fails at, and writes one line of log for each outage rather than one for each request. */
export class OriginFailures {
  /** Reads of the origin that failed since the start. */
  total = 0;
  /** Those among them where the manifest in memory was used in place of the origin's answer. */
  bridged = 0;
  /** When each reason was last met, in monotonic milliseconds. */
  private readonly lastAt = new LRUCache<string, number>({ max: MAX_REASONS });

  constructor(
    private readonly log: LoggerService,
    private readonly clock: Clock,
  ) {}

  note(error: unknown, streamId?: string): void {
    this.total++;
    const { message, cause } = error as Error & { cause?: { code?: string } };
    // What follows a colon names a URI or the like, which differs from stream to stream.
    const kind = `${message.split(':', 1)[0]!} ${cause?.code ?? ''}`;
    const now = this.clock.monotonic();
    const last = this.lastAt.get(kind);
    this.lastAt.set(kind, now);
    if (last !== undefined && now - last < OUTAGE_ENDS_AFTER_MS) return;
    this.log.warn({ reason: message, code: cause?.code, stream_id: streamId, msg: 'the origin failed' });
  }
}
