import { Injectable, Logger } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { Clock } from '../clock.js';
import { Config } from '../config.js';
import { ID } from '../http/fields.js';
import { MediaSigner } from './media-signer.js';
import { mediaBaseOf, openOrigin } from './origin.js';
import { type Phase, PhasedStream, type Segment } from './phases.js';
import { readSegments } from './playlist.js';

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
/** What an entry weighs by itself, a stream that is missing included: as much as so many segments, and rather more. */
const ENTRY_SEGMENTS = 20;
/** Signed, about 500 bytes a segment: 50 MB at the worst. */
const MAX_ISSUED_SEGMENTS = 100_000;
const MAX_SEEN_STREAMS = 10_000;
/** Of a list: files and connections are few. */
const READS_AT_ONCE = 16;

type KnownStream =
  { readonly outcome: 'found'; readonly stream: PhasedStream } | { readonly outcome: 'not-found' };

export type StreamLookup = KnownStream | { readonly outcome: 'unavailable' };

/** What is told of a stream; without its segments, so that many can be remembered. */
export type StreamSummary = Pick<
  PhasedStream,
  'streamId' | 'kind' | 'durationSeconds' | 'phaseSeconds' | 'phases'
>;

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
  private readonly issued = new LRUCache<string, IssuedPhase>({
    maxSize: MAX_ISSUED_SEGMENTS,
    sizeCalculation: ({ segments }) => segments.length + 1,
  });
  private readonly seen = new LRUCache<string, StreamSummary>({ max: MAX_SEEN_STREAMS });
  private readonly externalMediaBase: string | undefined;
  private readonly urlLifeMs: number;
  private readonly shareMs: number;

  constructor(
    private readonly config: Config,
    private readonly clock: Clock,
    private readonly signer: MediaSigner,
  ) {
    this.origin = openOrigin(config.STREAM_ORIGIN);
    this.externalMediaBase = mediaBaseOf(config);
    this.urlLifeMs = config.policy.expireAfterMs;
    this.shareMs = Math.min(1_000, config.phaseMs / 10);
    this.streams = new LRUCache<string, KnownStream>({
      maxSize: MAX_CACHED_SEGMENTS,
      sizeCalculation: (lookup) =>
        (lookup.outcome === 'found' ? lookup.stream.segmentCount : 0) + ENTRY_SEGMENTS,
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
      const { message, cause } = err as Error & { cause?: { code?: string } };
      this.log.warn({ reason: message, code: cause?.code, stream_id: streamId, msg: 'the origin failed' });
      return { outcome: 'unavailable' };
    }
  }

  /** What the URL of each segment begins with; `self` is the address that the client used. */
  mediaBase(self: string): string {
    return this.externalMediaBase ?? `${self}/${MEDIA_PATH}/`;
  }

  /**
   * What the origin lists; of an origin that cannot tell, the streams seen so far, as they were then. Undefined where
   * the origin failed. Those that cannot be served are left out, and the log says why.
   */
  async list(): Promise<StreamSummary[] | undefined> {
    const listed = await this.origin.list().catch((err: Error) => {
      this.log.warn({ reason: err.message, msg: 'the origin failed' });
      return undefined;
    });
    if (listed === undefined) return undefined;
    if (listed === 'unknown')
      return [...this.seen.values()].toSorted((a, b) => (a.streamId < b.streamId ? -1 : 1));
    const ids = listed.filter((id) => ID.test(id)).toSorted();
    const streams: PhasedStream[] = [];
    for (let at = 0; at < ids.length; at += READS_AT_ONCE) {
      const lookups = await Promise.all(ids.slice(at, at + READS_AT_ONCE).map((id) => this.find(id)));
      for (const lookup of lookups) if (lookup.outcome === 'found') streams.push(lookup.stream);
    }
    return streams;
  }

  /**
   * The phase with signed URLs that live n·X at most. A signature costs more than all else here, so those who ask for
   * the same phase within a tenth of X share one, and the later of them get that much less.
   */
  issue(stream: PhasedStream, index: number): IssuedPhase {
    const now = this.clock.now();
    const key = `${stream.streamId}/${index}`;
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
    const signSegment = (segment: Segment): Segment => ({
      ...segment,
      path: sign(segment.path),
      ...(segment.initPath === undefined ? {} : { initPath: sign(segment.initPath) }),
    });
    const phase = stream.phase(index);
    const issued = { ...phase, segments: phase.segments.map(signSegment), expiresAt };
    this.issued.set(key, issued);
    return issued;
  }

  private async load(streamId: string): Promise<KnownStream> {
    const segments = await readSegments(this.origin, streamId, AbortSignal.timeout(ORIGIN_TIMEOUT_MS));
    if (segments === undefined) return { outcome: 'not-found' };
    const stream = new PhasedStream(streamId, segments, this.config.PHASE_SECONDS);
    const { kind, durationSeconds, phaseSeconds, phases } = stream;
    this.seen.set(streamId, { streamId, kind, durationSeconds, phaseSeconds, phases });
    return { outcome: 'found', stream };
  }
}
