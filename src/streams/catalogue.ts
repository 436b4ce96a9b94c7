import { LRUCache } from 'lru-cache';
import pLimit from 'p-limit';
import { type Clock } from '../clock.js';
import { type Config } from '../config/config.js';
import { ID } from '../http/fields.js';
import { type PhaseWindow } from '../sessions/admission.js';
import { type Format, type MediaManifest, type MultivariantManifest } from './format.js';
import { type OriginFailures } from './origin-failures.js';
import { type OriginText, mediaBaseOf, openOrigin } from './origin.js';
import { type Segment, type Stream } from './phases.js';
import { SeenStreams, type StreamSummary } from './seen-streams.js';

/** The time-out of one read of the origin. */
const ORIGIN_TIMEOUT_MS = 5_000;
/** How long a read may wait for a free slot of READS_AT_ONCE. */
const TURN_TIMEOUT_MS = 2_500;
/** A finished stream does not change. It is read again at this interval in case it was replaced. */
const FINISHED_TTL_MS = 60_000;
const SHORTEST_TTL_MS = 100;
/** Long enough to protect the origin from a client that retries in a loop, and short enough for a newly published stream. */
const MISSING_TTL_MS = 1_000;
/** How often a failing origin is asked again for a manifest, while the manifest in memory is used. */
const RETRY_MS = 1_000;
/** A live stream whose manifest is gone is bridged for so long, because packagers that restart answer 404 for a while. */
const GONE_AFTER_MS = 10_000;
/** A missing rendition makes the service read the multivariant manifest again, unless that was read within this time. */
const REREAD_AFTER_MS = 1_000;
/**
 * The size of the cache of manifests: about 350 manifests of a thousand segments. The smallest task has 512 MB and a heap
 * of half of that, which must also hold the requests in progress. bench/README.md has the measurements.
 */
const MAX_CACHED_BYTES = 100_000_000;
/** A high estimate of the size of an entry without its manifest, such as the entry of a missing stream. */
const ENTRY_BYTES = 4_000;
/** Concurrent reads of the origin, which bounds its connections and files. A list uses fewer, so that viewers get slots. */
const READS_AT_ONCE = 64;
const LISTED_AT_ONCE = 16;

/** `not-found`: the stream or rendition does not exist. `unavailable`: the origin failed; the log has the reason. */
export type Absence =
  | { readonly outcome: 'not-found' }
  /** `gone`: the origin answered that the rendition does not exist, although the stream lists it. */
  | { readonly outcome: 'unavailable'; readonly gone?: true };
const NOT_FOUND: Absence = { outcome: 'not-found' };
const UNAVAILABLE: Absence = { outcome: 'unavailable' };

/** The origin says that a rendition does not exist, although the stream lists it. */
class RenditionGone extends Error {}

interface FoundStream<Media extends MediaManifest = MediaManifest> {
  readonly outcome: 'found';
  readonly manifest: Media;
  readonly stream: Stream;
  /** The available phases; undefined if there are none, for example before a live stream begins. */
  readonly window: PhaseWindow | undefined;
  /** The same for players, which take segments one by one: the newest phase may be growing. */
  readonly playerWindow: PhaseWindow | undefined;
  /** False for audio, subtitles and trick modes, which players fetch beside a variant and at another pace. */
  readonly isVariant: boolean;
}

interface FoundRenditions<Multivariant extends MultivariantManifest> {
  readonly outcome: 'found';
  readonly manifest: Multivariant;
  readonly stream: undefined;
}

export type StreamLookup<Media extends MediaManifest = MediaManifest> = FoundStream<Media> | Absence;

/** The first manifest of a stream: the multivariant manifest, or its only media manifest. */
export type Opened<
  Multivariant extends MultivariantManifest = MultivariantManifest,
  Media extends MediaManifest = MediaManifest,
> = FoundRenditions<Multivariant> | FoundStream<Media> | Absence;

/** The common members of a cache entry. */
interface CacheEntry {
  /** The address that it was read from. */
  readonly url: string;
  /** Monotonic milliseconds, like all instants in this file. */
  readonly readAt: number;
  /** Until when the entry may be used while the origin fails. */
  readonly usableUntil: number;
  /** True while the origin fails for this entry. */
  failing: boolean;
  /** Since when the origin has answered that the manifest does not exist. */
  missingSince?: number;
}

interface Address<Multivariant> {
  readonly streamId: string;
  readonly url: URL;
  /** The rendition that `parent` lists under this number; undefined for the first manifest of a stream. */
  readonly rendition?: { readonly number: number; readonly parent: Multivariant };
}

