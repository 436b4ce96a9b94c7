import { type PlacedSegment } from '../live-phases.js';
import { type Segment } from '../phases.js';

/** The segments that a text lists, in order. The arrays have one entry a segment. */
export interface ListedSegments {
  readonly base: number;
  readonly segments: readonly Segment[];
  /** Where each starts behind the first, in microseconds. */
  readonly starts: readonly number[];
  /** Whether any has a date of its own. */
  readonly dated: boolean;
  /** The discontinuity sequence number of each. */
  readonly discontinuities: readonly number[];
  /** The date of each that has an EXT-X-PROGRAM-DATE-TIME of its own, in microseconds since 1970; NaN for the others. */
  readonly dates: readonly number[];
  /** Where the line of each URI ends in the text, and how many cuts the template has up to there. */
  readonly ends: readonly number[];
  readonly cuts: readonly number[];
  /** What EXT-X-KEY and EXT-X-MAP say at each, as they stand in the text. */
  readonly contexts: readonly string[];
  /** Whether a tag that concerns the whole playlist stands behind the first segment. */
  readonly scattered: boolean;
}

/** Segments by their media sequence number, without a map of them: a long playlist has 100,000. */
export class SegmentsBySequence implements Iterable<readonly [number, Segment]> {
  constructor(
    private readonly base: number,
    private readonly listed: readonly Segment[],
    /** Those that left the window, oldest first. */
    private readonly left: readonly PlacedSegment[],
  ) {}

  get size(): number {
    return this.left.length + this.listed.length;
  }

  /** The newest segment with this number. */
  get(sequence: number): Segment | undefined {
    return (
      this.listed[sequence - this.base] ??
      this.left.findLast(({ segment }) => segment.sequence === sequence)?.segment
    );
  }

  *values(): Generator<Segment, void> {
    for (const { segment } of this.left) yield segment;
    yield* this.listed;
  }

  *[Symbol.iterator](): Generator<readonly [number, Segment], void> {
    for (const segment of this.values()) yield [segment.sequence ?? 0, segment];
  }
}
