import { isDeepStrictEqual } from 'node:util';
import { Injectable, Logger } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import pLimit from 'p-limit';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { ID } from '../http/fields.js';
import { MediaSigner } from './signing/media-signer.js';
import { type Found, mediaBaseOf, openOrigin } from './origin.js';
import { type Phase, type Resource, type Segment, type Stream, nextRequestIn } from './phases.js';
import {
  type MediaPlaylist,
  type MultivariantPlaylist,
  type Playlist,
  readPlaylistInSlices,
} from './hls/playlist.js';

/** Where this service serves the media of a folder. */
export const MEDIA_PATH = 'media';

/** How long an origin may take to answer. */
const ORIGIN_TIMEOUT_MS = 5_000;
/** How long to wait for one's turn to ask it. */
const TURN_TIMEOUT_MS = 2_500;
/** A finished stream does not change; it is read again now and then in case it was replaced. */
const FINISHED_TTL_MS = 60_000;
/** A live one may have something new once a target duration; players see it half a one late at most. */
const LIVE_TTL = 0.5;
const SHORTEST_TTL_MS = 100;
/** Long enough to spare the origin a loop of requests, short enough for a stream that was just published. */
const MISSING_TTL_MS = 1_000;
/**
 * Playlists are kept up to about so many bytes: some 300 of a thousand segments. A task of 512 MB, the smallest, has a
 * heap of half of that, which must hold what is under way as well. bench/README.md has what was measured.
 */
const MAX_CACHED_BYTES = 100_000_000;
/** What an entry takes by itself, a stream that is missing included; rather more than less. */
const ENTRY_BYTES = 4_000;
/** What a segment takes beside its text; some 100 more with an initialisation section and a range. */
const SEGMENT_BYTES = 270;
/** Signed, about 500 bytes a segment: 50 MB at the worst. */
const MAX_ISSUED_SEGMENTS = 100_000;
const MAX_SEEN_STREAMS = 10_000;
/** Of the origin, whose connections and files are few; a list waits for fewer, so that viewers get in between. */
const READS_AT_ONCE = 64;
const LISTED_AT_ONCE = 16;

type NotFound = { readonly outcome: 'not-found' };
const NOT_FOUND: NotFound = { outcome: 'not-found' };
type Unavailable = { readonly outcome: 'unavailable' };
type KnownPlaylist = { readonly outcome: 'found'; readonly playlist: Playlist } | NotFound;
type KnownStream =
  { readonly outcome: 'found'; readonly stream: Stream; readonly playlist: MediaPlaylist } | NotFound;

export type PlaylistLookup = KnownPlaylist | Unavailable;
export type StreamLookup = KnownStream | Unavailable;

/** What is told of a stream; without its segments, so that many can be remembered. */
export type StreamSummary = Pick<Stream, 'streamId' | 'kind' | 'durationSeconds' | 'phaseSeconds' | 'phases'>;

/** A phase with its signed URLs, which viewers at the same place of a stream share. */
export interface IssuedPhase extends Phase {
  /** Unix milliseconds; when the URLs cease to work. */
  readonly expiresAt: number;
}

/** What can be watched: reads playlists from the origin, once for however many ask, and issues phases of them. */
@Injectable()
export class Catalogue {
  readonly origin: ReturnType<typeof openOrigin>;
  private readonly log = new Logger(Catalogue.name);
  /** By stream, and by stream and rendition for what a multivariant playlist names. */
  private readonly playlists: LRUCache<string, KnownPlaylist | KnownStream, PlaylistAddress>;
  private readonly issued = new LRUCache<string, IssuedPhase>({
    maxSize: MAX_ISSUED_SEGMENTS,
    sizeCalculation: ({ segments }) => segments.length + 1,
  });
  private readonly seen = new LRUCache<string, StreamSummary>({ max: MAX_SEEN_STREAMS });
  /** Those in order, until there is another. */
  private listed: readonly StreamSummary[] | undefined;
  private readonly externalMediaBase: string | undefined;
  /** Stream ids may be made up, by the thousand: the origin has so many requests of this instance at once, and no more. */
  private readonly reads = pLimit(READS_AT_ONCE);
  private readonly urlLifeMs: number;
  private readonly shareMs: number;

  constructor(
    private readonly config: Config,
    private readonly clock: Clock,
    private readonly signer: MediaSigner,
  ) {
    this.origin = openOrigin(config);
    this.externalMediaBase = mediaBaseOf(config);
    this.urlLifeMs = config.policy.expireAfterMs;
    this.shareMs = Math.min(1_000, config.phaseMs / 10);
    this.playlists = new LRUCache({
      maxSize: MAX_CACHED_BYTES,
      sizeCalculation: bytesOf,
      // Or `known` would throw away what `load` compares with, and tells a stream by that is watched.
      noDeleteOnStaleGet: true,
      fetchMethod: async (_key, stale, { options, context }) => {
        const known = await this.load(context, stale);
        options.ttl = ttlOf(known);
        return known;
      },
    });
  }