/**
 * Finds streams of one format, in memory or at the origin, and caches manifests for as long as they are current.
 * Concurrent requests for the same manifest share one read of the origin. No look-up rejects.
 *
 * While the origin fails, cached manifests are used: a finished stream for as long as it is cached, a live stream until
 * all media of its manifest has left the window.
 */
export class Catalogue<
  Multivariant extends MultivariantManifest = MultivariantManifest,
  Media extends MediaManifest = MediaManifest,
> {
  private readonly origin: ReturnType<typeof openOrigin>;
  /** By stream, and by stream and number for the renditions of a multivariant manifest. */
  private readonly manifests: LRUCache<
    string,
    Opened<Multivariant, Media> & CacheEntry,
    Address<Multivariant>
  >;
  private readonly seenStreams = new SeenStreams();
  /** Public names of the origin: what lies below them in a manifest is the origin's own. */
  private readonly ownBases: readonly string[];
  /** Stream ids may be made up, by the thousand: of this instance the origin gets so many requests at once. */
  private readonly reads = pLimit(READS_AT_ONCE);

  constructor(
    private readonly format: Format<Multivariant, Media>,
    private readonly config: Config,
    private readonly clock: Clock,
    private readonly failures: OriginFailures,
  ) {
    this.origin = openOrigin(config);
    const base = mediaBaseOf(config);
    this.ownBases = [...(base === undefined ? [] : [base]), ...config.STREAM_ORIGIN_ALIASES];
    this.manifests = new LRUCache({
      maxSize: MAX_CACHED_BYTES,
      sizeCalculation: (kept) => ENTRY_BYTES + (kept.outcome === 'found' ? format.bytesOf(kept.manifest) : 0),
      perf: { now: () => clock.monotonic() },
      ttlResolution: 0,
      // `known` must not delete a stale entry: `load` compares with it, and it is used while the origin fails.
      noDeleteOnStaleGet: true,
      fetchMethod: async (_key, former, { options, context }) => {
        const kept = await this.refresh(context, former);
        options.ttl = kept.failing ? Math.min(RETRY_MS, this.ttlOf(kept)) : this.ttlOf(kept);
        return kept;
      },
    });
  }

  /** The result of `find` if it is in memory, without waiting; undefined if not. It nearly always is. */
  known(streamId: string, rendition?: number): StreamLookup<Media> | undefined {
    const opened = this.manifests.get(streamId);
    if (opened?.outcome !== 'found') return opened;
    if (opened.stream !== undefined) return rendition === undefined || rendition === 0 ? opened : NOT_FOUND;
    const { renditions, first } = opened.manifest;
    const number = rendition ?? first;
    const kept = this.manifests.get(`${streamId}/${number}`) as
      (StreamLookup<Media> & CacheEntry) | undefined;
    if (rendition === undefined && !isPlayable(kept)) return undefined;
    return kept?.url === renditions[number]?.url.href ? kept : undefined;
  }

  async open(streamId: string): Promise<Opened<Multivariant, Media>> {
    // An id of dots would be the root folder of the origin, or its parent.
    if (/^\.+$/.test(streamId)) return NOT_FOUND;
    return this.read(streamId, this.beginningOf(streamId));
  }

  /** One rendition of a stream; without a number, the first variant, or the next one where that has nothing to play. */
  async find(streamId: string, rendition?: number): Promise<StreamLookup<Media>> {
    return this.findIn(await this.open(streamId), streamId, rendition);
  }

  /** Like `find`, for callers that have opened the stream already. */
  async findIn(
    opened: Opened<Multivariant, Media>,
    streamId: string,
    rendition?: number,
  ): Promise<StreamLookup<Media>> {
    if (opened.outcome !== 'found') return opened;
    if (opened.stream !== undefined) return rendition === undefined || rendition === 0 ? opened : NOT_FOUND;
    const parent = opened.manifest;
    const found = await this.findRendition(streamId, parent, rendition ?? parent.first);
    if (rendition !== undefined || isPlayable(found)) return found;
    let last = found;
    for (const [number, { type }] of parent.renditions.entries()) {
      // While the origin does not answer for one variant, the others would only make the client wait longer.
      if (hasFailed(last)) break;
      if (type !== 'variant' || number === parent.first) continue;
      last = await this.findRendition(streamId, parent, number);
      if (isPlayable(last)) return last;
    }
    return found;
  }

  private async findRendition(
    streamId: string,
    parent: Multivariant,
    number: number,
  ): Promise<StreamLookup<Media>> {
    const named = parent.renditions[number];
    if (named === undefined) return NOT_FOUND;
    const found = await this.read(`${streamId}/${number}`, {
      streamId,
      url: named.url,
      rendition: { number, parent },
    });
    return found as StreamLookup<Media>;
  }

  /**
   * The streams that the origin lists. If the origin cannot list, the streams that were read so far, as they were then.
   * Streams that cannot be served are left out, and the log has the reason. Undefined if the origin failed.
   */
  async list(): Promise<readonly StreamSummary[] | undefined> {
    const listed = await this.origin.list().catch((error: unknown) => {
      this.failures.note(error);
      return undefined;
    });
    if (listed === undefined) return undefined;
    if (listed === 'unknown') return this.seenStreams.list();
    const ids = listed.filter((id) => ID.test(id)).toSorted();
    const streams: Stream[] = [];
    for (let at = 0; at < ids.length; at += LISTED_AT_ONCE) {
      const lookups = await Promise.all(ids.slice(at, at + LISTED_AT_ONCE).map((id) => this.find(id)));
      for (const lookup of lookups) if (lookup.outcome === 'found') streams.push(lookup.stream);
    }
    return streams;
  }

  private beginningOf(streamId: string): Address<Multivariant> {
    return { streamId, url: this.origin.playlistUrl(streamId) };
  }

  private async read(key: string, address: Address<Multivariant>): Promise<Opened<Multivariant, Media>> {
    const kept = this.manifests.peek(key, { allowStale: true });
    try {
      return (await this.manifests.fetch(key, {
        context: address,
        // While the origin fails, requests use the entry in memory, and the origin is asked in the background.
        allowStale: kept?.failing === true && this.clock.monotonic() < kept.usableUntil,
        // The multivariant manifest now has another URL for the rendition.
        forceRefresh: kept !== undefined && kept.url !== address.url.href,
      }))!;
    } catch {
      return UNAVAILABLE;
    }
  }

  /** Reads a manifest again. If the origin fails, returns the former entry while that is usable, and throws otherwise. */
  private async refresh(
    address: Address<Multivariant>,
    former: (Opened<Multivariant, Media> & CacheEntry) | undefined,
  ): Promise<Opened<Multivariant, Media> & CacheEntry> {
    try {
      return await this.load(address, former);
    } catch (error) {
      const bridged = former !== undefined && this.clock.monotonic() < former.usableUntil;
      this.failures.note(error, { streamId: address.streamId, bridged });
      if (bridged) {
        former.failing = true;
        return former;
      }
      if (!(error instanceof RenditionGone)) throw error;
      const readAt = this.clock.monotonic();
      return {
        outcome: 'unavailable',
        gone: true,
        url: address.url.href,
        readAt,
        usableUntil: readAt,
        failing: false,
      };
    }
  }

  private async load(
    address: Address<Multivariant>,
    former: (Opened<Multivariant, Media> & CacheEntry) | undefined,
  ): Promise<Opened<Multivariant, Media> & CacheEntry> {
    const { streamId, url, rendition } = address;
    const askedAt = this.clock.monotonic();
    // A stream that is watched already does not wait for a slot, because invented stream ids may use all of them.
    const read = await (former?.outcome === 'found' ? this.ask(url) : this.askInTurn(url));
    if (read === undefined) {
      if (rendition !== undefined) return this.loadMoved(address, rendition, former);
      if (former?.outcome === 'found' && former.usableUntil !== Infinity) {
        former.missingSince ??= askedAt;
        if (askedAt - former.missingSince < GONE_AFTER_MS)
          throw new Error('the origin answered 404 for a live stream');
      }
      return { ...NOT_FOUND, url: url.href, readAt: askedAt, usableUntil: askedAt, failing: false };
    }
    const manifest = await this.format.read(
      read.text,
      {
        streamId,
        url: read.url,
        root: this.origin.root,
        ownBases: this.ownBases,
        phaseSeconds: this.config.PHASE_SECONDS,
        parent: rendition?.parent,
        former: former?.outcome === 'found' ? former.manifest : undefined,
        readAt: this.clock.now(),
        reference: rendition && (await this.referenceOf(streamId, rendition)),
      },
      this.clock,
    );
    const kept = {
      outcome: 'found',
      url: url.href,
      readAt: askedAt,
      usableUntil: askedAt + this.format.lastsMs(manifest),
      failing: false,
    } as const;
    if (manifest.kind === 'multivariant') {
      if (rendition !== undefined) throw new Error('a rendition is a multivariant manifest itself');
      return { ...kept, manifest, stream: undefined };
    }
    const { stream } = manifest;
    this.seenStreams.note(stream, rendition === undefined || rendition.number === rendition.parent.first);
    const isVariant =
      rendition === undefined || rendition.parent.renditions[rendition.number]?.type === 'variant';
    return { ...kept, manifest, stream, ...windowsOf(stream), isVariant };
  }

  /** The manifest of the rendition that is played where nobody chooses, by whose clock the others may have to go. */
  private async referenceOf(
    streamId: string,
    { number, parent }: { readonly number: number; readonly parent: Multivariant },
  ): Promise<Media | undefined> {
    if (number === parent.first) return undefined;
    const found = await this.findRendition(streamId, parent, parent.first);
    return found.outcome === 'found' ? found.manifest : undefined;
  }

  /** A rendition is gone. The stream may have been published again, so that its multivariant manifest is read at once. */
  private async loadMoved(
    address: Address<Multivariant>,
    { number, parent }: { readonly number: number; readonly parent: Multivariant },
    former: (Opened<Multivariant, Media> & CacheEntry) | undefined,
  ): Promise<Opened<Multivariant, Media> & CacheEntry> {
    const { streamId, url } = address;
    const known = this.manifests.peek(streamId, { allowStale: true });
    const wasReadNow = known !== undefined && this.clock.monotonic() - known.readAt < REREAD_AFTER_MS;
    const opened = await this.manifests.fetch(streamId, {
      context: this.beginningOf(streamId),
      forceRefresh: !wasReadNow,
    });
    if (opened?.outcome === 'found' && opened.stream === undefined && opened.manifest !== parent) {
      const named = opened.manifest.renditions[number];
      if (named !== undefined && named.url.href !== url.href)
        return this.load(
          { streamId, url: named.url, rendition: { number, parent: opened.manifest } },
          former,
        );
    }
    throw new RenditionGone(`a rendition has no manifest: ${url.pathname}`);
  }

  private async ask(url: URL): Promise<OriginText | undefined> {
    return this.origin.read(url, AbortSignal.timeout(ORIGIN_TIMEOUT_MS));
  }

  private async askInTurn(url: URL): Promise<OriginText | undefined> {
    const waited = AbortSignal.timeout(TURN_TIMEOUT_MS);
    return this.reads(async () => {
      if (waited.aborted) throw new Error('too many requests wait for the origin');
      return this.ask(url);
    });
  }

  /** How many milliseconds an entry is used without asking the origin. */
  private ttlOf(found: Opened<Multivariant, Media>): number {
    if (found.outcome !== 'found') return MISSING_TTL_MS;
    const renewsAfterMs = this.format.renewsAfterMs(found.manifest);
    return renewsAfterMs === undefined ? FINISHED_TTL_MS : Math.max(SHORTEST_TTL_MS, renewsAfterMs);
  }
}

