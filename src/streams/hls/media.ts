import { type LongText } from '../../http/long-texts.js';
import { LiveStream } from '../live-phases.js';
import {
  type ByteRange,
  MICROSECONDS,
  PhasedStream,
  type Resource,
  type Segment,
  type SegmentKey,
} from '../phases.js';
import { type AttributeList, LineScanner, copyOf } from './lines.js';
import {
  type MediaPlaylist,
  type MediaState,
  PlaylistError,
  type PlaylistSource,
  contextOf,
} from './model.js';
import { SegmentNames, fileNameOf, isNameOf, sequenceOf } from './names.js';
import { type ListedSegments, type SegmentContext, SegmentList, SegmentsBySequence } from './segments.js';
import { LOW_LATENCY_TAGS, rangeOfMap, readRange } from './tags.js';
import { Template } from './template.js';
import { type Timeline, firstDateOf, placeSegments, timelineFromBeginning } from './timeline.js';
import { UriWriter, setLatest } from './uris.js';

/** A duration beyond this is a mistake: one of many digits would be infinite, and nothing in JSON. */
const MAX_SEGMENT_SECONDS = 86_400;

/** A date beyond this, in Unix milliseconds, is a mistake: its microseconds could not be counted exactly. */
const MAX_DATE_MS = Number.MAX_SAFE_INTEGER / 2_000;

const LINES_A_STEP = 128;

/** Characters of two texts that are compared in one step. */
const COMPARED_AT_ONCE = 65_536;

/** So many assets are remembered at most, however often a live stream changes its key. */
const MAX_ASSETS_PER_SEGMENT = 2;

/** Keys that may be in force at a time, each of another KEYFORMAT. Real playlists have one for each of a few DRM systems. */
const MAX_KEY_FORMATS = 16;

/** Reads a media playlist; yields every few hundred lines. Throws a PlaylistError where it cannot be served. */
export function* readMedia(text: LongText, source: PlaylistSource): Generator<void, MediaPlaylist> {
  const former = source.former?.kind === 'media' ? source.former : undefined;
  const context = contextOf(source);
  const goesOn = former?.context === context ? former : undefined;
  // Most reloads of a growing playlist find nothing new.
  if (goesOn?.template.text.equals(text)) return goesOn;

  const reader = new MediaReader(text, source);
  yield* reader.read(goesOn);
  const { writer, type, ended } = reader;
  const listed = reader.listed();
  const targetSeconds = reader.targetSeconds();
  // In a break for advertisements, all that a live playlist lists may be foreign.
  const { base, segments } = listed;
  const mayBeBreak = !ended && (former !== undefined || segments.discontinuities.last !== 0);
  if (segments.length > 0 && !segments.hasOwn && !mayBeBreak)
    throw new PlaylistError(`every segment is on another host: ${segments.get(0)!.path}`);

  const { readAt, reference } = source;
  const live = former && !former.stream.ended ? former.state : undefined;
  let stream: PhasedStream | LiveStream;
  let timeline: Timeline | undefined;
  if (segments.length > 0 && keepsBeginning(reader, listed, live, reference)) {
    stream = new PhasedStream(source.streamId, segments, source.phaseSeconds, {
      first: base,
      starts: segments.starts,
      growing: !ended,
      complete: ended || type === 'VOD',
      readAt,
      targetSeconds,
      firstDateMicros: type === undefined ? firstDateOf(listed) : undefined,
    });
  } else {
    // Where segments have left, it was a live stream.
    if (ended && segments.length === 0 && live === undefined && base === 0)
      throw new PlaylistError('the playlist has ended without a segment');
    const before =
      live?.timeline ?? (live && (yield* timelineFromBeginning(live.listed, { targetSeconds, readAt })));
    timeline = yield* placeSegments(listed, {
      phaseSeconds: source.phaseSeconds,
      targetSeconds,
      ended,
      readAt,
      former: before,
      reference:
        reference?.state.timeline ??
        (reference && (yield* timelineFromBeginning(reference.state.listed, { ...reference, readAt }))),
    });
    if (timeline === undefined) return former!;
    stream = new LiveStream(source.streamId, source.phaseSeconds, timeline);
  }

  const assets = new Map(timeline ? former?.assets : undefined);
  for (const [name, asset] of writer.assets) setLatest(assets, name, asset);
  // Players at the end of the window may still ask for what left it lately.
  for (const name of assets.keys())
    if (assets.size <= Math.max(writer.assets.size, 1.5 * segments.length)) break;
    else assets.delete(name);
  return {
    kind: 'media',
    template: new Template(text, writer.builder.cuts),
    context,
    stream,
    segments: new SegmentsBySequence(base, segments, timeline?.placed.slice(0, timeline.left) ?? []),
    assets,
    targetSeconds,
    find: (name) => findSegment(name, listed, stream),
    state: { listed, timeline },
  };
}

