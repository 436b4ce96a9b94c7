import { type LiveWindow, type PlacedSegment, mediaPerAxis } from '../live-phases.js';
import { IndexedList } from '../long-list.js';
import { NumberRows } from '../number-rows.js';
import { MICROSECONDS, type Segment } from '../phases.js';
import { fileNameOf } from './names.js';
import { type ListedSegments, SegmentList } from './segments.js';

/**
 * Places the segments of a live playlist on the time axis of its stream, from which their phases follow. The playlist
 * shows a window only, so the axis is taken from what every window tells:
 *
 * - `dates`: EXT-X-PROGRAM-DATE-TIME. Phase k covers Unix seconds [k·X, (k+1)·X). Where every segment has a date and the
 *   dates go forward, a phase is the same media for every instance and at the same time in every rendition. Segments
 *   without a date are placed by the durations since the date before them, so instances agree as far as dates and
 *   durations do.
 * - `reference`: the axis of the stream's first rendition, for another one where either has no dates. Matched by a
 *   discontinuity that both windows have, it is exact; otherwise the ends of the two windows are taken for the same time,
 *   which may be wrong by about one segment and differ between instances by as much.
 * - `sequence`: media sequence number times target duration, without dates or where all are the same. Instances agree
 *   whatever window they saw. Renditions agree where they have the same numbers and target duration.
 *
 * The axis never goes back on an instance that saw the former playlist: after a reset of the numbers, a clock that was set
 * back or a new target duration, the segments go on behind the last one. Where the origin's own times are ahead of the axis
 * again, it follows them. An instance that starts between the two numbers phases by what its window tells.
 *
 * One exception: what a first reading lists is placed by its date, also where that is a single one. Where a later segment has
 * the same date, all are placed anew by numbers, as on an instance that sees both at first. The phases of the first reading
 * then have other numbers; those by the date are given to no other media, because numbers do not lead back there.
 */
export interface Timeline extends LiveWindow {
  readonly placed: PlacedSegments;
  readonly axis: 'dates' | 'reference' | 'sequence';
  /** What the origin's times lack to the axis, in microseconds. */
  readonly offset: number;
  /** How much of the axis a sequence number takes. */
  readonly sequenceMicros: number;
  /** Whether all is placed by one date so far, here or in the first rendition. It may turn out to be no axis. */
  readonly provisional: boolean;
  /** The newest date that was listed, and how much of the media had played before it. */
  readonly lastDate: { readonly date: number; readonly played: number } | undefined;
}

interface TimedSegment extends PlacedSegment {
  /** Its time as the origin tells it: since 1970 on an axis of dates, else since the epoch. */
  readonly told: number;
  /** Microseconds of media from the first segment that this instance saw. */
  readonly played: number;
  /** The discontinuity that begins with it. */
  readonly discontinuity: number | undefined;
}

/** The columns of placed segments. */
const AT = 0;
const AXIS_LENGTH = 1;
const TOLD = 2;
const PLAYED = 3;

/** Placed segments in order, as numbers; `get` makes an object that reads them. */
class PlacedSegments extends IndexedList<TimedSegment> {
  constructor(
    readonly segments: SegmentList,
    private readonly rows = new NumberRows(4),
  ) {
    super();
  }

  get length(): number {
    return this.rows.length;
  }

  get(index: number): TimedSegment | undefined {
    return index < 0 || index >= this.length ? undefined : new Placed(this.segments, this.rows, index);
  }

  /** Places the next one of `segments`. */
  place(at: number, length: number, told: number, played: number): TimedSegment {
    this.rows.push(at, length, told, played);
    return this.last!;
  }

  /** A list of its own from an index on, which shares nearly all of its memory with this one. */
  from(start: number): PlacedSegments {
    return new PlacedSegments(this.segments.from(start), this.rows.slice(Math.min(start, this.length)));
  }
}