  /** What `find` finds where it is in memory, without waiting: nearly always all that is needed. */
  known(streamId: string, rendition?: number): StreamLookup | undefined {
    const root = this.playlists.get(streamId);
    if (root?.outcome !== 'found') return root;
    if ('stream' in root) return rendition === undefined || rendition === 0 ? root : NOT_FOUND;
    const { playlist } = root;
    if (playlist.kind === 'media') return undefined;
    return this.playlists.get(`${streamId}/${rendition ?? playlist.first}`) as KnownStream | undefined;
  }

  /** What a stream begins with: its multivariant playlist, or its only one. Never rejects: see `find`. */
  async open(streamId: string): Promise<PlaylistLookup> {
    // Dots would name the origin's own folder, or the one above it.
    if (/^\.+$/.test(streamId)) return NOT_FOUND;
    return this.read(streamId, { streamId, url: this.origin.playlistUrl(streamId), isFirst: true });
  }

  /**
   * One rendition of a stream, the first unless one is named. Never rejects: an origin that failed is `unavailable`, and
   * the log says why. A failure is not remembered.
   */
  async find(streamId: string, rendition?: number): Promise<StreamLookup> {
    return this.findIn(await this.open(streamId), streamId, rendition);
  }

  /** As `find`, for who has opened the stream already. */
  async findIn(root: PlaylistLookup, streamId: string, rendition?: number): Promise<StreamLookup> {
    if (root.outcome !== 'found') return root;
    if ('stream' in root)
      return rendition === undefined || rendition === 0 ? (root as StreamLookup) : NOT_FOUND;
    const { playlist } = root;
    if (playlist.kind === 'media') throw new Error('a media playlist is a stream');
    const at = rendition ?? playlist.first;
    const chosen = playlist.renditions[at];
    if (chosen === undefined) return NOT_FOUND;
    return (await this.read(`${streamId}/${at}`, {
      streamId,
      url: chosen.url,
      variables: playlist.variables,
      rendition: at,
      isFirst: at === playlist.first,
    })) as StreamLookup;
  }

  /** Seconds after which a client that has this phase should ask for the next one. */
  nextRequestIn(stream: Stream, phase: Phase): number {
    return nextRequestIn(stream, phase, this.clock.now());
  }

  /** What the URL of each segment begins with; `self` is the address that the client used. */
  mediaBase(self: string): string {
    return this.externalMediaBase ?? `${self}/${MEDIA_PATH}/`;
  }

  /**
   * What the origin lists; of an origin that cannot tell, the streams seen so far, as they were then. Undefined where
   * the origin failed. Those that cannot be served are left out, and the log says why. The same array where nothing has
   * changed, as far as it is known.
   */
  async list(): Promise<readonly StreamSummary[] | undefined> {
    const listed = await this.origin.list().catch((err: Error) => {
      this.log.warn({ reason: err.message, msg: 'the origin failed' });
      return undefined;
    });
    if (listed === undefined) return undefined;
    if (listed === 'unknown')
      return (this.listed ??= [...this.seen.values()].toSorted((a, b) => (a.streamId < b.streamId ? -1 : 1)));
    const ids = listed.filter((id) => ID.test(id)).toSorted();
    const streams: Stream[] = [];
    for (let at = 0; at < ids.length; at += LISTED_AT_ONCE) {
      const lookups = await Promise.all(ids.slice(at, at + LISTED_AT_ONCE).map((id) => this.find(id)));
      for (const lookup of lookups) if (lookup.outcome === 'found') streams.push(lookup.stream);
    }
    return streams;
  }