/**
 * Whether the playlist has its beginning, from which phases then count. Renditions are cut alike: the first one decides,
 * unless it is still without its end. A playlist that kept its beginning and goes on from it keeps it, also while the first
 * one cannot be read.
 */
function keepsBeginning(
  { type, ended }: MediaReader,
  listed: ListedSegments,
  live: MediaState | undefined,
  reference: MediaPlaylist | undefined,
): boolean {
  const isBehind = reference !== undefined && ended && !reference.stream.ended;
  const first = isBehind || reference?.stream.segmentCount === 0 ? undefined : reference;
  if (first?.state.timeline !== undefined) return false;
  const goesOn = goesOnFromBeginning(live, listed);
  if (live !== undefined && goesOn) return true;
  if (ended) return first !== undefined || type !== undefined || listed.base <= 1;
  if (!goesOn) return false;
  if (type !== undefined) return true;
  if (first === undefined) return listed.base === 0 && listed.firstDated === undefined;
  const missing = first.state.listed.segments.endMicros - listed.segments.endMicros;
  return listed.base === 0 || Math.abs(missing) < 3 * first.targetSeconds * MICROSECONDS;
}

/** Whether a live playlist is the one that was read before, grown: it did not slide, and no encoder began anew. */
function goesOnFromBeginning(former: MediaState | undefined, { base, segments }: ListedSegments): boolean {
  if (former === undefined) return true;
  if (former.timeline !== undefined || former.listed.base !== base) return false;
  const newest = former.listed.segments.length - 1;
  const [here, before] = [segments.get(newest), former.listed.segments.get(newest)];
  return before === undefined || (here !== undefined && fileNameOf(here.path) === fileNameOf(before.path));
}

function findSegment(
  name: string,
  { base, segments }: ListedSegments,
  stream: PhasedStream | LiveStream,
): ReturnType<MediaPlaylist['find']> {
  const sequence = sequenceOf(name);
  if (sequence === undefined) return undefined;
  const fits = (segment: Segment): boolean => !segment.foreign && isNameOf(name, sequence, segment.path);
  if (stream instanceof LiveStream) {
    const position = stream.positionOf(sequence, fits);
    if (position !== undefined)
      return { segment: stream.segmentAt(position), phase: stream.phaseAtPosition(position) };
  }
  const segment = segments.get(sequence - base);
  return segment && fits(segment) ? { segment, phase: stream.phaseOf(sequence) } : undefined;
}

/** Walks over the lines of a media playlist, once, for what they mean and for where their URIs stand. */
class MediaReader {
  readonly writer: UriWriter;
  type: 'VOD' | 'EVENT' | undefined;
  ended = false;
  private readonly line: LineScanner;
  private readonly names = new SegmentNames();
  private base = 0;
  /** The media sequence number where it is too large to count with. */
  private largeBase: bigint | undefined;
  private target = NaN;
  private discontinuity = 0;
  private scattered = false;

  private segments = new SegmentList();
  private firstDated: number | undefined;
  private lastDated: number | undefined;
  /** Positions of segments whose EXTINF has no duration that can be. */
  private untimed: number[] = [];

  private context: SegmentContext = { keys: [] };
  private duration: number | undefined;
  private range: { readonly length: number; readonly offset: number | undefined } | undefined;
  /** Where the range stands in the text. */
  private rangeAt: readonly [from: number, to: number] = [0, 0];
  private rangeEnd = { path: '', offset: 0 };
  private beginsAnew = false;
  private isGap = false;
  private date: string | undefined;

  constructor(
    private readonly text: LongText,
    private readonly source: PlaylistSource,
  ) {
    this.writer = new UriWriter(source);
    this.line = new LineScanner(text);
  }

  /** Reads to the end. What `former` has read already is taken over from it. */
  *read(former: MediaPlaylist | undefined): Generator<void, void> {
    const { line } = this;
    for (let lines = 1; line.advance(); lines++) {
      this.writer.scope.beginLine();
      if (line.tag === '') {
        this.readUri();
        if (this.segments.length === 1 && former) yield* this.takeOver(former);
      } else if (line.tag !== '#') this.readTag();
      if (lines % LINES_A_STEP === 0) yield;
    }
  }

