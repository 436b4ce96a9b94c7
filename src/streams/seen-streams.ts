import { isDeepStrictEqual } from 'node:util';
import { LRUCache } from 'lru-cache';
import { type Stream } from './phases.js';

const MAX_SEEN_STREAMS = 10_000;

/** A stream as the API shows it. It has no segments, so that many can be kept in memory. */
export type StreamSummary = Pick<Stream, 'streamId' | 'kind' | 'durationSeconds' | 'phaseSeconds' | 'phases'>;

/** The streams that were read so far, for an origin that cannot list its streams. */
export class SeenStreams {
  private readonly summaries = new LRUCache<string, StreamSummary>({ max: MAX_SEEN_STREAMS });
  private ordered: readonly StreamSummary[] | undefined;

  /** Adds a stream. `isFirst` says that it is the default rendition, whose values describe the stream. */
  note({ streamId, kind, durationSeconds, phaseSeconds, phases }: Stream, isFirst: boolean): void {
    const summary = { streamId, kind, durationSeconds, phaseSeconds, phases };
    const known = this.summaries.get(streamId);
    if (known && (!isFirst || isDeepStrictEqual(known, summary))) return;
    this.summaries.set(streamId, summary);
    this.ordered = undefined;
  }

  /** All streams, sorted by stream id. The array stays the same until a stream is added or changes. */
  list(): readonly StreamSummary[] {
    return (this.ordered ??= [...this.summaries.values()].toSorted((a, b) =>
      a.streamId < b.streamId ? -1 : 1,
    ));
  }
}