class Placed implements TimedSegment {
  constructor(
    private readonly segments: SegmentList,
    private readonly rows: NumberRows,
    private readonly index: number,
  ) {}

  get segment(): Segment {
    return this.segments.get(this.index)!;
  }

  get sequence(): number {
    return this.segments.sequences.get(this.index)!;
  }

  get durationSeconds(): number {
    return this.segments.durations.get(this.index)!;
  }

  get at(): number {
    return this.rows.get(this.index, AT);
  }

  get length(): number {
    return this.rows.get(this.index, AXIS_LENGTH);
  }

  get told(): number {
    return this.rows.get(this.index, TOLD);
  }

  get played(): number {
    return this.rows.get(this.index, PLAYED);
  }

  get discontinuity(): number | undefined {
    return this.segments.discontinuityAt(this.index);
  }
}

interface TimelineOptions {
  readonly phaseSeconds: number;
  readonly targetSeconds: number;
  readonly ended: boolean;
  readonly readAt: number | undefined;
  readonly former: Timeline | undefined;
  readonly reference: Timeline | undefined;
}

const SEGMENTS_A_STEP = 256;

/** So many segments may be listed before their time, because packagers write several at once. */
const EARLY_SEGMENTS = 4;

/** So many segments that left a window are remembered at most. */
const MAX_REMEMBERED = 500;

/** Gives undefined where the text is older than what is known, as caches serve it now and then. */
export function* placeSegments(
  listed: ListedSegments,
  options: TimelineOptions,
): Generator<void, Timeline | undefined> {
  const { ended, reference } = options;
  const { base, segments } = listed;
  const phaseMicros = Math.round(options.phaseSeconds * MICROSECONDS);
  let { former } = options;
  let { from: newFrom, numberedAnew } = yield* firstNew(listed, options);
  if (newFrom === undefined && !ended) return undefined;
  const sameDates = haveSameDate(listed, newFrom ?? segments.length, former);
  if (former?.provisional && (sameDates || reference?.axis === 'sequence'))
    [former, newFrom, numberedAnew] = [undefined, 0, false];
  const known = former?.placed.last;
  const from = newFrom ?? segments.length;
  const dateOf = sameDates ? undefined : datesOf(listed, former, from);
  const clock = clockOf(listed, from, phaseMicros, numberedAnew, { ...options, former, dateOf });

  // The first reading of a stream places what it lists.
  const placed = former ? former.placed.from(0) : new PlacedSegments(segments.from(from));
  let last: TimedSegment | undefined = known;
  let offset = former?.offset ?? 0;
  const backwardLimit = numberedAnew ? 0 : 2 * Math.max(phaseMicros, clock.sequenceMicros);
  for (let index = from; index < segments.length; index++) {
    const told = clock.told(index, last);
    const since = clock.sinceEpoch(told);
    const durationMicros = Math.round(segments.durations.get(index)! * MICROSECONDS);
    let at = since;
    if (last !== undefined && since <= last.at) {
      const missing = numberedAnew || index > from ? 0 : base + index - last.sequence - 1;
      if (offset !== 0 && since + offset > last.at) at = since + offset;
      else if (last.at - (since + offset) < backwardLimit) at = last.at;
      else at = last.at + last.length + Math.max(0, missing) * clock.sequenceMicros;
      if (at !== last.at) offset = at - since;
    } else offset = 0;
    if (former) placed.segments.pushFrom(segments, index);
    last = placed.place(at, clock.lengthOf(durationMicros), told, last ? playedTo(last) : 0);
    if (index % SEGMENTS_A_STEP === 0) yield;
  }
  const nextAt = last === undefined ? 0 : clock.nextAt(last, offset);
  const kept = trim(placed, segments.length, clock.epoch, phaseMicros, nextAt);
  const first = kept.get(0);
  const cut = placed.get(placed.length - kept.length - 1);
  return {
    placed: kept,
    left: Math.max(0, kept.length - segments.length),
    // A window may also go further back than the one before.
    listed:
      newFrom === undefined ? new SegmentList() : segments.from(Math.max(0, segments.length - kept.length)),
    epoch: clock.epoch,
    nextAt,
    headIsWhole:
      cut !== undefined && first !== undefined
        ? Math.floor(cut.at / phaseMicros) < Math.floor(first.at / phaseMicros)
        : (former?.headIsWhole ?? clock.headIsWhole(first)),
    targetSeconds: options.targetSeconds,
    ended,
    // Unchanged since it was read first: the next segment is due a duration after that.
    readAt: from === segments.length && former ? former.readAt : options.readAt,
    axis: clock.axis,
    offset,
    sequenceMicros: clock.sequenceMicros,
    provisional:
      (known === undefined || former?.provisional === true) &&
      (clock.axis === 'dates'
        ? isOneDate(listed, former)
        : clock.axis === 'reference' && (reference ?? former)?.provisional === true),
    lastDate: lastDateOf(listed, from, former) ?? former?.lastDate,
  };
}