  listed(): ListedSegments {
    const { segments } = this;
    // If all are 0, none is meant.
    if (segments.endMicros === 0) this.untimed = Array.from({ length: segments.length }, (_, at) => at);
    segments.setDurations(this.untimed, this.targetSeconds());
    segments.seal();
    return {
      base: this.base,
      segments,
      firstDated: this.firstDated,
      lastDated: this.lastDated,
      scattered: this.scattered || this.untimed.length > 0 || this.largeBase !== undefined,
    };
  }

  /** Seconds. What the playlist says where that can be, else its longest segment. */
  targetSeconds(): number {
    if (this.target > 0 && this.target <= MAX_SEGMENT_SECONDS) return this.target;
    let longest = 0;
    for (const seconds of this.segments.durations) longest = Math.max(longest, seconds);
    if (longest === 0 && this.segments.length > 0)
      throw new PlaylistError('the playlist has neither a target duration nor a segment with a duration');
    return longest || this.source.phaseSeconds;
  }

  private readTag(): void {
    const { line } = this;
    const { tag } = line;
    if (LOW_LATENCY_TAGS.has(tag)) {
      this.writer.builder.leaveOut(line.start, line.next);
      return;
    }
    switch (tag) {
      case '#EXTINF': {
        const seconds = Number.parseFloat(line.value());
        this.duration = seconds >= 0 && seconds <= MAX_SEGMENT_SECONDS ? seconds : undefined;
        break;
      }
      case '#EXT-X-BYTERANGE':
        this.range = readRange(line.value());
        this.rangeAt = [line.valueFrom, line.to];
        break;
      case '#EXT-X-PROGRAM-DATE-TIME':
        this.date = line.value();
        break;
      case '#EXT-X-DISCONTINUITY':
        this.beginsAnew = true;
        this.discontinuity++;
        break;
      case '#EXT-X-GAP':
        this.isGap = true;
        break;
      case '#EXT-X-KEY':
        this.readKey(line.attributes(this.writer.scope.expanded));
        break;
      case '#EXT-X-MAP':
        this.readMap(line.attributes(this.writer.scope.expanded));
        break;
      case '#EXT-X-DEFINE':
        this.writer.scope.define(line);
        this.writer.builder.leaveOut(line.start, line.next);
        this.scattered = true;
        break;
      case '#EXT-X-SKIP':
        // A cache gave the update that a player asked for. It may lack the keys of what it lists.
        throw new PlaylistError('the playlist skips segments, which nobody asked for');
      case '#EXT-X-MEDIA-SEQUENCE':
      case '#EXT-X-DISCONTINUITY-SEQUENCE':
      case '#EXT-X-TARGETDURATION':
      case '#EXT-X-PLAYLIST-TYPE':
      case '#EXT-X-ENDLIST':
        this.readHeader(tag, line.value());
        break;
      default:
        if (line.to - line.valueFrom > 4) this.writer.writeAttributes(line, line.attributes());
    }
  }

  private readHeader(tag: string, value: string): void {
    this.scattered ||= this.segments.length > 0;
    switch (tag) {
      case '#EXT-X-MEDIA-SEQUENCE':
        if (this.segments.length === 0) this.readSequence(value);
        break;
      case '#EXT-X-DISCONTINUITY-SEQUENCE':
        if (this.segments.length === 0)
          this.discontinuity += Math.min(Number(/^\d+/.exec(value) ?? 0), 2 ** 52);
        break;
      case '#EXT-X-TARGETDURATION':
        this.target = Number.parseFloat(value);
        break;
      case '#EXT-X-PLAYLIST-TYPE':
        if (value === 'VOD' || value === 'EVENT') this.type = value;
        break;
      default:
        this.ended = true;
    }
  }

  /**
   * A number below 0 is a counter of 32 or 64 bits that ran over, and goes on where that would. One beyond 2^53 is counted
   * from there as from 0.
   */
  private readSequence(value: string): void {
    const digits = /^[+-]?\d{1,40}/.exec(value)?.[0];
    if (digits === undefined) return;
    const written = BigInt(digits);
    const counted = written < 0n ? BigInt.asUintN(written >= -(2n ** 31n) ? 32 : 64, written) : written;
    this.base = Number(BigInt.asUintN(52, counted));
    this.largeBase = BigInt(this.base) === counted ? undefined : BigInt.asUintN(128, counted);
  }

