import { type IndexedList } from './long-list.js';
import { BEHIND_EDGE, MICROSECONDS, type Phase, type Segment, type Stream } from './phases.js';

/** A segment with its place on the time axis of its stream, in microseconds. */
export interface PlacedSegment {
  readonly segment: Segment;
  /** Of the segment, which may have to be made first. */
  readonly sequence: number;
  readonly durationSeconds: number;
  /** Where it starts. Never before the segment in front of it. */
  readonly at: number;
  /** How much of the axis it takes: its duration, or the target duration where the axis goes by sequence numbers. */
  readonly length: number;
}

/** What is known of a live stream: the segments that its playlist lists, and before them those that left it lately. */
export interface LiveWindow {
  readonly placed: IndexedList<PlacedSegment>;
  /** How many of `placed` the playlist no longer lists. */
  readonly left: number;
  /** The others as it lists them now: their URIs may have newer tokens, and they may be numbered anew. */
  readonly listed: IndexedList<Segment>;
  /** The phase that starts at 0 on the axis. */
  readonly epoch: number;
  /** Where the next segment starts at the earliest: no phase before it grows any more. */
  readonly nextAt: number;
  /** Whether `placed` begins with the first segment of a phase. */
  readonly headIsWhole: boolean;
  readonly targetSeconds: number;
  readonly ended: boolean;
  /** When its newest segment was seen first, in Unix milliseconds. */
  readonly readAt: number | undefined;
}

/** A phase without media, where the numbers leap, still takes time: a reply has durations above 0. */
const SHORTEST_PHASE_SECONDS = 0.001;

/** From so many of the newest segments is estimated when the next ones come. */
const RECENT_SEGMENTS = 10;

/** Over so many of the newest segments is averaged how much media a second of the axis holds. */
const AVERAGED_SEGMENTS = 500;

/**
 * Seconds of media for each second of the axis. It is 1 where segments take their duration, and 0.96 for segments of 3.84 s
 * by a target of 4 s.
 */
export function mediaPerAxis(placed: IndexedList<PlacedSegment>): number {
  let [media, axis] = [0, 0];
  for (let at = Math.max(0, placed.length - AVERAGED_SEGMENTS); at < placed.length; at++) {
    const { durationSeconds, length } = placed.get(at)!;
    media += durationSeconds * MICROSECONDS;
    axis += length;
  }
  return media > 0 && axis > 0 ? media / axis : 1;
}

/**
 * A stream of which only a window is there. Phase k covers [k·X, (k+1)·X) of the axis on which `hls/timeline.ts` has
 * placed the segments. A phase exists once it is whole, that is, once every later segment is in a later phase.
 */
export class LiveStream implements Stream {
  readonly kind = 'live';
  readonly durationSeconds = undefined;
  readonly phases: number;
  readonly edge: number;
  readonly live: { readonly oldest: number; readonly start: number };
  readonly ended: boolean;
  private readonly phaseMicros: number;
  private readonly placed: IndexedList<PlacedSegment>;
  /** Seconds of media in a phase on average, once that was asked for. */
  private ofPhase: number | undefined;

  constructor(
    readonly streamId: string,
    readonly phaseSeconds: number,
    private readonly window: LiveWindow,
  ) {
    this.phaseMicros = Math.round(phaseSeconds * MICROSECONDS);
    const { placed, ended, left, nextAt, headIsWhole } = window;
    this.placed = placed;
    this.ended = ended;
    const [first, last] = [placed.get(0), placed.last];
    if (first === undefined || last === undefined) {
      this.phases = this.edge = 0;
      this.live = { oldest: 0, start: 0 };
      return;
    }
    this.phases = ended ? this.phaseAt(last.at) + 1 : this.phaseAt(nextAt);
    this.edge = Math.max(this.phases, this.phaseAt(last.at) + 1);
    const oldest = this.phaseAt(first.at);
    const newest = this.newestWithMedia();
    if (newest === undefined) {
      // The phase before the first one has nothing to play, and tells a newcomer when there will be something.
      const before = Math.max(0, this.phases - 1);
      this.live = { oldest: before, start: before };
      return;
    }
    // A phase of which a part has left is gone, unless it is all that there is.
    const intact = headIsWhole || ended ? oldest : oldest + 1;
    const there = Math.min(intact, newest);
    this.live = {
      oldest: there,
      start: ended ? this.phaseAt((placed.get(left) ?? first).at) : Math.max(there, this.joinedAt(newest)),
    };
  }

  get segmentCount(): number {
    return this.placed.length - this.window.left;
  }

  phase(index: number): Phase {
    const from = this.startOf(index);
    const segments: Segment[] = [];
    const end = this.firstStartingAt(from + this.phaseMicros);
    for (let at = this.firstStartingAt(from); at < end; at++) segments.push(this.segmentAt(at));
    return {
      index,
      startSeconds: (index * this.phaseMicros) / MICROSECONDS,
      durationSeconds: Math.max(SHORTEST_PHASE_SECONDS, this.mediaSecondsIn(from)),
      last: this.ended && index === this.edge - 1,
      segments,
    };
  }