/** The axis of a stream whose playlist has kept its beginning so far: for when it begins to slide, and for other renditions. */
export function* timelineFromBeginning(
  { segments }: ListedSegments,
  { targetSeconds, readAt }: Pick<TimelineOptions, 'targetSeconds' | 'readAt'>,
): Generator<void, Timeline> {
  const sequenceMicros = Math.round(targetSeconds * MICROSECONDS);
  const placed = new PlacedSegments(segments.from(0));
  let end = 0;
  for (const seconds of segments.durations) {
    const at = end;
    const length = Math.round(seconds * MICROSECONDS);
    end += length;
    placed.place(at, length, placed.length * sequenceMicros, at);
    if (placed.length % SEGMENTS_A_STEP === 0) yield;
  }
  return {
    placed,
    left: 0,
    listed: segments,
    epoch: 0,
    nextAt: end,
    headIsWhole: true,
    targetSeconds,
    ended: false,
    readAt,
    axis: 'sequence',
    offset: 0,
    sequenceMicros,
    provisional: false,
    lastDate: undefined,
  };
}

/** Which of the listed segments is the first that is not known yet, and whether their numbers began anew. */
function* firstNew(
  listed: ListedSegments,
  { former, readAt }: TimelineOptions,
): Generator<void, { readonly from: number | undefined; readonly numberedAnew: boolean }> {
  const { base, segments } = listed;
  const known = former?.placed.last;
  if (!former || !known || segments.length === 0) return { from: 0, numberedAnew: false };
  const position = known.sequence - base;
  const same = segments.get(position);
  if (same !== undefined && isSameFile(same, known.segment))
    return { from: position + 1, numberedAnew: false };
  const { placed } = former;
  // Channels that loop a film have the same files later on.
  const isInTime = position < 0 && dueMsOf(listed, -position) <= (readAt ?? Infinity) - (former.readAt ?? 0);
  const again = isInTime ? -1 : yield* positionOfNewest(placed.segments, segments);
  if (again >= 0) return { from: again + 1, numberedAnew: true };
  const newest = segments.last!;
  const isOlder =
    same === undefined
      ? placed.findLastIndex((one) => one.sequence === newest.sequence && isSameFile(one.segment, newest)) >=
        0
      : (yield* positionOfNewest(segments, placed.segments)) >= 0;
  return isOlder ? { from: undefined, numberedAnew: false } : { from: 0, numberedAnew: position >= 0 };
}

/** How long it takes at least until the numbers of these segments are reached, if the first one is so far ahead. */
function dueMsOf(listed: ListedSegments, ahead: number): number {
  const { length, endMicros } = listed.segments;
  return ((ahead + length - EARLY_SEGMENTS) * endMicros) / length / 1_000;
}

/**
 * Where the newest segment of one list stands in another by its file, with the ones before it; -1 where it does not. Some
 * packagers number a window from 0 each time, or number the same media anew. A file that is repeated says nothing.
 */
