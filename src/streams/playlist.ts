import { createHash } from 'node:crypto';
import * as hls from 'hls-parser';
import { LiveStream, PhasedStream, type Segment, type Stream } from './phases.js';

/**
 * Playlists as the origin has them, read twice over: by a parser for what they mean, and line by line for where their
 * URIs are, so that the gate can put its own in their place and send everything else byte for byte.
 */
export type Playlist = MultivariantPlaylist | MediaPlaylist;

export interface MultivariantPlaylist {
  readonly kind: 'multivariant';
  readonly template: Template;
  /** The playlists of its variants, audio, subtitles and trick modes, in the order in which it names them. */
  readonly renditions: readonly URL[];
  /** The rendition that is played where nobody chooses. */
  readonly first: number;
}

export interface MediaPlaylist {
  readonly kind: 'media';
  readonly template: Template;
  readonly stream: Stream;
  /** Each segment by its media sequence number; of a live one those too that have just left the window. */
  readonly segments: ReadonlyMap<number, Segment>;
  /** Keys, initialisation sections and the like by the name that the template gives them: where each is. */
  readonly assets: ReadonlyMap<string, string>;
  /** Seconds; how often a live playlist may have something new. */
  readonly targetSeconds: number;
}

/** A text with its URIs taken out. */
class Template {
  /** `text` has one piece more than there are names. A name is what stands in the URI's place. */
  constructor(
    private readonly text: readonly string[],
    private readonly names: readonly string[],
  ) {}

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
  readonly url: URL;
  /** Nothing outside it is read, signed or handed out. */
  readonly root: URL;
  readonly phaseSeconds: number;
  /** What was read there before: of a live stream, what has just left the window is remembered. */
  readonly former: Playlist | undefined;
}

/** Rejects what cannot be served. */
export function readPlaylist(text: string, source: PlaylistSource): Playlist {
  if (!text.startsWith('#EXTM3U')) throw new Error('what the origin sent is not a playlist');
  const parsed = hls.parse(text);
  return parsed.isMasterPlaylist ? readMultivariant(text, parsed, source) : readMedia(text, parsed, source);
}

// The parser complains to the console of what it reads past; what matters is checked here.
hls.setOptions({ silent: true });

/** Their URI is another playlist, and it may be left out. */
const RENDITION_TAGS = ['#EXT-X-MEDIA:', '#EXT-X-I-FRAME-STREAM-INF:'];
/** Their URI is something to fetch. */
const ASSET_TAGS = [
  '#EXT-X-KEY:',
  '#EXT-X-SESSION-KEY:',
  '#EXT-X-SESSION-DATA:',
  '#EXT-X-MAP:',
  '#EXT-X-PART:',
  '#EXT-X-PRELOAD-HINT:',
];
/** Key servers have hosts and schemes of their own, and their own ways to know who may ask: left as they are. */
const MAY_LEAD_OUT = ['#EXT-X-KEY:', '#EXT-X-SESSION-KEY:', '#EXT-X-SESSION-DATA:'];

/** A session's phase is kept in four bytes. */
const MAX_SEQUENCE = 2 ** 32;

type Uri = { readonly tag: string | undefined; readonly uri: string };

/** Cuts the text at its URIs; `name` gives what stands in the place of each, undefined where it stays. */
function cut(text: string, name: (uri: Uri) => string | undefined): Template {
  const pieces: string[] = [];
  const names: string[] = [];
  let rest = 0;
  const replace = (from: number, to: number, tag: string | undefined): void => {
    const given = name({ tag, uri: text.slice(from, to) });
    if (given === undefined) return;
    pieces.push(text.slice(rest, from));
    names.push(given);
    rest = to;
  };
  for (const line of text.matchAll(/[^\r\n]+/g)) {
    const [content] = line;
    const trimmed = content.trim();
    if (trimmed === '') continue;
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
  pieces.push(text.slice(rest));
  return new Template(pieces, names);
}

function readMultivariant(
  text: string,
  parsed: hls.types.MasterPlaylist,
  { url, root }: PlaylistSource,
): MultivariantPlaylist {
  const found = new Map<string, number>();
  const template = cut(text, ({ tag, uri }) => {
    // What a session key or data leads to is small, and nobody's place depends on it.
    if (tag !== undefined && !RENDITION_TAGS.includes(tag)) return undefined;
    const { href } = below(root, uri, url);
    if (!found.has(href)) found.set(href, found.size);
    return `${found.get(href)}/index.m3u8`;
  });
  const variant = parsed.variants.find(({ isIFrameOnly }) => isIFrameOnly !== true);
  const first = variant && found.get(below(root, variant.uri, url).href);
  if (first === undefined) throw new Error('the multivariant playlist names no rendition');
  return {
    kind: 'multivariant',
    template,
    renditions: [...found.keys()].map((href) => new URL(href)),
    first,
  };
}

function readMedia(text: string, parsed: hls.types.MediaPlaylist, source: PlaylistSource): MediaPlaylist {
  const { url, root, streamId, phaseSeconds, former } = source;
  const path = (uri: string): string => below(root, uri, url).href.slice(root.href.length);
  // The last one of a low-latency playlist may consist of parts alone.
  const complete = parsed.segments.filter(({ uri }) => uri);
  const durations = complete.map(({ duration }) => duration);
  if (!durations.every((duration) => duration >= 0) || !durations.some((duration) => duration > 0))
    throw new Error('the playlist has no segments, or some without a duration');
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
      const segment = listed[count];
      if (segment?.path !== path(uri)) throw new Error('the playlist cannot be taken apart');
      return `${base + count++}${extensionOf(segment.path)}`;
    }
    if (MAY_LEAD_OUT.includes(tag) && !isBelow(root, uri, url)) return undefined;
    const asset = path(uri);
    const name = `a-${createHash('sha256').update(asset).digest('base64url').slice(0, 12)}${extensionOf(asset)}`;
    assets.set(name, asset);
    return name;
  });
  if (count !== listed.length) throw new Error('the playlist cannot be taken apart');

  const segments = new Map(listed.map((segment, at) => [base + at, segment]));
  if (!parsed.endlist && former?.kind === 'media') {
    // Players at the end of the window ask for what has left it since.
    for (const [sequence, segment] of former.segments)
      if (sequence < base && sequence >= base - listed.length) segments.set(sequence, segment);
    for (const [name, asset] of former.assets) if (assets.size < 2 * listed.length) assets.set(name, asset);
  }
  if (base + listed.length >= MAX_SEQUENCE) throw new Error('the media sequence numbers are too large');
  const targetSeconds = parsed.targetDuration || Math.max(...durations);
  const whole = parsed.endlist || parsed.playlistType === 'EVENT';
  return {
    kind: 'media',
    template,
    segments,
    assets,
    targetSeconds,
    stream: whole
      ? new PhasedStream(streamId, listed, phaseSeconds, { first: base, growing: !parsed.endlist })
      : new LiveStream(streamId, listed, phaseSeconds, { first: base, targetSeconds }),
  };
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
  if (!isBelow(root, uri, base)) throw new Error(`a URI leads out of the origin: ${uri}`);
  const url = new URL(uri, base);
  url.hash = ''; // a signature after it would reach nobody
  return url;
}