  /**
   * The phase with signed URLs that live n·X at most. A signature costs more than all else here, so those who ask for
   * the same phase within a tenth of X share one, and the later of them get that much less.
   */
  issue(stream: Stream, index: number, rendition?: number): IssuedPhase {
    const now = this.clock.now();
    // The newest phase of a live stream grows.
    const grown = stream.live ? stream.phase(index).segments.at(-1)?.path : '';
    const key = `${stream.streamId}/${rendition ?? ''}/${index}/${grown}`;
    const shared = this.issued.get(key);
    const expiresAt = this.signer.endOf(now + this.urlLifeMs);
    // A clock that was set back must not make URLs that live longer.
    if (shared && shared.expiresAt <= expiresAt && shared.expiresAt > expiresAt - this.shareMs) return shared;
    // Segments share an initialisation section, and a file of which they are ranges.
    const signed = new Map<string, string>();
    const sign = (path: string): string => {
      let url = signed.get(path);
      if (url === undefined) signed.set(path, (url = this.signer.sign(path, expiresAt)));
      return url;
    };
    const signResource = ({ path, foreign }: Resource): Resource =>
      foreign ? { path, foreign } : { path: sign(path) };
    const signSegment = (segment: Segment): Segment => ({
      ...segment,
      ...signResource(segment),
      ...(segment.initPath === undefined ? {} : { initPath: sign(segment.initPath) }),
      ...(segment.init === undefined ? {} : { init: { ...segment.init, ...signResource(segment.init) } }),
      ...(segment.key?.path === undefined
        ? {}
        : { key: { ...segment.key, ...signResource({ ...segment.key, path: segment.key.path }) } }),
    });
    const phase = stream.phase(index);
    const issued = { ...phase, segments: phase.segments.map(signSegment), expiresAt };
    this.issued.set(key, issued);
    return issued;
  }

  private async read(key: string, context: PlaylistAddress): Promise<PlaylistLookup> {
    try {
      return (await this.playlists.fetch(key, { context }))!;
    } catch (err) {
      const { message, cause } = err as Error & { cause?: { code?: string } };
      this.log.warn({
        reason: message,
        code: cause?.code,
        stream_id: context.streamId,
        msg: 'the origin failed',
      });
      return { outcome: 'unavailable' };
    }
  }

  private async ask(url: URL): Promise<Found | undefined> {
    return this.origin.read(url, AbortSignal.timeout(ORIGIN_TIMEOUT_MS));
  }

  private async askInTurn(url: URL): Promise<Found | undefined> {
    const waited = AbortSignal.timeout(TURN_TIMEOUT_MS);
    return this.reads(async () => {
      if (waited.aborted) throw new Error('too much was asked of the origin');
      return this.ask(url);
    });
  }

  private async load(
    { streamId, url, variables, rendition, isFirst }: PlaylistAddress,
    stale: KnownPlaylist | undefined,
  ): Promise<KnownPlaylist | KnownStream> {
    const former = stale?.outcome === 'found' ? stale.playlist : undefined;
    // What is watched already never waits behind what somebody may have made up.
    const read = await (former ? this.ask(url) : this.askInTurn(url));
    if (read === undefined) {
      if (rendition === undefined) return NOT_FOUND;
      throw new Error(`a rendition has no playlist: ${url.pathname}`);
    }
    const playlist = await readPlaylistInSlices(
      read.text,
      {
        streamId,
        url: read.url,
        root: this.origin.root,
        phaseSeconds: this.config.PHASE_SECONDS,
        variables,
        former,
        readAt: this.clock.now(),
        ...(this.externalMediaBase === undefined ? {} : { ownBases: [this.externalMediaBase] }),
      },
      this.clock,
    );
    if (playlist.kind === 'multivariant') {
      if (rendition !== undefined) throw new Error('a rendition is a multivariant playlist itself');
      return { outcome: 'found', playlist };
    }
    const { stream } = playlist;
    const { kind, durationSeconds, phaseSeconds, phases } = stream;
    const summary = { streamId, kind, durationSeconds, phaseSeconds, phases };
    const known = this.seen.get(streamId);
    if (!known || (isFirst && !isDeepStrictEqual(known, summary))) {
      this.seen.set(streamId, summary);
      this.listed = undefined;
    }
    return { outcome: 'found', playlist, stream };
  }
}

interface PlaylistAddress {
  readonly streamId: string;
  readonly url: URL;
  /** Of what a multivariant playlist names. */
  readonly rendition?: number;
  readonly variables?: MultivariantPlaylist['variables'];
  /** What is told of the stream is told of this one. */
  readonly isFirst: boolean;
}

/** About what it takes of memory, its text too: the addresses of segments may well be the most of it. */
function bytesOf(known: KnownPlaylist): number {
  if (known.outcome === 'not-found') return ENTRY_BYTES;
  const { playlist } = known;
  let bytes = ENTRY_BYTES + playlist.template.length;
  if (playlist.kind === 'multivariant') return bytes + playlist.renditions.length * SEGMENT_BYTES;
  // An address is kept twice: where the playlist was cut, and as a path.
  for (const { path, initPath = '' } of playlist.segments.values())
    bytes += SEGMENT_BYTES + 2 * (path.length + initPath.length);
  return bytes;
}

function ttlOf(known: KnownPlaylist): number {
  if (known.outcome === 'not-found') return MISSING_TTL_MS;
  if (known.playlist.kind === 'multivariant' || known.playlist.stream.ended) return FINISHED_TTL_MS;
  return Math.max(SHORTEST_TTL_MS, known.playlist.targetSeconds * 1_000 * LIVE_TTL);
}
