import { createHash } from 'node:crypto';
import * as hls from 'hls-parser';
import { LiveStream, PhasedStream, type Segment, type Stream } from '../phases.js';

/**
 * Playlists as the origin has them, read twice over: by a parser for what they mean, and line by line for where their
 * URIs are, so that the gate can put its own in their place and send everything else byte for byte.
 */
export type Playlist = MultivariantPlaylist | MediaPlaylist;

export interface MultivariantPlaylist {
  readonly kind: 'multivariant';
  readonly template: Template;
  readonly digest: string;
  /** What EXT-X-DEFINE defines, for its renditions to import. */
  readonly variables: Variables;
  /** What players fetch ahead of any rendition (session keys and data) by the name that the template gives it. */
  readonly assets: Assets;
  /** Its variants, audio, subtitles and trick modes, in the order in which it names them. */
  readonly renditions: readonly Rendition[];
  /** The rendition that is played where nobody chooses. */
  readonly first: number;
}

/** One playlist of a multivariant one, and what that says of it. */
interface Rendition {
  readonly url: URL;
  readonly type: 'variant' | 'trick-play' | 'audio' | 'video' | 'subtitles';
  /** Bits a second. */
  readonly bandwidth?: number;
  readonly codecs?: string;
  readonly resolution?: { readonly width: number; readonly height: number };
  readonly name?: string;
  readonly language?: string;
}

export interface MediaPlaylist {
  readonly kind: 'media';
  readonly template: Template;
  readonly digest: string;
  readonly stream: Stream;
  /** Each segment by its media sequence number; of a live one those too that have just left the window. */
  readonly segments: ReadonlyMap<number, Segment>;
  /** Keys, initialisation sections and the like by the name that the template gives them. */
  readonly assets: Assets;
  /** Seconds; how often a live playlist may have something new. */
  readonly targetSeconds: number;
}

type Variables = ReadonlyMap<string, string>;

/** Where each is, below the origin's root. */
type Assets = ReadonlyMap<string, string>;

/** A text with its URIs taken out. */
class Template {
  /** In characters, without what goes around the names. */
  readonly length: number;

  /** `text` has one piece more than there are names. A name is what stands in the URI's place. */
  constructor(
    private readonly text: readonly string[],
    private readonly names: readonly string[],
  ) {
    this.length = [...text, ...names].reduce((sum, piece) => sum + piece.length, 0);
  }

  /** `before` and `after` go around every name: the folder that it is in, and the query. */
  write(before: string, after: string): string {
    let written = this.text[0]!;
    for (const [at, name] of this.names.entries()) written += before + name + after + this.text[at + 1]!;
    return written;
  }
}

/** Where a playlist was found, and what is needed to read it. */
export interface PlaylistSource {
  readonly streamId: string;
  /** What its relative URIs are relative to. */
  readonly url: URL;
  /** Nothing outside it is read, signed or handed out. */
  readonly root: URL;
  readonly phaseSeconds: number;
  /** Of the multivariant playlist that names it. */
  readonly variables: Variables | undefined;
  /** What was read there before: of a live stream, what has just left the window is remembered. */
  readonly former: Playlist | undefined;
}

/** Rejects what cannot be served. */
export function readPlaylist(text: string, source: PlaylistSource): Playlist {
  if (!text.startsWith('#EXTM3U')) throw new Error('what the origin sent is not a playlist');
  // Most reloads of a growing one find nothing new, and reading costs far more than this.
  const context = JSON.stringify([source.url.href, ...(source.variables ?? [])]);
  const digest = createHash('sha256').update(text).update(context).digest('base64url');
  if (source.former?.digest === digest) return source.former;
  const parsed = hls.parse(text);
  const taken = { text, digest };
  return parsed.isMasterPlaylist ? readMultivariant(taken, parsed, source) : readMedia(taken, parsed, source);
}

interface Taken {
  readonly text: string;
  readonly digest: string;
}

// The parser complains to the console of what it reads past; what matters is checked here.
hls.setOptions({ silent: true });

/** Their URI is another playlist, and it may be left out. */
const RENDITION_TAGS = ['#EXT-X-MEDIA:', '#EXT-X-I-FRAME-STREAM-INF:'];
/** Their URI is something to fetch. */
const ASSET_TAGS = ['#EXT-X-KEY:', '#EXT-X-SESSION-KEY:', '#EXT-X-SESSION-DATA:', '#EXT-X-MAP:'];
/**
 * Of low latency. It cannot be kept by a gate that reads a playlist once for all its viewers, half a target duration old
 * at most, and holds back no answer: players told of it would ask without pause. Without these lines it is an ordinary
 * live stream.
 */
const LOW_LATENCY_TAGS = [
  '#EXT-X-SERVER-CONTROL:',
  '#EXT-X-PART-INF:',
  '#EXT-X-PART:',
  '#EXT-X-PRELOAD-HINT:',
  '#EXT-X-RENDITION-REPORT:',
];
/** Key servers have hosts and schemes of their own, and their own ways to know who may ask: left as they are. */
const MAY_LEAD_OUT = ['#EXT-X-KEY:', '#EXT-X-SESSION-KEY:', '#EXT-X-SESSION-DATA:'];

