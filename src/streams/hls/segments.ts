import { type PlacedSegment } from '../live-phases.js';
import { IndexedList, LongList } from '../long-list.js';
import { NumberRows } from '../number-rows.js';
import { type ByteRange, MICROSECONDS, type Resource, type Segment, type SegmentKey } from '../phases.js';
import { Texts } from './texts.js';

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

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/** What the lines of a segment say. */
interface WrittenSegment extends Resource {
  readonly durationSeconds: number;
  readonly sequence: number;
  readonly byteRange: ByteRange | undefined;
  readonly discontinuity: boolean;
  readonly gap: boolean;
  /** Its EXT-X-PROGRAM-DATE-TIME, in microseconds since 1970; NaN where it has none of its own. */
  readonly date: number;
  readonly context: SegmentContext;
  /** Its discontinuity sequence number. */
  readonly discontinuities: number;
  /** Where the line of its URI ends in the text, and how many cuts the template has up to there. */
  readonly end: number;
  readonly cuts: number;
}

/** The columns. Those from START on count from the beginning of the list. */
const PATH = 0;
const PATH_LENGTH = 1;
const DURATION = 2;
const SEQUENCE = 3;
const OFFSET = 4;
const LENGTH = 5;
const DATE = 6;
const MARKS = 7;
const CONTEXT = 8;
const START = 9;
const DISCONTINUITIES = 10;
const END = 11;
const CUTS = 12;
const ADDRESS_LENGTH = 13;
const CONTEXT_PARTS = 14;
const OWN = 15;
const COLUMNS = 16;

/** The bits of MARKS. */
const IS_FOREIGN = 1;
const IS_DISCONTINUITY = 2;
const IS_GAP = 4;

/**
 * Segments in order. They are kept as numbers, with their paths in texts of many; `get` makes an object of one. So a reading of
 * 100,000 segments leaves next to nothing for garbage collection to copy, and a window that slid shares what it still lists.
 */
export class SegmentList extends IndexedList<Segment> {
  readonly durations: IndexedList<number>;
  readonly sequences: IndexedList<number>;
  readonly dates: IndexedList<number>;
  /** Where each starts behind the first, in microseconds. */
  readonly starts: IndexedList<number>;
  readonly discontinuities: IndexedList<number>;
  readonly ends: IndexedList<number>;
  readonly cuts: IndexedList<number>;

  constructor(
    private readonly rows = new NumberRows(COLUMNS),
    private readonly texts = new Texts(),
    private readonly contexts = new LongList<SegmentContext>(),
  ) {
    super();
    this.durations = rows.column(DURATION);
    this.sequences = rows.column(SEQUENCE);
    this.dates = rows.column(DATE);
    this.starts = rows.column(START);
    this.discontinuities = rows.column(DISCONTINUITIES);
    this.ends = rows.column(END);
    this.cuts = rows.column(CUTS);
  }

  get length(): number {
    return this.rows.length;
  }

  get(index: number): Segment | undefined {
    if (index < 0 || index >= this.length) return undefined;
    const of = (column: number): number => this.rows.get(index, column);
    const [marks, offset, date] = [of(MARKS), of(OFFSET), of(DATE)];
    const { init, key } = this.contextOf(index);
    const segment: Writable<Segment> = {
      path: this.texts.get(of(PATH), of(PATH_LENGTH)),
      durationSeconds: of(DURATION),
      sequence: of(SEQUENCE),
    };
    if (marks & IS_FOREIGN) segment.foreign = true;
    if (!Number.isNaN(offset)) segment.byteRange = { offset, length: of(LENGTH) };
    if (init !== undefined) segment.init = init;
    if (key !== undefined) segment.key = key;
    if (marks & IS_DISCONTINUITY) segment.discontinuity = true;
    if (marks & IS_GAP) segment.gap = true;
    if (!Number.isNaN(date)) segment.programDateTime = new Date(date / 1_000).toISOString();
    return segment;
  }

  contextOf(index: number): SegmentContext {
    return this.contexts.get(this.rows.get(index, CONTEXT))!;
  }

  /** The discontinuity sequence number of a segment with which one begins. */
  discontinuityAt(index: number): number | undefined {
    return this.rows.get(index, MARKS) & IS_DISCONTINUITY ? this.rows.get(index, DISCONTINUITIES) : undefined;
  }

  /** Microseconds from the start of the first to the end of the last. */
  get endMicros(): number {
    return (this.starts.last ?? 0) + microsOf(this.durations.last ?? 0);
  }

  /** Characters of their paths, of those of their initialisation sections, and of what their keys say. */
  get addressLength(): number {
    return this.sumOf(ADDRESS_LENGTH);
  }

  /** How many contexts and keys they have. Segments that share one are counted once. */
  get contextParts(): number {
    return this.sumOf(CONTEXT_PARTS);
  }

  /** Whether one of them is the origin's own. */
  get hasOwn(): boolean {
    return this.sumOf(OWN) > 0;
  }

