import { type PlacedSegment } from '../live-phases.js';
import { type LongList } from '../long-list.js';
import { type Segment } from '../phases.js';

/** The segments that a text lists, in order. The lists have one entry a segment. */
export interface ListedSegments {
  readonly base: number;
  readonly segments: LongList<Segment>;
  /** Characters of their paths, and of those of their initialisation sections. */
  readonly addressLength: number;
  /** Where each starts behind the first, in microseconds. */
  readonly starts: LongList<number>;
  /** Whether any has a date of its own. */
  readonly dated: boolean;
  /** The discontinuity sequence number of each. */
  readonly discontinuities: LongList<number>;
  /** The date of each that has an EXT-X-PROGRAM-DATE-TIME of its own, in microseconds since 1970; NaN for the others. */
  readonly dates: LongList<number>;
  /** Where the line of each URI ends in the text, and how many cuts the template has up to there. */
  readonly ends: LongList<number>;
  readonly cuts: LongList<number>;
  /** What EXT-X-KEY and EXT-X-MAP say at each, as they stand in the text. */
  readonly contexts: LongList<string>;
  /** Whether a tag that concerns the whole playlist stands behind the first segment. */
  readonly scattered: boolean;
}

/** Segments by their media sequence number, without a map of them: a long playlist has 100,000. */
export class SegmentsBySequence implements Iterable<readonly [number, Segment]> {
  constructor(
    private readonly base: number,
    private readonly listed: LongList<Segment>,
    /** Those that left the window, oldest first. */
    private readonly left: readonly PlacedSegment[],
  ) {}

  get size(): number {
    return this.left.length + this.listed.length;
  }

  /** The newest segment with this number. */
  get(sequence: number): Segment | undefined {
    return (
      this.listed.get(sequence - this.base) ??
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
