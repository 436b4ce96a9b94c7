import { type PlacedSegment } from '../live-phases.js';
import { type LongList } from '../long-list.js';
import { type Segment, type SegmentKey } from '../phases.js';

/** A key, and the line of its EXT-X-KEY. */
interface ListedKey {
  readonly key: SegmentKey;
  readonly line: string;
}

/** What EXT-X-KEY and EXT-X-MAP say of the segments behind them. */
export interface SegmentContext {
  /** The keys in force: one for each KEYFORMAT. */
  readonly keys: readonly ListedKey[];
  /** The EXT-X-MAP in force, and the key that was in force at it. */
  readonly map?: { readonly init: NonNullable<Segment['init']>; readonly key?: SegmentKey | undefined };
  /** What the segments get of that. */
  readonly key?: SegmentKey | undefined;
  readonly init?: Segment['init'];
}

/** The segments that a text lists, in order. The lists have one entry a segment. */
export interface ListedSegments {
  readonly base: number;
  readonly segments: LongList<Segment>;
  /** Characters of their paths, of those of their initialisation sections, and of what their keys say. */
  readonly addressLength: number;
  /** How many contexts and keys they have. Segments that share one are counted once. */
  readonly contextParts: number;
  /** Where each starts behind the first, in microseconds. */
  readonly starts: LongList<number>;
  /** Position of the first one that has a date of its own. */
  readonly firstDated: number | undefined;
  /** The discontinuity sequence number of each. */
  readonly discontinuities: LongList<number>;
  /** The date of each that has an EXT-X-PROGRAM-DATE-TIME of its own, in microseconds since 1970; NaN for the others. */
  readonly dates: LongList<number>;
  /** Where the line of each URI ends in the text, and how many cuts the template has up to there. */
  readonly ends: LongList<number>;
  readonly cuts: LongList<number>;
  readonly contexts: LongList<SegmentContext>;
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