function* positionOfNewest(list: SegmentList, other: SegmentList): Generator<void, number> {
  const newestBut = (back: number): Segment | undefined => list.get(list.length - 1 - back);
  const [newest, before] = [newestBut(0)!, newestBut(1)];
  if (before !== undefined && isSameFile(newest, before)) return -1;
  let position = other.length - 1;
  for (; position >= 0 && !isSameFile(newest, other.get(position)!); position--)
    if (position % SEGMENTS_A_STEP === 0) yield;
  for (let back = 1; back <= position; back++) {
    const segment = newestBut(back);
    if (segment !== undefined && !isSameFile(segment, other.get(position - back)!)) return -1;
    if (back % SEGMENTS_A_STEP === 0) yield;
  }
  return position;
}

/** Folders and queries may hold tokens that change with each reload. */
function isSameFile(one: Segment, other: Segment): boolean {
  return fileNameOf(one.path) === fileNameOf(other.path) && one.byteRange?.offset === other.byteRange?.offset;
}

/** Tells the origin's time of each segment, and how that lies on the axis. */
interface OriginClock {
  readonly axis: Timeline['axis'];
  readonly epoch: number;
  readonly sequenceMicros: number;
  /** Of the listed segment at an index; `last` is the one before it. */
  told(index: number, last: TimedSegment | undefined): number;
  sinceEpoch(told: number): number;
  /** How much of the axis a segment of this duration takes. Both are in microseconds. */
  lengthOf(durationMicros: number): number;
  /** Where the segment behind this one starts at the earliest. */
  nextAt(last: TimedSegment, offset: number): number;
  /** Whether the first segment that was seen begins its phase. */
  headIsWhole(first: TimedSegment | undefined): boolean;
}

function clockOf(
  listed: ListedSegments,
  from: number,
  phaseMicros: number,
  numberedAnew: boolean,
  { former, reference, targetSeconds, dateOf }: TimelineOptions & { readonly dateOf: DateOf | undefined },
): OriginClock {
  const sequenceMicros = former?.sequenceMicros ?? unitOf(listed.base, targetSeconds, phaseMicros);
  const common = {
    sequenceMicros,
    sinceEpoch: (told: number): number => told,
    lengthOf: (durationMicros: number): number => durationMicros,
    // The next segment may start anywhere behind the start of this one, if its date says so.
    nextAt: ({ at }: TimedSegment): number => at,
    headIsWhole: (): boolean => listed.base === 0,
  };
  if (former?.axis === 'reference' && former.placed.length > 0 && !reference?.placed.length) {
    // While the first rendition cannot be read, segments follow one another.
    const told = (_: number, last: TimedSegment | undefined): number => last!.told + last!.length;
    return { ...common, axis: 'reference', epoch: former.epoch, told };
  }
  if (dateOf !== undefined && (!reference?.placed.length || reference.axis === 'dates')) {
    const epoch = former?.epoch ?? Math.floor(dateOf(0, undefined) / phaseMicros);
    return {
      ...common,
      axis: 'dates',
      epoch,
      told: dateOf,
      sinceEpoch: (date) => date - epoch * phaseMicros,
    };
  }
  if (reference !== undefined && reference.placed.length > 0) {
    const epoch = former?.epoch ?? reference.epoch;
    const ahead = (reference.epoch - epoch) * phaseMicros;
    const onReference = alignTo(reference, listed, former, ahead);
    const scale = mediaPerAxis(reference.placed);
    return {
      ...common,
      axis: 'reference',
      epoch,
      told: (index) => onReference(index) + ahead,
      lengthOf: (durationMicros) => Math.round(durationMicros / scale),
    };
  }
  const [unit, phase] = [BigInt(sequenceMicros), BigInt(phaseMicros)];
  const epoch = former?.epoch ?? Number((BigInt(listed.base) * unit) / phase);
  const numbered = (index: number): number =>
    Number(BigInt(listed.base + index) * unit - BigInt(epoch) * phase);
  const goesOn = former?.axis === 'sequence' && !numberedAnew;
  return {
    ...common,
    axis: 'sequence',
    epoch,
    lengthOf: () => sequenceMicros,
    told: (index, last) =>
      last === undefined || (index === from && !goesOn) ? numbered(index) : last.told + stepTo(index, last),
    nextAt: (last, offset) => {
      const next = last.told + sequenceMicros;
      return [next, next + offset].find((one) => one > last.at) ?? last.at;
    },
    headIsWhole: (first) =>
      listed.base === 0 ||
      first === undefined ||
      Math.floor((first.at - sequenceMicros) / phaseMicros) < Math.floor(first.at / phaseMicros),
  };

  function stepTo(index: number, last: TimedSegment): number {
    return (listed.base + index - last.sequence) * sequenceMicros;
  }
}

