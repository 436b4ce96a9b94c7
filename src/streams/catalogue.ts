import { LRUCache } from 'lru-cache';
import pLimit from 'p-limit';
import { type Clock } from '../clock.js';
import { type Config } from '../config/config.js';
import { ID } from '../http/fields.js';
import { type PhaseWindow } from '../sessions/admission.js';
import { type Format, type MediaManifest, type MultivariantManifest } from './format.js';
import { type OriginFailures } from './origin-failures.js';
import { type Found, openOrigin } from './origin.js';
import { type Stream } from './phases.js';
import { SeenStreams, type StreamSummary } from './seen-streams.js';

/** How long an origin may take to answer. */
const ORIGIN_TIMEOUT_MS = 5_000;
/** How long a read of the origin may wait for its turn. */
const TURN_TIMEOUT_MS = 2_500;
/** A finished stream does not change; it is read again now and then in case it was replaced. */
const FINISHED_TTL_MS = 60_000;
const SHORTEST_TTL_MS = 100;
/** Long enough to spare the origin a loop of requests, short enough for a stream that was just published. */
const MISSING_TTL_MS = 1_000;
/** How often an origin that fails is asked again for one manifest, while the one in memory is used. */
const RETRY_MS = 1_000;
/** A multivariant manifest is not read again for a missing rendition if it was read within so long. */
const REREAD_AFTER_MS = 1_000;
/**
 * Manifests are kept up to about so many bytes: some 300 of a thousand segments. A task of 512 MB, the smallest, has a
 * heap of half of that, which must hold what is under way as well. bench/README.md has what was measured.
 */
const MAX_CACHED_BYTES = 100_000_000;
/** What an entry takes by itself, that of a missing stream included; rather more than less. */
const ENTRY_BYTES = 4_000;
/** Reads of the origin at once, whose connections and files are few. A list reads fewer, so that viewers get in between. */
const READS_AT_ONCE = 64;
const LISTED_AT_ONCE = 16;

/** `not-found`: there is no such stream or rendition. `unavailable`: the origin failed; the log says why. */
export type Absence = { readonly outcome: 'not-found' } | { readonly outcome: 'unavailable' };
const NOT_FOUND: Absence = { outcome: 'not-found' };
const UNAVAILABLE: Absence = { outcome: 'unavailable' };

interface FoundStream<Media extends MediaManifest = MediaManifest> {
  readonly outcome: 'found';
  readonly manifest: Media;
  readonly stream: Stream;
  /** The phases that can be had now; undefined while there is none, as of a live stream that is about to begin. */
  readonly window: PhaseWindow | undefined;
  /** False for audio, subtitles and trick modes, which players fetch beside a variant and at another pace. */
  readonly isVariant: boolean;
}

interface FoundRenditions<Multivariant extends MultivariantManifest> {
  readonly outcome: 'found';
  readonly manifest: Multivariant;
  readonly stream: undefined;
}

export type StreamLookup<Media extends MediaManifest = MediaManifest> = FoundStream<Media> | Absence;

/** What a stream begins with: its multivariant manifest, or its only one. */
export type Opened<
  Multivariant extends MultivariantManifest = MultivariantManifest,
  Media extends MediaManifest = MediaManifest,
> = FoundRenditions<Multivariant> | FoundStream<Media> | Absence;

/** What is in memory of one address. */
interface Kept {
  /** The address that it was read from. */
  readonly url: string;
  /** Monotonic milliseconds, as all instants in here. */
  readonly readAt: number;
  /** Until when it may be used in place of an origin that fails. */
  readonly usableUntil: number;
  /** True while the origin fails at it. */
  failing: boolean;
}

interface Address<Multivariant> {
  readonly streamId: string;
  readonly url: URL;
  /** Which of the renditions that `parent` names; undefined for what a stream begins with. */
  readonly rendition?: { readonly number: number; readonly parent: Multivariant };
}

/**
 * What can be watched, in one format: finds streams in memory and at the origin, which is read once for however many
 * ask, and keeps manifests for as long as they stay true. No look-up rejects.
 *
 * While the origin fails, what is in memory is used: of a finished stream for as long as it stays there, of a live one
 * until all the media that it names has left the window.
 */
export class Catalogue<
  Multivariant extends MultivariantManifest = MultivariantManifest,
  Media extends MediaManifest = MediaManifest,