/** Of so many digits that it is infinite, a duration would be none in JSON. */
const MAX_SEGMENT_SECONDS = 86_400;

/** A session's phase is kept in four bytes. */
const MAX_SEQUENCE = 2 ** 32;

type Uri = { readonly tag: string | undefined; readonly uri: string };

/** Cuts the text at its URIs; `name` gives what stands in the place of each, undefined where it stays. */
function cut(text: string, name: (uri: Uri) => string | undefined): Template {
  const pieces: string[] = [];
  const names: string[] = [];
  let rest = 0;
  let kept = '';
  const replace = (from: number, to: number, tag: string | undefined): void => {
    const given = name({ tag, uri: text.slice(from, to) });
    if (given === undefined) return;
    pieces.push(kept + text.slice(rest, from));
    names.push(given);
    kept = '';
    rest = to;
  };
  const leaveOut = (from: number, to: number): void => {
    kept += text.slice(rest, from);
    rest = to;
  };
  for (const line of text.matchAll(/[^\r\n]+(\r?\n)?/g)) {
    const [whole] = line;
    const content = whole.trimEnd();
    const trimmed = content.trim();
    if (trimmed === '') continue;
    if (LOW_LATENCY_TAGS.some((one) => content.startsWith(one))) {
      leaveOut(line.index, line.index + whole.length);
      continue;
    }
    if (!content.startsWith('#')) {
      const from = line.index + content.indexOf(trimmed);
      replace(from, from + trimmed.length, undefined);
      continue;
    }
    const tag = [...RENDITION_TAGS, ...ASSET_TAGS].find((one) => content.startsWith(one));
    const attribute = tag && /[:,]URI="([^"]*)"/.exec(content);
    if (!tag || !attribute) continue;
    const from = line.index + attribute.index + attribute[0].length - 1 - attribute[1]!.length;
    replace(from, from + attribute[1]!.length, tag);
  }
  pieces.push(kept + text.slice(rest));
  return new Template(pieces, names);
}

function readMultivariant(
  { text, digest }: Taken,
  parsed: hls.types.MasterPlaylist,
  { url, root }: PlaylistSource,
): MultivariantPlaylist {
  const variables = readVariables(parsed, undefined);
  const told = whatIsToldOfRenditions(
    parsed,
    (uri) => URL.parse(expand(uri, variables), url.href)?.href ?? '',
  );
  const found = new Map<string, number>();
  const assets = new Map<string, string>();
  const template = cut(text, ({ tag, uri: written }) => {
    const uri = expand(written, variables);
    if (tag !== undefined && !RENDITION_TAGS.includes(tag)) {
      if (!isBelow(root, uri, url)) return undefined;
      return nameAsset(assets, below(root, uri, url).href.slice(root.href.length));
    }
    const { href } = below(root, uri, url);
    if (!found.has(href)) found.set(href, found.size);
    return `${found.get(href)}/index.m3u8`;
  });
  const variant = parsed.variants.find(({ isIFrameOnly }) => isIFrameOnly !== true);
  const first = variant && found.get(below(root, expand(variant.uri, variables), url).href);
  if (first === undefined) throw new Error('the multivariant playlist names no rendition');
  return {
    kind: 'multivariant',
    template,
    digest,
    variables,
    assets,
    renditions: [...found.keys()].map((href) => ({ url: new URL(href), ...told.get(href)! })),
    first,
  };
}

/** By the URL of each. What several say of one, the first says. */
function whatIsToldOfRenditions(
  { variants }: hls.types.MasterPlaylist,
  resolve: (uri: string) => string,
): Map<string, Omit<Rendition, 'url'>> {
  const told = new Map<string, Omit<Rendition, 'url'>>();
  const tell = (uri: string | undefined, what: Omit<Rendition, 'url'>): void => {
    if (uri && !told.has(resolve(uri))) told.set(resolve(uri), what);
  };
  for (const { uri, isIFrameOnly, bandwidth, codecs, resolution, audio, video, subtitles } of variants) {
    tell(uri, {
      type: isIFrameOnly === true ? 'trick-play' : 'variant',
      bandwidth,
      ...(codecs === undefined ? {} : { codecs }),
      ...(resolution === undefined ? {} : { resolution }),
    });
    const groups = { audio, video, subtitles };
    for (const type of ['audio', 'video', 'subtitles'] as const)
      for (const { uri: other, name, language } of groups[type])
        tell(other, { type, name, ...(language === undefined ? {} : { language }) });
  }
  return told;
}