  /**
   * A key is in force until the next one of its KEYFORMAT (RFC 8216bis, 4.4.4.4). A client of phases is told the plainest
   * of those in force.
   */
  private readKey(attributes: AttributeList): void {
    this.writer.writeAttributes(this.line, attributes);
    const { keys } = this.context;
    // One that is written again says nothing new.
    const line = this.line.value();
    if (keys.some((one) => one.line === line)) return;
    const uri = attributes.get('URI');
    const [method, iv, format] = ['METHOD', 'IV', 'KEYFORMAT'].map((name) => {
      const value = attributes.get(name);
      return value && copyOf(value);
    });
    // Players leave out a tag without a method.
    if (method === undefined) return;
    const key: SegmentKey = {
      method,
      ...(uri === undefined ? {} : this.writer.resolve(uri)),
      ...(iv === undefined ? {} : { iv }),
      ...(format === undefined || format === 'identity' ? {} : { format }),
    };
    const replaced = keys.findIndex((one) => one.key.format === key.format);
    const listed = { key, line: copyOf(line) };
    if (/^none$/i.test(method)) this.renewContext([]);
    else if (replaced >= 0) this.renewContext(keys.with(replaced, listed));
    else if (keys.length < MAX_KEY_FORMATS) this.renewContext([...keys, listed]);
    else throw new PlaylistError(`the playlist has keys of more than ${MAX_KEY_FORMATS} formats at a time`);
  }

  private readMap(attributes: AttributeList): void {
    this.writer.writeAttributes(this.line, attributes);
    const uri = attributes.get('URI');
    if (uri === undefined) return;
    const byteRange = rangeOfMap(attributes);
    const resource = this.writer.resolve(uri);
    const { keys, key } = this.context;
    this.renewContext(keys, {
      init: { ...resource, ...(byteRange === undefined ? {} : { byteRange }) },
      key,
    });
  }

  private renewContext(keys: SegmentContext['keys'], map = this.context.map): void {
    const key = (keys.find((one) => one.key.format === undefined) ?? keys[0])?.key;
    const [ofSection, ofSegment] = [map?.key, key].map((one) => (isForWholeFile(one) ? one : undefined));
    const init =
      map === undefined || ofSection === ofSegment
        ? map?.init
        : { ...map.init, key: ofSection ?? { method: 'NONE' } };
    this.context = { keys, map, key, init };
  }

  private readUri(): void {
    const { line, writer } = this;
    const written = line.value();
    const resource = writer.resolve(written);
    const sequence = this.base + this.segments.length;
    const byteRange = this.takeRange(resource);
    const rest = (): string => this.names.rest(sequence, resource.path);
    writer.write(written, line.from, line.to, resource, rest, sequence);
    const dateMs = this.date === undefined ? NaN : readDate(this.date);
    if (!Number.isNaN(dateMs)) {
      this.firstDated ??= this.segments.length;
      this.lastDated = this.segments.length;
    }
    if (this.duration === undefined) this.untimed.push(this.segments.length);
    this.segments.push({
      ...resource,
      durationSeconds: this.duration ?? 0,
      sequence,
      byteRange,
      discontinuity: this.beginsAnew,
      gap: this.isGap,
      date: dateMs * 1_000,
      context: this.withVector(this.context),
      discontinuities: this.discontinuity,
      end: line.to,
      cuts: writer.builder.cuts.length,
    });
    this.duration = this.range = this.date = undefined;
    this.beginsAnew = this.isGap = false;
  }

  /** Without an IV a key goes by the media sequence number, which a client cannot tell where it is not counted whole. */
  private withVector(context: SegmentContext): SegmentContext {
    const { key } = context;
    if (this.largeBase === undefined || !key || key.iv !== undefined || key.format !== undefined)
      return context;
    const vector = (this.largeBase + BigInt(this.segments.length)).toString(16).padStart(32, '0');
    return { ...context, key: { ...key, iv: `0x${vector}` } };
  }

  /**
   * A range without an offset begins where the one before it ends, in the same resource (RFC 8216bis, 4.4.4.2). The gate
   * gives each segment a name of its own, so it writes the offset.
   */
  private takeRange({ path }: Resource): ByteRange | undefined {
    if (this.range === undefined) return undefined;
    const { length, offset = this.rangeEnd.path === path ? this.rangeEnd.offset : 0 } = this.range;
    if (this.range.offset === undefined) this.writer.builder.replace(...this.rangeAt, `${length}@${offset}`);
    this.rangeEnd = { path, offset: offset + length };
    return { offset, length };
  }

