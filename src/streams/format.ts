import { type Clock } from '../clock.js';
import { type LongText } from '../http/long-texts.js';
import { type Stream } from './phases.js';

/**
 * A format of manifests: HLS, and later DASH. A format reads manifests and says how long each is current. The catalogue
 * finds, caches and refreshes manifests, in the same way for all formats.
 */
export interface Format<
  Multivariant extends MultivariantManifest = MultivariantManifest,
  Media extends MediaManifest = MediaManifest,
> {
  /**
   * Reads a manifest, in slices that hold up no other request for long. Rejects where the text cannot be served; the
   * message goes to the log, never to a client.
   */
  read(
    text: LongText,
    source: ManifestSource<Multivariant, Media>,
    clock: Pick<Clock, 'monotonic'>,
  ): Promise<Multivariant | Media>;
  /** About how many bytes of memory the manifest takes. */
  bytesOf(manifest: Multivariant | Media): number;
  /** Milliseconds until a manifest that was just read may have changed; undefined if nothing will be added to it. */
  renewsAfterMs(manifest: Multivariant | Media): number | undefined;
  /**
   * How many milliseconds after a manifest was read its media probably still exists, while the origin does not answer;
   * Infinity for a finished stream.
   */
  lastsMs(manifest: Multivariant | Media): number;
}

/** The manifest of one rendition, or of a stream with a single rendition. */
export interface MediaManifest {
  readonly kind: 'media';
  readonly stream: Stream;
}

/** A rendition as a multivariant manifest describes it: a quality, a language or a trick mode. */
export interface Rendition {
  readonly url: URL;
  readonly type: 'variant' | 'trick-play' | 'audio' | 'video' | 'subtitles';
  /** Bits per second. */
  readonly bandwidth?: number;
  readonly codecs?: string;
  readonly resolution?: { readonly width: number; readonly height: number };
  readonly name?: string;
  readonly language?: string;
}

/** A manifest that lists renditions. Each rendition has its own manifest. */
export interface MultivariantManifest {
  readonly kind: 'multivariant';
  readonly renditions: readonly Rendition[];
  /** The number of the default rendition. */
  readonly first: number;
}

/** The source of a manifest, and the context for reading it. */
interface ManifestSource<Multivariant, Media> {
  readonly streamId: string;
  /** The base of relative URIs in the manifest. */
  readonly url: URL;
  /** The origin's root: nothing outside it is read, signed or given to clients. */
  readonly root: URL;
  /** Other names of the root, such as MEDIA_BASE_URL. */
  readonly ownBases: readonly string[];
  readonly phaseSeconds: number;
  /** The manifest that lists this one as a rendition. */
  readonly parent: Multivariant | undefined;
  /** The manifest that was read at this URL before. */
  readonly former: Multivariant | Media | undefined;
  /** When the text arrived, in Unix milliseconds. */
  readonly readAt: number;
  /** For every rendition but the first: the manifest of the first. */
  readonly reference: Media | undefined;
}