function hasFailed(lookup: StreamLookup): boolean {
  return lookup.outcome === 'unavailable' && lookup.gone !== true;
}

function isPlayable(lookup: StreamLookup | undefined): boolean {
  return lookup?.outcome === 'found' && lookup.playerWindow !== undefined;
}

/** The phases of a stream that can be had now, as the rule judges by them: for clients of phases, and for players. */
function windowsOf(stream: Stream): Pick<FoundStream, 'window' | 'playerWindow'> {
  return { window: windowTo(stream, stream.phases), playerWindow: windowTo(stream, stream.edge) };
}

/**
 * The window as the rule judges a segment by it. A segment that is longer than X keeps its player busy for longer than the
 * phase it lies in; without this, a player would count as idle while it plays the segment.
 */
export function windowOfSegment(window: PhaseWindow, { durationSeconds }: Segment): PhaseWindow {
  const durationMs = Math.round(durationSeconds * 1_000);
  return durationMs > window.phaseMs ? { ...window, phaseMs: durationMs } : window;
}

/**
 * The window as the rule judges a phase of a live stream by it, which may hold less media than X. If the rule counted X, a
 * player of segments of 3.84 s by a target of 4 s would seem to be a minute ahead after half an hour.
 */
export function windowOfPhase(window: PhaseWindow, stream: Stream, index: number | undefined): PhaseWindow {
  if (index === undefined || !window.live) return window;
  const phaseMs = millisOf(stream.secondsOfMedia(index));
  return phaseMs === window.phaseMs ? window : { ...window, phaseMs, lastPhaseMs: phaseMs };
}

function millisOf(seconds: number): number {
  return Math.max(1, Math.round(seconds * 1_000));
}

function windowTo(stream: Stream, phases: number): PhaseWindow | undefined {
  const { live, durationSeconds } = stream;
  const oldest = live?.oldest ?? 0;
  if (phases <= oldest) return undefined;
  const phaseMs = millisOf(stream.secondsOfMedia());
  // The last phase of a finished stream is its remainder.
  const lastPhaseMs =
    durationSeconds === undefined ? phaseMs : Math.round(durationSeconds * 1_000 - (phases - 1) * phaseMs);
  return { oldest, end: phases, start: live?.start ?? 0, live: live !== undefined, phaseMs, lastPhaseMs };
}
