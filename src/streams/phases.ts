/**
 * How a stream is cut into phases: phase k of a stream covers its seconds [k·X, (k+1)·X) and is delivered as the
 * segments that start in it.
 */

export interface Segment {
  /** Below the origin's root, as in a URL, its query included. */
  readonly path: string;
  readonly durationSeconds: number;
  /** The initialisation section that must be decoded before it, of fragmented MP4. */
  readonly initPath?: string;
  /** Where the segment is a part of a larger resource. */
  readonly byteRange?: { readonly offset: number; readonly length: number };
}

export interface Phase {
  readonly index: number;
  readonly startSeconds: number;
  /** X, and what is left of the stream for the last one. */
  readonly durationSeconds: number;
  readonly last: boolean;
  /** Empty for a phase in which none starts, because segments are longer than X. */
  readonly segments: readonly Segment[];
}

/** What is watched, cut into phases, as far as it is known now. */
export interface Stream {
  readonly streamId: string;
  readonly kind: 'vod' | 'live';
  readonly phaseSeconds: number;
  /** Of a finished stream. */
  readonly durationSeconds: number | undefined;
  /** Phase k exists when 0 <= k < phases, and where it is live from `live.oldest` on. */
  readonly phases: number;
  readonly live: { readonly oldest: number; readonly start: number } | undefined;
  /** Nothing will be added to it. */
  readonly ended: boolean;
  readonly segmentCount: number;
  /** `index` is one that exists. */
  phase(index: number): Phase;
  /** The phase that a segment is in, by its media sequence number; what left the window is in the oldest. */
  phaseOf(sequence: number): number;
}

/** So many segments from its end a live stream is joined (RFC 8216, 6.3.3). */
const BEHIND_EDGE = 3;

/** Whole microseconds, because sums of decimal fractions drift across the borders of phases. */
const MICROSECONDS = 1_000_000;

/** A stream whose beginning is there, finished or growing: phase k covers its seconds [k·X, (k+1)·X). */
export class PhasedStream implements Stream {
  readonly kind: 'vod' | 'live';
  readonly durationSeconds: number | undefined;
  readonly phases: number;
  readonly live: Stream['live'];
  readonly ended: boolean;
  private readonly phaseMicros: number;
  /** For each segment the microsecond at which it starts. */
  private readonly starts: readonly number[];
  private readonly durationMicros: number;

  constructor(
    readonly streamId: string,
    private readonly segments: readonly Segment[],
    readonly phaseSeconds: number,
    private readonly options = { first: 0, growing: false },
  ) {
    const starts: number[] = [];
    let end = 0;
    for (const { durationSeconds } of segments) {
      starts.push(end);
      end += Math.round(durationSeconds * MICROSECONDS);
    }
    this.starts = starts;
    this.durationMicros = end;
    this.phaseMicros = Math.round(phaseSeconds * MICROSECONDS);
    this.phases = Math.ceil(end / this.phaseMicros);
    const { growing, first } = this.options;
    this.ended = !growing;
    this.kind = growing ? 'live' : 'vod';
    this.durationSeconds = growing ? undefined : end / MICROSECONDS;
    const edge = first + Math.max(0, segments.length - BEHIND_EDGE);
    this.live = growing ? { oldest: 0, start: this.phaseOf(edge) } : undefined;
  }

  get segmentCount(): number {
    return this.segments.length;
  }

  /** `index` is one of 0 to `phases` - 1. */
  phase(index: number): Phase {
    const from = index * this.phaseMicros;
    const to = Math.min(from + this.phaseMicros, this.durationMicros);
    return {
      index,
      startSeconds: from / MICROSECONDS,
      durationSeconds: (to - from) / MICROSECONDS,
      last: this.kind === 'vod' && index === this.phases - 1,
      segments: this.segments.slice(this.firstStartingAt(from), this.firstStartingAt(to)),
    };
  }

  phaseOf(sequence: number): number {
    const start = this.starts[sequence - this.options.first] ?? 0;
    // One without a duration may start where the stream ends.
    return Math.min(this.phases - 1, Math.floor(start / this.phaseMicros));
  }

  /** Position of the first segment that starts at or after this microsecond. */
  private firstStartingAt(micros: number): number {
    let low = 0;
    let high = this.starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.starts[middle]! < micros) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/**
 * A stream of which only a window is there. Nobody can tell how long it ran before, so its phases go by media sequence
 * numbers, which every instance sees alike: as many segments each as come to about X.
 */
export class LiveStream implements Stream {
  readonly kind = 'live';
  readonly durationSeconds = undefined;
  readonly phases: number;
  readonly live: { readonly oldest: number; readonly start: number };
  readonly ended: boolean;
  private readonly perPhase: number;
  private readonly first: number;
  private readonly targetSeconds: number;

  constructor(
    readonly streamId: string,
    private readonly segments: readonly Segment[],
    readonly phaseSeconds: number,
    {
      first,
      targetSeconds,
      ended,
    }: { readonly first: number; readonly targetSeconds: number; readonly ended: boolean },
  ) {
    this.first = first;
    this.targetSeconds = targetSeconds;
    this.ended = ended;
    this.perPhase = Math.max(1, Math.round(phaseSeconds / targetSeconds));
    const newest = this.phaseAt(first + segments.length - 1);
    this.phases = newest + 1;
    // A phase of which a part has left is gone, unless it is all that there is.
    const oldest = Math.min(newest, Math.ceil(first / this.perPhase));
    const edge = this.phaseAt(first + Math.max(0, segments.length - BEHIND_EDGE));
    this.live = { oldest, start: Math.max(oldest, edge) };
  }

  get segmentCount(): number {
    return this.segments.length;
  }

  phase(index: number): Phase {
    const from = index * this.perPhase;
    const segments = this.segments.slice(Math.max(0, from - this.first), from + this.perPhase - this.first);
    return {
      index,
      startSeconds: from * this.targetSeconds,
      durationSeconds: segments.reduce((sum, { durationSeconds }) => sum + durationSeconds, 0),
      last: this.ended && index === this.phases - 1,
      segments,
    };
  }

  phaseOf(sequence: number): number {
    return Math.min(this.phases - 1, Math.max(this.live.oldest, this.phaseAt(sequence)));
  }

  private phaseAt(sequence: number): number {
    return Math.floor(sequence / this.perPhase);
  }
}