function readMedia(
  { text, digest }: Taken,
  parsed: hls.types.MediaPlaylist,
  source: PlaylistSource,
): MediaPlaylist {
  const { url, root, streamId, phaseSeconds, former } = source;
  const variables = readVariables(parsed, source.variables);
  const path = (uri: string): string => below(root, expand(uri, variables), url).href.slice(root.href.length);
  // The last one of a low-latency playlist may consist of parts alone.
  const complete = parsed.segments.filter(({ uri }) => uri);
  const durations = complete.map(({ duration }) => duration);
  if (
    !durations.every((duration) => duration >= 0 && duration <= MAX_SEGMENT_SECONDS) ||
    !durations.some((duration) => duration > 0)
  )
    throw new Error('the playlist has no segments, or some without a duration that can be');
  const listed: Segment[] = complete.map(({ uri, duration, byterange, map }) => ({
    path: path(uri),
    durationSeconds: duration,
    ...(map?.uri ? { initPath: path(map.uri) } : {}),
    ...(byterange ? { byteRange: { offset: byterange.offset, length: byterange.length } } : {}),
  }));

  const base = parsed.mediaSequenceBase ?? 0;
  const assets = new Map<string, string>();
  let count = 0;
  const template = cut(text, ({ tag, uri }) => {
    if (tag === undefined) {
      if (complete[count]?.uri !== uri) throw new Error('the playlist cannot be taken apart');
      return `${base + count}${extensionOf(listed[count++]!.path)}`;
    }
    if (MAY_LEAD_OUT.includes(tag) && !isBelow(root, expand(uri, variables), url)) return undefined;
    return nameAsset(assets, path(uri));
  });
  if (count !== listed.length) throw new Error('the playlist cannot be taken apart');

  const segments = new Map(listed.map((segment, at) => [base + at, segment]));
  const begun = former?.kind === 'media' ? former : undefined;
  // One that slid while it lived goes on by the numbers that its viewers know when it ends.
  const slid = begun ? begun.stream instanceof LiveStream : base > 0;
  const whole = parsed.playlistType === 'EVENT' || (parsed.endlist && !slid);
  if (begun && !whole) {
    // Players at the end of the window ask for what has left it since.
    for (const [sequence, segment] of begun.segments)
      if (sequence < base && sequence >= base - listed.length) segments.set(sequence, segment);
    for (const [name, asset] of begun.assets) if (assets.size < 2 * listed.length) assets.set(name, asset);
  }
  const targetSeconds = parsed.targetDuration || Math.max(...durations);
  const stream = whole
    ? new PhasedStream(streamId, listed, phaseSeconds, { first: base, growing: !parsed.endlist })
    : new LiveStream(streamId, listed, phaseSeconds, { first: base, targetSeconds, ended: parsed.endlist });
  if (Math.max(base + listed.length, stream.phases) >= MAX_SEQUENCE)
    throw new Error('the numbers of its segments or phases are too large');
  return { kind: 'media', template, digest, segments, assets, targetSeconds, stream };
}

function nameAsset(assets: Map<string, string>, path: string): string {
  const digest = createHash('sha256').update(path).digest('base64url');
  const name = `a-${digest.slice(0, 12)}${extensionOf(path)}`;
  assets.set(name, path);
  return name;
}

/** What EXT-X-DEFINE defines (RFC 8216bis, 4.4.2.3): the lines stay, since players may need them elsewhere. */
function readVariables(
  { defines = [] }: { readonly defines?: readonly Define[] },
  imported: Variables | undefined,
): Variables {
  const variables = new Map<string, string>();
  for (const { NAME, VALUE, IMPORT } of defines) {
    const name = NAME ?? IMPORT;
    const value = NAME === undefined ? imported?.get(IMPORT ?? '') : VALUE;
    // By QUERYPARAM a player would take it from the gate's own URL, which has other queries.
    if (name === undefined || value === undefined)
      throw new Error('the playlist defines a variable that nothing gives, or from a query');
    variables.set(name, value);
  }
  return variables;
}

interface Define {
  readonly NAME?: string;
  readonly VALUE?: string;
  readonly IMPORT?: string;
}

function expand(uri: string, variables: Variables): string {
  if (variables.size === 0) return uri;
  return uri.replace(/\{\$([\w-]+)\}/g, (_, name: string) => {
    const value = variables.get(name);
    if (value === undefined) throw new Error('a URI has a variable that the playlist does not define');
    return value;
  });
}

/** Players judge by it what they are given. */
function extensionOf(path: string): string {
  return /\.[a-z0-9]{1,8}$/i.exec(path.split('?', 1)[0]!)?.[0] ?? '';
}

function isBelow(root: URL, uri: string, base: URL): boolean {
  return URL.parse(uri, base.href)?.href.startsWith(root.href) ?? false;
}

/** Nothing outside the origin's root is read, signed or handed out, whatever a playlist says. */
function below(root: URL, uri: string, base: URL): URL {
  const url = URL.parse(uri, base.href);
  if (!url?.href.startsWith(root.href)) throw new Error(`a URI leads out of the origin: ${uri}`);
  if (url.hash !== '') url.hash = ''; // a signature after it would reach nobody
  return url;
}