  secondsOfMedia(index?: number): number {
    const isWhole = index !== undefined && index >= this.live.oldest && index < this.phases;
    const known = isWhole ? this.mediaSecondsIn(this.startOf(this.landing(index))) : 0;
    if (known > 0) return known;
    this.ofPhase ??= this.phaseSeconds * mediaPerAxis(this.placed);
    return this.ofPhase;
  }

  phaseOf(sequence: number): number {
    const position = this.positionOf(sequence);
    if (position !== undefined) return this.phaseAtPosition(position);
    const newest = this.placed.last?.sequence ?? 0;
    return sequence > newest ? Math.max(0, this.edge - 1) : this.live.oldest;
  }

  segmentAt(position: number): Segment {
    const { listed, left } = this.window;
    return listed.get(position - left) ?? this.placed.get(position)!.segment;
  }

  phaseAtPosition(position: number): number {
    return Math.max(this.live.oldest, this.phaseAt(this.placed.get(position)!.at));
  }

  /** The position of the newest segment with this media sequence number that fits. */
  positionOf(sequence: number, fits: (segment: Segment) => boolean = () => true): number | undefined {
    const { listed, left } = this.window;
    const index = sequence - (listed.get(0)?.sequence ?? Infinity);
    const here = listed.get(index);
    if (here !== undefined && fits(here)) return left + index;
    const newest = this.placed.last?.sequence ?? 0;
    const near = this.placed.length - 1 - (newest - sequence);
    const has = (position: number): boolean => {
      const placed = this.placed.get(position);
      return placed?.sequence === sequence && fits(placed.segment);
    };
    if (has(near)) return near;
    // Numbers that began anew, or that nobody read, are not in a row.
    const position = this.placed.findLastIndex((_, at) => has(at));
    return position < 0 ? undefined : position;
  }

  landing(index: number): number {
    const from = this.startOf(index);
    if (index < this.live.oldest || index >= this.phases || this.mediaSecondsIn(from) > 0) return index;
    const next = this.placed.get(this.firstStartingAt(from));
    if (next === undefined) return index;
    const target = this.phaseAt(next.at);
    return target < this.phases ? target : Math.max(index, this.phases - 1);
  }

  nextPhaseIn(index: number, now?: number): number {
    const { placed, ended, nextAt, targetSeconds, readAt = now ?? 0 } = this.window;
    if (ended || index + 1 < this.phases) return 0;
    const recent = placed.slice(Math.max(0, placed.length - RECENT_SEGMENTS));
    const mean = (of: (one: PlacedSegment) => number, otherwise: number): number =>
      recent.reduce((sum, one) => sum + of(one), 0) / recent.length || otherwise;
    const seconds = mean((one) => one.durationSeconds, targetSeconds);
    const length = mean((one) => one.length, targetSeconds * MICROSECONDS);
    const steps = placed.length === 0 ? 1 : Math.ceil((this.startOf(index + 2) - nextAt) / length);
    const elapsed = ((now ?? readAt) - readAt) / 1_000;
    // The playlist is read again after half a target duration.
    return Math.max(0, steps * seconds - elapsed) + targetSeconds / 2;
  }

  /** Three segments from the end (RFC 8216, 6.3.3), or the newest phase that is whole. */
  private joinedAt(newest: number): number {
    const joined = this.placed.get(Math.max(0, this.placed.length - BEHIND_EDGE))!;
    return Math.min(newest, this.phaseAt(joined.at));
  }

  /** The newest phase that exists and in which a segment starts. */
  private newestWithMedia(): number | undefined {
    const newest = this.placed.get(this.firstStartingAt(this.startOf(this.phases)) - 1);
    return newest && this.phaseAt(newest.at);
  }

  /** Seconds of media that play in the phase that starts here. */
  private mediaSecondsIn(from: number): number {
    const to = from + this.phaseMicros;
    let position = this.firstStartingAt(from);
    while (position > 0 && this.endOf(position - 1) > from) position--;
    let seconds = 0;
    for (; position < this.placed.length && this.placed.get(position)!.at < to; position++) {
      const { at, length, durationSeconds } = this.placed.get(position)!;
      const overlap = Math.min(to, at + length) - Math.max(from, at);
      seconds += length > 0 ? (durationSeconds * Math.max(0, overlap)) / length : 0;
    }
    return Math.round(seconds * MICROSECONDS) / MICROSECONDS;
  }

  private endOf(position: number): number {
    const { at, length } = this.placed.get(position)!;
    return at + length;
  }

  private startOf(index: number): number {
    return (index - this.window.epoch) * this.phaseMicros;
  }

  private phaseAt(at: number): number {
    return this.window.epoch + Math.floor(at / this.phaseMicros);
  }

  /** Position of the first segment that starts at or after this microsecond. */
  private firstStartingAt(micros: number): number {
    return this.placed.firstWhere(({ at }) => at >= micros);
  }
}