/**
 * How much of the axis a sequence number takes: the target duration. Numbers from a clock may be so large that phases
 * shorter than that could not be counted; then each number is a phase.
 */
function unitOf(base: number, targetSeconds: number, phaseMicros: number): number {
  const unit = Math.round(targetSeconds * MICROSECONDS);
  return (base * unit) / phaseMicros < Number.MAX_SAFE_INTEGER / 2 ? unit : phaseMicros;
}

/**
 * Whether the dates are no axis: some packagers write the date at which they began in front of every segment, or of the first
 * one that they list. Compared are the segments of this playlist, and its newest date with the one of the reading before.
 */
function haveSameDate(listed: ListedSegments, from: number, former: Timeline | undefined): boolean {
  const { firstDated, lastDated, segments } = listed;
  if (firstDated === undefined || lastDated === undefined) return false;
  const { dates, starts } = segments;
  const date = dates.get(lastDated)!;
  if (date === dates.get(firstDated) && starts.get(lastDated)! - starts.get(firstDated)! > MICROSECONDS)
    return true;
  const { axis, lastDate } = former ?? {};
  // A single segment does not tell. An axis by numbers is not left for its date.
  if (axis === 'sequence' && segments.length === 1) return true;
  if (lastDate === undefined || lastDate.date !== date) return false;
  return axis === 'sequence' || lastDateOf(listed, from, former)!.played - lastDate.played > MICROSECONDS;
}

/** The newest date of this playlist, and how much of the media plays before it. */
function lastDateOf(
  { lastDated, segments: { dates, starts, endMicros } }: ListedSegments,
  from: number,
  former: Timeline | undefined,
): Timeline['lastDate'] {
  if (lastDated === undefined) return undefined;
  const known = former?.placed.last;
  const before = known === undefined ? 0 : playedTo(known) - (starts.get(from) ?? endMicros);
  return { date: dates.get(lastDated)!, played: before + starts.get(lastDated)! };
}

/** Whether only one date was seen so far. It may be one that never moves. */
function isOneDate(
  { segments: { dates }, firstDated, lastDated }: ListedSegments,
  former: Timeline | undefined,
): boolean {
  if (firstDated === undefined || lastDated === undefined) return false;
  const date = dates.get(firstDated)!;
  return date === dates.get(lastDated) && (former?.lastDate?.date ?? date) === date;
}

type DateOf = (index: number, last: TimedSegment | undefined) => number;

/**
 * Gives the date of each new segment: its own, or the one before it with the durations since, or the one behind it less the
 * durations until then. Undefined where neither this playlist nor the one before has any.
 */