> {
  private readonly origin: ReturnType<typeof openOrigin>;
  /** By stream, and by stream and number for the renditions of a multivariant manifest. */
  private readonly manifests: LRUCache<string, Opened<Multivariant, Media> & Kept, Address<Multivariant>>;
  private readonly seen = new SeenStreams();
  /** Stream ids may be made up, by the thousand: of this instance the origin gets so many requests at once. */
  private readonly reads = pLimit(READS_AT_ONCE);

  constructor(
    private readonly format: Format<Multivariant, Media>,
    private readonly config: Config,
    private readonly clock: Clock,
    private readonly failures: OriginFailures,
  ) {
    this.origin = openOrigin(config);
    this.manifests = new LRUCache({
      maxSize: MAX_CACHED_BYTES,
      sizeCalculation: (kept) => ENTRY_BYTES + (kept.outcome === 'found' ? format.bytesOf(kept.manifest) : 0),
      perf: { now: () => clock.monotonic() },
      ttlResolution: 0,
      // `known` must not throw away what `load` compares with, nor what is used while the origin fails.
      noDeleteOnStaleGet: true,
      fetchMethod: async (_key, former, { options, context }) => {
        const kept = await this.refresh(context, former);
        options.ttl = kept.failing ? Math.min(RETRY_MS, this.ttlOf(kept)) : this.ttlOf(kept);
        return kept;
      },
    });
  }

  /** What `find` finds where it is in memory, without waiting: nearly always all that is needed. */
  known(streamId: string, rendition?: number): StreamLookup<Media> | undefined {
    const opened = this.manifests.get(streamId);
    if (opened?.outcome !== 'found') return opened;
    if (opened.stream !== undefined) return rendition === undefined || rendition === 0 ? opened : NOT_FOUND;
    const { renditions, first } = opened.manifest;
    const number = rendition ?? first;
    const kept = this.manifests.get(`${streamId}/${number}`);
    return kept?.url === renditions[number]?.url.href ? (kept as StreamLookup<Media> | undefined) : undefined;
  }

  async open(streamId: string): Promise<Opened<Multivariant, Media>> {
    // Dots would name the origin's own folder, or the one above it.
    if (/^\.+$/.test(streamId)) return NOT_FOUND;
    return this.read(streamId, this.beginningOf(streamId));
  }

  /** One rendition of a stream: the first variant unless a number is given. */
  async find(streamId: string, rendition?: number): Promise<StreamLookup<Media>> {
    return this.findIn(await this.open(streamId), streamId, rendition);
  }

  /** As `find`, for callers that have opened the stream already. */
  async findIn(
    opened: Opened<Multivariant, Media>,
    streamId: string,
    rendition?: number,
  ): Promise<StreamLookup<Media>> {
    if (opened.outcome !== 'found') return opened;
    if (opened.stream !== undefined) return rendition === undefined || rendition === 0 ? opened : NOT_FOUND;
    const parent = opened.manifest;
    const number = rendition ?? parent.first;
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
   * What the origin lists; of an origin that cannot list, the streams seen so far, as they were then. Streams that cannot
   * be served are left out, and the log says why. Undefined if the origin failed.
   */
  async list(): Promise<readonly StreamSummary[] | undefined> {
    const listed = await this.origin.list().catch((error: unknown) => {
      this.failures.note(error);
      return undefined;
    });
    if (listed === undefined) return undefined;
    if (listed === 'unknown') return this.seen.list();
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
        // While the origin fails, nobody waits for it again: it is asked in the background.
        allowStale: kept?.failing === true && this.clock.monotonic() < kept.usableUntil,
        // The multivariant manifest leads elsewhere now.
        forceRefresh: kept !== undefined && kept.url !== address.url.href,
      }))!;
    } catch {
      return UNAVAILABLE;
    }
  }

  /** Reads a manifest anew. Where the origin fails, what was read before is given if it can still be true. */
  private async refresh(
    address: Address<Multivariant>,
    former: (Opened<Multivariant, Media> & Kept) | undefined,
  ): Promise<Opened<Multivariant, Media> & Kept> {
    try {
      return await this.load(address, former);
    } catch (error) {
      const bridged = former !== undefined && this.clock.monotonic() < former.usableUntil;
      this.failures.note(error, { streamId: address.streamId, bridged });
      if (!bridged) throw error;
      former.failing = true;
      return former;
    }
  }

  private async load(
    address: Address<Multivariant>,
    former: (Opened<Multivariant, Media> & Kept) | undefined,
  ): Promise<Opened<Multivariant, Media> & Kept> {
    const { streamId, url, rendition } = address;
    const askedAt = this.clock.monotonic();
    // What is watched already never waits behind what somebody may have made up.
    const read = await (former?.outcome === 'found' ? this.ask(url) : this.askInTurn(url));
    if (read === undefined) {
      if (rendition !== undefined) return this.loadMoved(address, rendition, former);
      return { ...NOT_FOUND, url: url.href, readAt: askedAt, usableUntil: askedAt, failing: false };
    }
    const manifest = this.format.read(read.text, {
      streamId,
      url: read.url,
      root: this.origin.root,
      phaseSeconds: this.config.PHASE_SECONDS,
      parent: rendition?.parent,
      former: former?.outcome === 'found' ? former.manifest : undefined,
    });
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
    this.seen.note(stream, rendition === undefined || rendition.number === rendition.parent.first);
    const isVariant =
      rendition === undefined || rendition.parent.renditions[rendition.number]?.type === 'variant';
    return { ...kept, manifest, stream, window: windowOf(stream), isVariant };
  }

  /** A rendition that is gone: the stream was published anew, maybe, so its multivariant manifest is read again at once. */
  private async loadMoved(
    address: Address<Multivariant>,
    { number, parent }: { readonly number: number; readonly parent: Multivariant },
    former: (Opened<Multivariant, Media> & Kept) | undefined,
  ): Promise<Opened<Multivariant, Media> & Kept> {
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
    throw new Error(`a rendition has no manifest: ${url.pathname}`);
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

  /** Milliseconds for which what was found is used without asking the origin. */
  private ttlOf(found: Opened<Multivariant, Media>): number {
    if (found.outcome !== 'found') return MISSING_TTL_MS;
    const renewsAfterMs = this.format.renewsAfterMs(found.manifest);
    return renewsAfterMs === undefined ? FINISHED_TTL_MS : Math.max(SHORTEST_TTL_MS, renewsAfterMs);
  }
}

/** The phases of a stream that can be had now, as the rule judges by them. */
function windowOf(stream: Stream): PhaseWindow | undefined {
  const { phases, live, phaseSeconds, durationSeconds } = stream;
  const oldest = live?.oldest ?? 0;
  if (phases <= oldest) return undefined;
  const phaseMs = Math.round(phaseSeconds * 1_000);
  // Of a finished stream the last phase is what is left of it.
  const lastPhaseMs =
    durationSeconds === undefined ? phaseMs : Math.round(durationSeconds * 1_000 - (phases - 1) * phaseMs);
  return { oldest, end: phases, start: live?.start ?? 0, live: live !== undefined, phaseMs, lastPhaseMs };
}