  push(segment: WrittenSegment): void {
    const { path, foreign, byteRange, context } = segment;
    const before = this.contexts.last;
    if (context !== before) this.contexts.push(context);
    const { parts, length } = context === before ? NOTHING_NEW : newIn(context, before);
    this.rows.push(
      this.texts.push(path),
      path.length,
      segment.durationSeconds,
      segment.sequence,
      byteRange?.offset ?? NaN,
      byteRange?.length ?? NaN,
      segment.date,
      (foreign ? IS_FOREIGN : 0) +
        (segment.discontinuity ? IS_DISCONTINUITY : 0) +
        (segment.gap ? IS_GAP : 0),
      this.contexts.length - 1,
      this.endMicros,
      segment.discontinuities,
      segment.end,
      segment.cuts,
      this.addressLength + path.length + length,
      this.contextParts + parts,
      this.sumOf(OWN) + (foreign ? 0 : 1),
    );
  }

  /** Adds one of another list. What counts from the beginning of a list counts from that of the other. */
  pushFrom(other: SegmentList, index: number): void {
    const row = Array.from({ length: COLUMNS }, (_, column) => other.rows.get(index, column));
    row[PATH] = this.texts.push(other.texts.get(row[PATH]!, row[PATH_LENGTH]!));
    const context = other.contextOf(index);
    if (context !== this.contexts.last) this.contexts.push(context);
    row[CONTEXT] = this.contexts.length - 1;
    this.rows.push(...row);
  }

  /** Gives the segments that have no usable duration this one. They are in order, and none of them came from another list. */
  setDurations(indices: readonly number[], seconds: number): void {
    const { rows } = this;
    for (const index of indices) rows.set(index, DURATION, seconds);
    for (let index = (indices[0] ?? this.length) + 1; index < this.length; index++)
      rows.set(index, START, rows.get(index - 1, START) + microsOf(rows.get(index - 1, DURATION)));
  }

  /** Keeps nothing of the texts that their paths are pieces of. */
  seal(): void {
    this.texts.seal();
  }

  /** A list of its own from an index on, which shares nearly all of its memory with this one. */
  from(start: number): SegmentList {
    return this.fromWith(start, []);
  }

  /**
   * The same, for a text in which the first of them is written as the only segment of `head`: its path, duration and context
   * are the same, and what counts from the beginning of the list goes on from it.
   */
  goOn({ rows: head }: SegmentList, start: number): SegmentList {
    const further = Array.from({ length: COLUMNS - START }, (_, at) => {
      const column = START + at;
      return [column, head.get(0, column) - this.rows.get(start, column)] as const;
    });
    const list = this.fromWith(start, further);
    for (const column of [LENGTH, DATE, MARKS]) list.rows.set(0, column, head.get(0, column));
    return list;
  }

  private fromWith(start: number, further: readonly (readonly [column: number, by: number])[]): SegmentList {
    if (start >= this.length) return new SegmentList();
    const context = this.rows.get(start, CONTEXT);
    const { texts, dropped } = this.texts.from(this.rows.get(start, PATH));
    const rows = this.rows.slice(start, this.length, [[PATH, -dropped], [CONTEXT, -context], ...further]);
    return new SegmentList(rows, texts, this.contexts.from(context));
  }

  private sumOf(column: number): number {
    return this.length === 0 ? 0 : this.rows.get(this.length - 1, column);
  }
}

/** Whole microseconds, because sums of decimal fractions drift across the borders of phases. */
function microsOf(seconds: number): number {
  return Math.round(seconds * MICROSECONDS);
}

const NOTHING_NEW = { parts: 0, length: 0 };

/** How many contexts and keys a segment has that the one before it has not, and how many characters they have. */
function newIn(
  { keys, key, init }: SegmentContext,
  before: SegmentContext | undefined,
): { readonly parts: number; readonly length: number } {
  const added = keys.filter((one) => !before?.keys.includes(one));
  // A key with the vector of this very segment takes an object and a text.
  const parts = 1 + added.length + (key === undefined || keys.some((one) => one.key === key) ? 0 : 2);
  const texts = added.map((one) => Object.values(one.key).join(''));
  return { parts, length: (init?.path.length ?? 0) + texts.join('').length };
}

/** The segments that a text lists, in order. */
export interface ListedSegments {
  readonly base: number;
  readonly segments: SegmentList;
  /** Positions of the first and of the last one that have a date of their own. */
  readonly firstDated: number | undefined;
  readonly lastDated: number | undefined;
  /** Whether a tag that concerns the whole playlist stands behind the first segment. */
  readonly scattered: boolean;
}

/** Segments by their media sequence number, without a map of them: a long playlist has 100,000. */
export class SegmentsBySequence implements Iterable<readonly [number, Segment]> {
  constructor(
    private readonly base: number,
    private readonly listed: SegmentList,
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
      this.left.findLast((placed) => placed.sequence === sequence)?.segment
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
