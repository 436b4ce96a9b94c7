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

/** Whole microseconds, because sums of decimal fractions drift across the borders of phases. */
const MICROSECONDS = 1_000_000;

/** A finished stream, ready to be asked for any of its phases. */
export class PhasedStream {
  readonly kind = 'vod';
  readonly durationSeconds: number;
  readonly phases: number;
  private readonly phaseMicros: number;
  /** For each segment the microsecond at which it starts. */
  private readonly starts: readonly number[];
  private readonly durationMicros: number;

  constructor(
    readonly streamId: string,
    private readonly segments: readonly Segment[],
    readonly phaseSeconds: number,
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
    this.durationSeconds = end / MICROSECONDS;
    this.phases = Math.ceil(end / this.phaseMicros);
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
      last: index === this.phases - 1,
      segments: this.segments.slice(this.firstStartingAt(from), this.firstStartingAt(to)),
    };
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
