import { Logger } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { type Clock } from '../clock.js';
import { type Metrics } from '../observability/metrics.js';

/** A failure for the same reason after so long without one is a new outage. */
const OUTAGE_ENDS_AFTER_MS = 60_000;
const MAX_REASONS = 100;

/** Counts the failures of the origin, and writes one line of log for each outage rather than one for each request. */
export class OriginFailures {
  private readonly log = new Logger(OriginFailures.name);
  private readonly failures: ReturnType<Metrics['counter']>;
  /** When each reason was last met, in monotonic milliseconds. */
  private readonly lastAt = new LRUCache<string, number>({ max: MAX_REASONS });

  constructor(
    private readonly clock: Clock,
    metrics: Metrics,
  ) {
    this.failures = metrics.counter(
      'origin_failures_total',
      'Reads of the origin that failed, by whether a manifest in memory was used instead (bridged).',
      ['bridged'],
    );
    for (const bridged of ['true', 'false']) this.failures.inc({ bridged }, 0);
  }

  /** `bridged`: a manifest in memory is used in place of the origin's answer. */
  note(error: unknown, { streamId, bridged = false }: { streamId?: string; bridged?: boolean } = {}): void {
    this.failures.inc({ bridged: String(bridged) });
    const { message, cause } = error as Error & { cause?: { code?: string } };
    // What follows a colon names a URI or the like, which differs from stream to stream.
    const kind = `${message.split(':', 1)[0]!} ${cause?.code ?? ''}`;
    const now = this.clock.monotonic();
    const last = this.lastAt.get(kind);
    this.lastAt.set(kind, now);
    if (last !== undefined && now - last < OUTAGE_ENDS_AFTER_MS) return;
    this.log.warn({
      reason: message,
      code: cause?.code,
      stream_id: streamId,
      msg: 'the origin failed; further failures for this reason are not logged until it has worked for a minute',
    });
  }
}
