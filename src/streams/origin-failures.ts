import { Logger } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { type Clock } from '../clock.js';
import { type Metrics } from '../observability/metrics.js';

/** A failure starts a new outage if there was none for the same reason within this time. */
const OUTAGE_ENDS_AFTER_MS = 60_000;
const MAX_REASONS = 100;

/** Counts failures of the origin, and logs one line for each outage instead of one for each request. */
export class OriginFailures {
  private readonly log = new Logger(OriginFailures.name);
  private readonly failures: ReturnType<Metrics['counter']>;
  /** When each reason last occurred, in monotonic milliseconds. */
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
    // The text after a colon contains a URI or similar, which differs between streams.
    const kind = `${message.split(':', 1)[0]!} ${cause?.code ?? ''}`;
    const now = this.clock.monotonic();
    const last = this.lastAt.get(kind);
    this.lastAt.set(kind, now);
    if (last !== undefined && now - last < OUTAGE_ENDS_AFTER_MS) return;
    this.log.warn({ reason: message, code: cause?.code, stream_id: streamId, msg: 'the origin failed' });
  }
}
