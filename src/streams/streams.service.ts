import { Injectable, Logger } from '@nestjs/common';
import * as hls from 'hls-parser';
import { LRUCache } from 'lru-cache';
import { Clock } from '../clock.js';
import { Config } from '../config.js';
import { MediaSigner } from './media-signer.js';
import { type Origin, openOrigin } from './origin.js';
import { type Phase, PhasedStream, type Segment } from './phases.js';

/** Where this service serves the media of a folder. */
export const MEDIA_PATH = 'media';

/** How long an origin may take to answer. */
const ORIGIN_TIMEOUT_MS = 5_000;
/** A finished stream does not change; it is read again now and then in case it was replaced. */
const FOUND_TTL_MS = 60_000;
/** Long enough to spare the origin a loop of requests, short enough for a stream that was just published. */
const MISSING_TTL_MS = 1_000;
/** The cache is bounded by segments, the bulk of a stream: about 200 bytes each, so 200 MB at the worst. */
const MAX_CACHED_SEGMENTS = 1_000_000;
const MAX_CACHED_PHASES = 10_000;

type KnownStream =
  { readonly outcome: 'found'; readonly stream: PhasedStream } | { readonly outcome: 'not-found' };

export type StreamLookup = KnownStream | { readonly outcome: 'unavailable' };

/** A phase with its signed URLs, which viewers at the same place of a stream share. */
export interface IssuedPhase extends Phase {
  /** Unix milliseconds; when the URLs cease to work. */
  readonly expiresAt: number;
}

/** What can be watched: reads playlists from the origin, once for however many ask, and issues phases of them. */
@Injectable()
export class StreamsService {
  readonly origin: ReturnType<typeof openOrigin>;
  private readonly log = new Logger(StreamsService.name);
  private readonly streams: LRUCache<string, KnownStream>;
  private readonly issued = new LRUCache<string, IssuedPhase>({ max: MAX_CACHED_PHASES });
  private readonly externalMediaBase: string | undefined;
  private readonly urlLifeMs: number;
  private readonly shareMs: number;