function datesOf(listed: ListedSegments, former: Timeline | undefined, from: number): DateOf | undefined {
  const { dates, starts } = listed.segments;
  const known = former?.axis === 'dates' ? former.placed.last : undefined;
  const firstDate = firstDateOf(listed);
  if (firstDate === undefined && known === undefined) return undefined;
  const near = dates.findLastIndex(isDate, from);
  return (index, last) => {
    const own = dates.get(index)!;
    if (isDate(own)) return own;
    if (last !== undefined && (index > from || (known !== undefined && near < 0)))
      return last.told + Math.round(last.durationSeconds * MICROSECONDS);
    return near < 0
      ? firstDate! + starts.get(index)!
      : dates.get(near)! + starts.get(index)! - starts.get(near)!;
  };
}

/** The date of the first listed segment, its own or by the first date behind it; undefined where there is none. */
export function firstDateOf({ firstDated, segments: { dates, starts } }: ListedSegments): number | undefined {
  return firstDated === undefined ? undefined : dates.get(firstDated)! - starts.get(firstDated)!;
}

/** How much of the media was played up to the end of a segment, in microseconds. */
function playedTo({ played, durationSeconds }: TimedSegment): number {
  return played + Math.round(durationSeconds * MICROSECONDS);
}

function isDate(date: number): boolean {
  return !Number.isNaN(date);
}

/** Gives the time of each listed segment on the axis of another rendition, which is `ahead` of this one's. */
function alignTo(
  reference: Timeline,
  listed: ListedSegments,
  former: Timeline | undefined,
  ahead: number,
): (index: number) => number {
  const { segments } = listed;
  const { starts } = segments;
  const there = reference.placed;
  const endThere = playedTo(there.last!);
  let shift = endThere - segments.endMicros;
  const marks = new Map<number, number>();
  for (let index = there.length - 1; index >= 0; index--) {
    const discontinuity = there.segments.discontinuityAt(index);
    if (discontinuity !== undefined) marks.set(discontinuity, index);
  }
  const shared = starts.findIndex((_, index) => marks.has(segments.discontinuityAt(index) ?? NaN));
  if (shared >= 0)
    shift = there.get(marks.get(segments.discontinuities.get(shared)!)!)!.played - starts.get(shared)!;
  else if (former?.axis === 'reference') {
    // What was found before still holds, unless the windows have drifted apart.
    const sequence = segments.sequences.get(0);
    const known = former.placed.get(former.placed.segments.sequences.findIndex((one) => one === sequence));
    const before = known && playedAt(there, known.at - ahead) - starts.get(0)!;
    if (before !== undefined && Math.abs(before - shift) < 3 * reference.targetSeconds * MICROSECONDS)
      shift = before;
  }
  return (index) => atPlayed(there, starts.get(index)! + shift);
}

/** The place on the axis at which so much media has played. */
function atPlayed(placed: PlacedSegments, played: number): number {
  const position = Math.max(0, placed.firstWhere((one) => one.played > played) - 1);
  const { at, length, durationSeconds, played: begun } = placed.get(position)!;
  return Math.round(at + ((played - begun) * length) / (durationSeconds * MICROSECONDS || length || 1));
}

/** The media that has played up to a place on the axis: the inverse of `atPlayed`. */
function playedAt(placed: PlacedSegments, place: number): number {
  const position = Math.max(0, placed.firstWhere((one) => one.at > place) - 1);
  const { at, length, durationSeconds, played } = placed.get(position)!;
  return Math.round(played + ((place - at) * durationSeconds * MICROSECONDS) / (length || 1));
}

/**
 * Segments that left the window stay on the origin for about its length (RFC 8216bis, 6.2.2). So many are kept, and those
 * that are needed to have the newest whole phase whole.
 */
function trim(
  placed: PlacedSegments,
  listed: number,
  epoch: number,
  phaseMicros: number,
  nextAt: number,
): PlacedSegments {
  if (listed === 0) return placed;
  const newestWhole = (Math.floor(nextAt / phaseMicros) - 1) * phaseMicros;
  let from = Math.max(0, placed.length - listed - Math.min(listed, MAX_REMEMBERED));
  while (from > 0 && placed.get(from - 1)!.at >= newestWhole) from--;
  return placed.from(from);
}
