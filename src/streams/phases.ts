/**
 * Cuts a stream into phases. Phase k covers the seconds [k·X, (k+1)·X) of the stream, and consists of the segments that
 * start in it.
 */

export interface Segment {
  /** Relative to the origin's root, encoded as in a URL, with its query. */
  readonly path: string;
  readonly durationSeconds: number;
  /** The path of the initialisation section of fragmented MP4, which must be decoded before the segment. */
  readonly initPath?: string;
  /** The range of the segment, if it is a part of a larger resource. */
  readonly byteRange?: { readonly offset: number; readonly length: number };
}

export interface Phase {
  readonly index: number;
  readonly startSeconds: number;
  /** X; for the last phase, the remainder of the stream. */
  readonly durationSeconds: number;
  readonly last: boolean;
  /** The segments that start in the phase. It is empty if none does, because segments are longer than X. */
  readonly segments: readonly Segment[];
}

/** A stream in phases, as far as it is known now. */
export interface Stream {
  readonly streamId: string;
  readonly kind: 'vod' | 'live';
  readonly phaseSeconds: number;
  /** Defined for a finished stream only. */
  readonly durationSeconds: number | undefined;
  /** Phase k exists when 0 <= k < phases; in a live stream, when live.oldest <= k < phases. */
  readonly phases: number;
  readonly live: { readonly oldest: number; readonly start: number } | undefined;
  /** True if no segments will be added. */
  readonly ended: boolean;
  readonly segmentCount: number;
  /** The phase with this index, which must exist. */
  phase(index: number): Phase;
  /** The phase of a segment, by its media sequence number. A segment that left the window counts as in the oldest phase. */
  phaseOf(sequence: number): number;
}

/** A player joins a live stream this many segments before its end (RFC 8216, 6.3.3). */
const BEHIND_EDGE = 3;

/** Times are whole microseconds, because sums of decimal fractions drift across the borders of phases. */
const MICROSECONDS = 1_000_000;

/** A finished or growing stream whose beginning is available: phase k covers its seconds [k·X, (k+1)·X). */
export class PhasedStream implements Stream {
  readonly kind: 'vod' | 'live';
  readonly durationSeconds: number | undefined;
  readonly phases: number;
  readonly live: Stream['live'];
  readonly ended: boolean;
  private readonly phaseMicros: number;
  /** The microsecond at which each segment starts. */
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

  /** The phase with this index, from 0 to `phases` - 1. */
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
    // A segment with a duration of 0 may start at the end of the stream.
    return Math.min(this.phases - 1, Math.floor(start / this.phaseMicros));
  }

  /** The position of the first segment that starts at or after this microsecond. */
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
 * A live stream with a sliding window. How long it ran before is unknown, so that its phases follow media sequence
 * numbers, which are the same for all instances. Each phase has as many segments as last about X.
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
    // A phase is gone when a part of it has left the window, unless it is the only phase.
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
