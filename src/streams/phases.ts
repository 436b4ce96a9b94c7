import { type IndexedList, LongList } from './long-list.js';

/**
 * How a stream is cut into phases: phase k of a stream covers its seconds [k·X, (k+1)·X) and is delivered as the
 * segments that start in it. `live-phases.ts` has the streams of which only a window is there.
 */

/** Where something of a stream is. */
export interface Resource {
  /** Below the origin's root, as in a URL, its query included; of a foreign resource the absolute URI. */
  readonly path: string;
  /** True where it lies outside the origin: its URI is handed out as it is, neither signed nor counted. */
  readonly foreign?: true;
}

/** A part of a resource, in bytes. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** How segments are encrypted (EXT-X-KEY; RFC 8216bis, 4.4.4.4). */
export interface SegmentKey extends Partial<Resource> {
  readonly method: string;
  /** As the playlist writes it: 0x and up to 32 hexadecimal digits. Absent: it is made of `sequence`. */
  readonly iv?: string;
  /** KEYFORMAT; absent for `identity`. */
  readonly format?: string;
}

export interface Segment extends Resource {
  readonly durationSeconds: number;
  /** The media sequence number. */
  readonly sequence?: number;
  /** Where the segment is a part of a larger resource. */
  readonly byteRange?: ByteRange;
  /** The initialisation section that must be decoded before it, of fragmented MP4. */
  readonly init?: Resource & {
    readonly byteRange?: ByteRange;
    /** How the section is encrypted, where that differs from its segment; with the method NONE it is not. */
    readonly key?: SegmentKey;
  };
  readonly key?: SegmentKey;
  /** Timestamps, tracks or encoding begin anew with it. */
  readonly discontinuity?: true;
  /** It is known to be missing: a player must not load it. */
  readonly gap?: true;
  /** When its first sample was recorded, in RFC 3339; only where the playlist has a date for this very segment. */
  readonly programDateTime?: string;
}

export interface Phase {
  readonly index: number;
  readonly startSeconds: number;
  /** X, and what is left of the stream for the last one; of a live stream the media that plays in the phase. */
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
  /**
   * Phase k exists when 0 <= k < phases, and where it is live from `live.oldest` on. Every phase that exists is whole:
   * no segment will be added to it. A live stream that has just begun has none yet.
   */
  readonly phases: number;
  /**
   * The phase behind the newest one in which a segment starts. It is above `phases` while the newest phase is not whole
   * yet. Players at the gate take segments one by one, so they are judged by this.
   */
  readonly edge: number;
  /** The oldest phase that is there, and the one that a newcomer begins with. */
  readonly live: { readonly oldest: number; readonly start: number } | undefined;
  /** Nothing will be added to it. */
  readonly ended: boolean;
  readonly segmentCount: number;
  /** `index` is one that exists. */
  phase(index: number): Phase;
  /**
   * Seconds for which a phase keeps a player busy: X, or less or more where the time axis goes by media sequence numbers.
   * Without an index, or for a phase that is not whole: on average.
   */
  secondsOfMedia(index?: number): number;
  /** The phase that a segment is in, by its media sequence number; below `edge`. A segment that left is in the oldest. */
  phaseOf(sequence: number): number;
  /**
   * The phase to hand out to a client that asks for this one: itself, or the next one that has media where the numbers
   * leap, as they do after an encoder was away. Where that one is not whole yet, it is the one before.
   */
  landing(index: number): number;
  /**
   * Seconds until the phase after this one can be had; 0 where it is there, or nothing will follow. `now` is in Unix
   * milliseconds.
   */
  nextPhaseIn(index: number, now?: number): number;
}

/** A client near the edge of a live stream is told to ask a little early, so that delays do not add up. */
const EDGE_PACE = 0.9;

/** Seconds after which a client that has this phase should ask for the next one. `now` is in Unix milliseconds. */
export function nextRequestIn(stream: Stream, { index, durationSeconds }: Phase, now: number): number {
  const missing = stream.nextPhaseIn(index, now);
  if (missing > 0) return missing;
  return stream.live !== undefined && index >= stream.live.start
    ? EDGE_PACE * durationSeconds
    : durationSeconds;
}

/** So many segments from its end a live stream is joined (RFC 8216, 6.3.3). */
export const BEHIND_EDGE = 3;

/** Whole microseconds, because sums of decimal fractions drift across the borders of phases. */
export const MICROSECONDS = 1_000_000;

/** Where each segment starts behind the first, in microseconds. */
function startsOf(segments: Iterable<Segment>): LongList<number> {
  const starts = new LongList<number>();
  let end = 0;
  for (const { durationSeconds } of segments) {
    starts.push(end);
    end += Math.round(durationSeconds * MICROSECONDS);
  }
  return starts;
}