  constructor(
    private readonly config: Config,
    private readonly clock: Clock,
    private readonly signer: MediaSigner,
  ) {
    this.origin = openOrigin(config.STREAM_ORIGIN);
    this.externalMediaBase =
      config.MEDIA_BASE_URL?.replace(/\/*$/, '/') ?? (this.origin.folder ? undefined : this.origin.root.href);
    this.urlLifeMs = config.policy.expireAfterMs;
    this.shareMs = Math.min(1_000, config.phaseMs / 10);
    this.streams = new LRUCache<string, KnownStream>({
      maxSize: MAX_CACHED_SEGMENTS,
      sizeCalculation: (lookup) => (lookup.outcome === 'found' ? lookup.stream.segmentCount + 1 : 1),
      fetchMethod: async (streamId, _stale, { options }) => {
        const lookup = await this.load(streamId);
        options.ttl = lookup.outcome === 'found' ? FOUND_TTL_MS : MISSING_TTL_MS;
        return lookup;
      },
    });
  }

  /** What is in memory, without waiting: nearly always all that a request needs. */
  known(streamId: string): StreamLookup | undefined {
    return this.streams.get(streamId);
  }

  /** Never rejects: an origin that failed is `unavailable`, and the log says why. A failure is not remembered. */
  async find(streamId: string): Promise<StreamLookup> {
    // Dots would name the origin's own folder, or the one above it.
    if (/^\.+$/.test(streamId)) return { outcome: 'not-found' };
    try {
      return (await this.streams.fetch(streamId))!;
    } catch (err) {
      this.log.warn({ err, stream_id: streamId, msg: 'the origin failed' });
      return { outcome: 'unavailable' };
    }
  }

  /** What the URL of each segment begins with; `self` is the address that the client used. */
  mediaBase(self: string): string {
    return this.externalMediaBase ?? `${self}/${MEDIA_PATH}/`;
  }

  /** What the origin lists; of an origin that lists nothing, the streams seen so far. */
  async list(): Promise<PhasedStream[]> {
    const ids = new Set([...(await this.origin.list()), ...this.streams.keys()]);
    const lookups = await Promise.all([...ids].toSorted().map(async (streamId) => this.find(streamId)));
    return lookups.filter((lookup) => lookup.outcome === 'found').map(({ stream }) => stream);
  }

  /**
   * The phase with signed URLs that live n·X at most. A signature costs more than all else here, so those who ask for
   * the same phase within a tenth of X share one, and the later of them get that much less.
   */
  issue(stream: PhasedStream, index: number): IssuedPhase {
    const now = this.clock.now();
    const key = `${stream.streamId}/${index}`;
    const shared = this.issued.get(key);
    const expiresAt = now + this.urlLifeMs;
    // A clock that was set back must not make URLs that live longer.
    if (shared && shared.expiresAt <= expiresAt && shared.expiresAt > expiresAt - this.shareMs) return shared;
    const sign = (segment: Segment): Segment => ({
      ...segment,
      path: this.signer.sign(segment.path, expiresAt),
      ...(segment.initPath === undefined ? {} : { initPath: this.signer.sign(segment.initPath, expiresAt) }),
    });
    const phase = stream.phase(index);
    const issued = { ...phase, segments: phase.segments.map(sign), expiresAt };
    this.issued.set(key, issued);
    return issued;
  }

  private async load(streamId: string): Promise<KnownStream> {
    const segments = await readSegments(this.origin, streamId, AbortSignal.timeout(ORIGIN_TIMEOUT_MS));
    if (segments === undefined) return { outcome: 'not-found' };
    return { outcome: 'found', stream: new PhasedStream(streamId, segments, this.config.PHASE_SECONDS) };
  }
}

/** The segments of a stream's first rendition; undefined where there is no such stream. */
async function readSegments(
  origin: Origin,
  streamId: string,
  signal: AbortSignal,
): Promise<readonly Segment[] | undefined> {
  const url = origin.playlistUrl(streamId);
  const playlist = parse(await origin.read(url, signal));
  if (!playlist?.isMasterPlaylist) return playlist && segmentsOf(playlist, url, origin.root);

  const variant = playlist.variants.find(({ isIFrameOnly }) => isIFrameOnly !== true);
  if (variant === undefined) throw new Error('the multivariant playlist names no rendition');
  const renditionUrl = below(origin.root, variant.uri, url);
  const rendition = parse(await origin.read(renditionUrl, signal));
  if (rendition === undefined || rendition.isMasterPlaylist)
    throw new Error(`the first rendition has no playlist: ${variant.uri}`);
  return segmentsOf(rendition, renditionUrl, origin.root);
}

function segmentsOf(playlist: hls.types.MediaPlaylist, url: URL, root: URL): readonly Segment[] {
  if (!playlist.endlist) throw new Error('the stream is live, which is not served yet');
  if (playlist.segments.length === 0) throw new Error('the playlist has no segments');
  const path = (uri: string): string => below(root, uri, url).href.slice(root.href.length);
  return playlist.segments.map(({ uri, duration, byterange, map }) => ({
    path: path(uri),
    durationSeconds: duration,
    ...(map?.uri ? { initPath: path(map.uri) } : {}),
    ...(byterange ? { byteRange: { offset: byterange.offset, length: byterange.length } } : {}),
  }));
}

// The parser complains to the console of what it reads past; what matters is checked here.
hls.setOptions({ silent: true });

function parse(text: string | undefined): hls.types.MasterPlaylist | hls.types.MediaPlaylist | undefined {
  if (text === undefined) return undefined;
  if (!text.startsWith('#EXTM3U')) throw new Error('what the origin sent is not a playlist');
  return hls.parse(text);
}

/** Nothing outside the origin's root is read, signed or handed out, whatever a playlist says. */
function below(root: URL, uri: string, base: URL): URL {
  const url = new URL(uri, base);
  if (!url.href.startsWith(root.href)) throw new Error(`a URI leads out of the origin: ${uri}`);
  return url;
}