  /**
   * Takes over what the former text said of the segments that both texts list alike, which are nearly all: a window of
   * thousands of segments is read again each few seconds. The texts are compared from the end of the first segment on.
   */
  private *takeOver({ template, assets, state: { listed } }: MediaPlaylist): Generator<void, void> {
    const { segments: before, scattered } = listed;
    const first = this.segments.get(0)!;
    const position = this.base - listed.base;
    const same = before.get(position);
    const last = before.length - 1;
    if (same === undefined || position >= last || scattered || this.scattered || this.untimed.length > 0)
      return;
    // Their durations or keys may be replaced at the end, and the former playlist has the same rows.
    if (this.largeBase !== undefined || before.starts.get(position) === before.endMicros) return;
    // Where keys rotate, a full reading now and then tells which assets are still named.
    if (assets.size >= MAX_ASSETS_PER_SEGMENT * before.length) return;
    if (
      same.path !== first.path ||
      same.durationSeconds !== first.durationSeconds ||
      same.byteRange?.offset !== first.byteRange?.offset ||
      writtenOf(before.contextOf(position)) !== writtenOf(this.context) ||
      before.discontinuities.get(position) !== this.discontinuity
    )
      return;
    const [from, to] = [before.ends.get(position)!, before.ends.get(last)!];
    const shift = this.line.to - from;
    // The former text may have ended within a line, because the origin was writing it.
    if (!/^[\r\n]?$/.test(this.text.slice(to + shift, to + shift + 1))) return;
    for (let at = from; at < to; at += COMPARED_AT_ONCE) {
      const end = Math.min(to, at + COMPARED_AT_ONCE);
      if (this.text.slice(at + shift, end + shift) !== template.text.slice(at, end)) return;
      yield;
    }
    const [firstCut, end] = [before.cuts.get(position)!, before.cuts.get(last)!];
    this.writer.builder.takeOver(template, firstCut, end, shift);
    this.segments = before.goOn(this.segments, position);
    const atTheHead = [...this.writer.assets.keys()];
    for (const [name, asset] of assets) setLatest(this.writer.assets, name, asset);
    for (const name of atTheHead) setLatest(this.writer.assets, name, this.writer.assets.get(name)!);
    this.resumeBehindLast();
    const { lastDated } = listed;
    if (lastDated === undefined || lastDated <= position) return;
    this.lastDated = lastDated - position;
    yield* this.findFirstDated();
  }

  private *findFirstDated(): Generator<void, void> {
    const { dates } = this.segments;
    for (let index = 0; index < dates.length && this.firstDated === undefined; index++) {
      if (!Number.isNaN(dates.get(index))) this.firstDated = index;
      if (index % LINES_A_STEP === 0) yield;
    }
  }

  /** Goes on reading behind the last segment that was taken over. */
  private resumeBehindLast(): void {
    const { segments } = this;
    const { path, sequence = 0, byteRange } = segments.last!;
    this.line.next = segments.ends.last!;
    this.names.rest(sequence, path);
    this.discontinuity = segments.discontinuities.last!;
    this.context = segments.contextOf(segments.length - 1);
    if (byteRange !== undefined) this.rangeEnd = { path, offset: byteRange.offset + byteRange.length };
  }
}

/** A text that is the same for the same lines. It is long, so it is made only where readings are compared. */
function writtenOf({ keys, init }: SegmentContext): string {
  return JSON.stringify([keys.map(({ line }) => line), init]);
}

/** Sample encryption leaves initialisation sections as they are. */
function isForWholeFile(key: SegmentKey | undefined): boolean {
  return key !== undefined && /^AES-/i.test(key.method);
}

/**
 * A date in Unix milliseconds; NaN where it is none. Beside RFC 3339, the forms of ISO 8601 that packagers write: a comma in
 * front of the fraction, and zones such as +0100 and +01. A date without a zone is taken for UTC.
 */
function readDate(value: string): number {
  const [, time = value, sign, hours, minutes = '00'] =
    /^(.*?:.*?)(?:Z|([+-])(\d{2}):?(\d{2})?)?$/i.exec(value) ?? [];
  const zone = sign === undefined ? 'Z' : `${sign}${hours}:${minutes}`;
  const date = Date.parse(time.replace(',', '.') + zone);
  return date >= 0 && date <= MAX_DATE_MS ? date : NaN;
}