interface PhasedOptions {
  /** The media sequence number of its first segment. */
  readonly first: number;
  /** Segments may be added. */
  readonly growing: boolean;
  /** Where each segment starts, in microseconds, where that is known already. */
  readonly starts?: IndexedList<number>;
  /** The playlist says that it will not change, although it has no end: its last phase is whole. */
  readonly complete?: boolean;
  /** When it was read, in Unix milliseconds. */
  readonly readAt?: number | undefined;
  readonly targetSeconds?: number;
  /** When its first segment was recorded, in microseconds since 1970: live, its phases were numbered by dates. */
  readonly firstDateMicros?: number | undefined;
}

/** A stream whose beginning is there, finished or growing: phase k covers its seconds [k·X, (k+1)·X). */
export class PhasedStream implements Stream {
  readonly kind: 'vod' | 'live';
  readonly durationSeconds: number | undefined;
  readonly phases: number;
  readonly edge: number;
  readonly live: Stream['live'];
  readonly ended: boolean;
  private readonly phaseMicros: number;
  /** For each segment the microsecond at which it starts. */
  private readonly starts: IndexedList<number>;
  private readonly durationMicros: number;

  constructor(
    readonly streamId: string,
    private readonly segments: IndexedList<Segment>,
    readonly phaseSeconds: number,
    private readonly options: PhasedOptions = { first: 0, growing: false },
  ) {
    const { growing, first, complete = !growing, starts = startsOf(segments) } = this.options;
    this.starts = starts;
    const end = (starts.last ?? 0) + Math.round((segments.last?.durationSeconds ?? 0) * MICROSECONDS);
    this.durationMicros = end;
    this.phaseMicros = Math.round(phaseSeconds * MICROSECONDS);
    this.edge = Math.ceil(end / this.phaseMicros);
    this.phases = complete ? this.edge : Math.floor(end / this.phaseMicros);
    this.ended = !growing;
    this.kind = growing ? 'live' : 'vod';
    this.durationSeconds = growing ? undefined : end / MICROSECONDS;
    const joined = this.phaseOf(first + Math.max(0, segments.length - BEHIND_EDGE));
    this.live = growing ? { oldest: 0, start: Math.max(0, Math.min(joined, this.phases - 1)) } : undefined;
  }

  get segmentCount(): number {
    return this.segments.length;
  }

  /** `index` is one of 0 to `phases` - 1. */
  phase(index: number): Phase {
    const from = index * this.phaseMicros;
    const to = Math.min(from + this.phaseMicros, this.durationMicros);
    const isLast = index === this.edge - 1;
    return {
      index,
      startSeconds: from / MICROSECONDS,
      durationSeconds: (to - from) / MICROSECONDS,
      last: this.ended && isLast,
      // A last segment without a duration starts where the stream ends.
      segments: this.segments.slice(
        this.firstStartingAt(from),
        isLast ? undefined : this.firstStartingAt(to),
      ),
    };
  }

  secondsOfMedia(): number {
    return this.phaseSeconds;
  }

  phaseOf(sequence: number): number {
    const start = this.starts.get(sequence - this.options.first) ?? 0;
    return Math.max(0, Math.min(this.edge - 1, Math.floor(start / this.phaseMicros)));
  }

  /** A client that watched it live may ask by the number that the phase had by its date. */
  landing(index: number): number {
    const { firstDateMicros } = this.options;
    if (index < this.phases || firstDateMicros === undefined) return index;
    const start = index * this.phaseMicros - firstDateMicros;
    return start > -this.phaseMicros && start < this.durationMicros
      ? Math.max(0, Math.floor(start / this.phaseMicros))
      : index;
  }

  nextPhaseIn(index: number, now?: number): number {
    const { growing, readAt = now ?? 0, targetSeconds = this.phaseSeconds } = this.options;
    if (!growing || index + 1 < this.phases) return 0;
    const missing = ((index + 2) * this.phaseMicros - this.durationMicros) / MICROSECONDS;
    const elapsed = ((now ?? readAt) - readAt) / 1_000;
    // Segments come whole, and the playlist is read again after half a target duration.
    const due = Math.ceil(missing / targetSeconds) * targetSeconds - elapsed;
    return Math.max(0, due) + targetSeconds / 2;
  }

  /** Position of the first segment that starts at or after this microsecond. */
  private firstStartingAt(micros: number): number {
    return this.starts.firstWhere((start) => start >= micros);
  }
}
