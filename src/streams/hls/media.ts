import { LiveStream } from '../live-phases.js';
import { LongList } from '../long-list.js';
import {
  type ByteRange,
  MICROSECONDS,
  PhasedStream,
  type Resource,
  type Segment,
  type SegmentKey,
  startsOf,
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
import { type ListedSegments, type SegmentContext, SegmentsBySequence } from './segments.js';
import { LOW_LATENCY_TAGS, rangeOfMap, readRange } from './tags.js';
import { Template } from './template.js';
import { type Timeline, endOf, firstDateOf, placeSegments, timelineFromBeginning } from './timeline.js';
import { UriWriter, setLatest } from './uris.js';

/** A duration beyond this is a mistake: one of many digits would be infinite, and nothing in JSON. */
const MAX_SEGMENT_SECONDS = 86_400;

/** A date beyond this, in Unix milliseconds, is a mistake: its microseconds could not be counted exactly. */
const MAX_DATE_MS = Number.MAX_SAFE_INTEGER / 2_000;

const LINES_A_STEP = 128;

/** Characters of two texts that are compared in one step. */
const COMPARED_AT_ONCE = 262_144;

/** So many assets are remembered at most, however often a live stream changes its key. */
const MAX_ASSETS_PER_SEGMENT = 2;

/** Keys that may be in force at a time, each of another KEYFORMAT. Real playlists have one for each of a few DRM systems. */
const MAX_KEY_FORMATS = 16;

/** Reads a media playlist; yields every few hundred lines. Throws a PlaylistError where it cannot be served. */
export function* readMedia(text: string, source: PlaylistSource): Generator<void, MediaPlaylist> {
  const former = source.former?.kind === 'media' ? source.former : undefined;
  const context = contextOf(source);
  const goesOn = former?.context === context ? former : undefined;
  // Most reloads of a growing playlist find nothing new.
  if (goesOn?.template.text === text) return goesOn;

  const reader = new MediaReader(text, source);
  yield* reader.read(goesOn);
  const { writer, type, ended } = reader;
  const listed = reader.listed();
  const targetSeconds = reader.targetSeconds();
  // In a break for advertisements, all that a live playlist lists may be foreign.
  const mayBeBreak = !ended && (former !== undefined || listed.discontinuities.last !== 0);
  if (reader.firstForeign !== undefined && !reader.hasOwn && !mayBeBreak)
    throw new PlaylistError(`every segment is on another host: ${reader.firstForeign}`);

  const { readAt, reference } = source;
  const { base, segments } = listed;
  const live = former && !former.stream.ended ? former.state : undefined;
  let stream: PhasedStream | LiveStream;
  let timeline: Timeline | undefined;
  if (segments.length > 0 && keepsBeginning(reader, listed, live, reference)) {
    stream = new PhasedStream(source.streamId, segments, source.phaseSeconds, {
      first: base,
      starts: listed.starts,
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
    template: new Template(text, writer.builder),
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
  const missing = endOf(first.state.listed) - endOf(listed);
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

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Walks over the lines of a media playlist, once, for what they mean and for where their URIs stand. */
class MediaReader {
  readonly writer: UriWriter;
  type: 'VOD' | 'EVENT' | undefined;
  ended = false;
  /** Whether a segment is the origin's own, and the first one that is not. */
  hasOwn = false;
  firstForeign: string | undefined;
  private readonly line: LineScanner;
  private readonly names = new SegmentNames();
  private base = 0;
  /** The media sequence number where it is too large to count with. */
  private largeBase: bigint | undefined;
  private target = NaN;
  private discontinuity = 0;
  private scattered = false;

  private readonly segments = new LongList<Segment>();
  private readonly discontinuities = new LongList<number>();
  private readonly dates = new LongList<number>();
  private readonly starts = new LongList<number>();
  private endMicros = 0;
  private addressLength = 0;
  private contextParts = 0;
  private firstDated: number | undefined;
  private readonly ends = new LongList<number>();
  private readonly cuts = new LongList<number>();
  private readonly contexts = new LongList<SegmentContext>();
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
    private readonly text: string,
    private readonly source: PlaylistSource,
  ) {
    this.writer = new UriWriter(source);
    this.line = new LineScanner(text);
  }

  /** Reads to the end. What `former` has read already is taken over from it. */
  *read(former: MediaPlaylist | undefined): Generator<void, void> {
    const { line } = this;
    for (let lines = 1; line.advance(); lines++) {
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
    if (this.endMicros === 0) this.untimed = Array.from({ length: segments.length }, (_, at) => at);
    const scattered = this.scattered || this.untimed.length > 0 || this.largeBase !== undefined;
    const target = this.targetSeconds();
    for (const at of this.untimed) segments.put(at, { ...segments.get(at)!, durationSeconds: target });
    const starts = this.untimed.length > 0 ? startsOf(segments) : this.starts;
    return {
      base: this.base,
      segments,
      addressLength: this.addressLength,
      contextParts: this.contextParts,
      starts,
      discontinuities: this.discontinuities,
      dates: this.dates,
      firstDated: this.firstDated,
      ends: this.ends,
      cuts: this.cuts,
      contexts: this.contexts,
      scattered,
    };
  }

  /** Seconds. What the playlist says where that can be, else its longest segment. */
  targetSeconds(): number {
    if (this.target > 0 && this.target <= MAX_SEGMENT_SECONDS) return this.target;
    let longest = 0;
    for (const { durationSeconds } of this.segments) longest = Math.max(longest, durationSeconds);
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
    const { key: ofContext, init } = this.context;
    const key = ofContext && this.withVector(ofContext);
    const dateMs = this.date === undefined ? NaN : readDate(this.date);
    if (this.duration === undefined) this.untimed.push(this.segments.length);
    // One after the other and not by spreading, because that would take twice the memory for each of 100,000 segments.
    const segment: Writable<Segment> = { path: resource.path, durationSeconds: this.duration ?? 0, sequence };
    if (resource.foreign) segment.foreign = true;
    if (byteRange !== undefined) segment.byteRange = byteRange;
    if (init !== undefined) segment.init = init;
    if (key !== undefined) segment.key = key;
    if (this.beginsAnew) segment.discontinuity = true;
    if (this.isGap) segment.gap = true;
    if (!Number.isNaN(dateMs)) segment.programDateTime = new Date(dateMs).toISOString();
    this.add(segment);
    this.discontinuities.push(this.discontinuity);
    this.addDate(dateMs * 1_000);
    this.ends.push(line.to);
    this.cuts.push(writer.builder.cuts.length);
    this.addContext(this.context);
    this.duration = this.range = this.date = undefined;
    this.beginsAnew = this.isGap = false;
  }

  private add(segment: Segment): void {
    this.segments.push(segment);
    this.starts.push(this.endMicros);
    this.endMicros += Math.round(segment.durationSeconds * MICROSECONDS);
    this.addressLength += segment.path.length;
    if (segment.foreign) this.firstForeign ??= segment.path;
    else this.hasOwn = true;
  }

  private addDate(micros: number): void {
    if (!Number.isNaN(micros)) this.firstDated ??= this.dates.length;
    this.dates.push(micros);
  }

  /** What neighbouring segments share is counted once. */
  private addContext(context: SegmentContext): void {
    const before = this.contexts.last;
    this.contexts.push(context);
    if (context === before) return;
    const keys = context.keys.filter((one) => !before?.keys.includes(one));
    this.contextParts += 1 + keys.length;
    this.addressLength += context.init?.path.length ?? 0;
    for (const { key } of keys) this.addressLength += Object.values(key).join('').length;
  }

  /** Without an IV a key goes by the media sequence number, which a client cannot tell where it is not counted whole. */
  private withVector(key: SegmentKey): SegmentKey {
    if (this.largeBase === undefined || key.iv !== undefined || key.format !== undefined) return key;
    const vector = (this.largeBase + BigInt(this.segments.length)).toString(16).padStart(32, '0');
    this.contextParts += 2; // the segment's own key and IV
    return { ...key, iv: `0x${vector}` };
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
    const first = this.segments.get(0)!;
    const position = this.base - listed.base;
    const same = listed.segments.get(position);
    const last = listed.segments.length - 1;
    if (same === undefined || position >= last || listed.scattered || this.scattered) return;
    // Where keys rotate, a full reading now and then tells which assets are still named.
    if (assets.size >= MAX_ASSETS_PER_SEGMENT * listed.segments.length) return;
    if (
      same.path !== first.path ||
      same.durationSeconds !== first.durationSeconds ||
      same.byteRange?.offset !== first.byteRange?.offset ||
      writtenOf(listed.contexts.get(position)!) !== writtenOf(this.context) ||
      listed.discontinuities.get(position) !== this.discontinuities.get(0)
    )
      return;
    const [from, to] = [listed.ends.get(position)!, listed.ends.get(last)!];
    const shift = this.line.to - from;
    // The former text may have ended within a line, because the origin was writing it.
    if (!/^[\r\n]?$/.test(this.text.charAt(to + shift))) return;
    for (let at = from; at < to; at += COMPARED_AT_ONCE) {
      const end = Math.min(to, at + COMPARED_AT_ONCE);
      if (this.text.slice(at + shift, end + shift) !== template.text.slice(at, end)) return;
      yield;
    }
    // It says the same, and is the one that the segments behind it share.
    this.contexts.put(0, listed.contexts.get(position)!);
    const { builder } = this.writer;
    const cutsBefore = builder.cuts.length - listed.cuts.get(position)!;
    for (let index = position + 1; index <= last; index++) {
      this.add(listed.segments.get(index)!);
      this.discontinuities.push(listed.discontinuities.get(index)!);
      this.addDate(listed.dates.get(index)!);
      for (let cut = listed.cuts.get(index - 1)!; cut < listed.cuts.get(index)!; cut++)
        builder.takeOver(template, cut, shift);
      this.ends.push(listed.ends.get(index)! + shift);
      this.cuts.push(listed.cuts.get(index)! + cutsBefore);
      this.addContext(listed.contexts.get(index)!);
      if (index % LINES_A_STEP === 0) yield;
    }
    const atTheHead = [...this.writer.assets.keys()];
    for (const [name, asset] of assets) setLatest(this.writer.assets, name, asset);
    for (const name of atTheHead) setLatest(this.writer.assets, name, this.writer.assets.get(name)!);
    this.resumeBehind(listed.segments.get(last)!, listed.contexts.get(last)!);
  }

  /** Goes on reading behind a segment that was taken over. */
  private resumeBehind({ path, sequence = 0, byteRange }: Segment, context: SegmentContext): void {
    this.line.next = this.ends.last!;
    this.names.rest(sequence, path);
    this.discontinuity = this.discontinuities.last!;
    this.context = context;
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
