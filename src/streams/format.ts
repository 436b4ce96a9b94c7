import { type Stream } from './phases.js';

/**
 * One way of describing a stream in text: HLS, and later DASH beside it. A format reads manifests and says how long
 * each stays true. Finding, keeping and refreshing them is the same for all formats, and is the catalogue's work.
 */
export interface Format<
  Multivariant extends MultivariantManifest = MultivariantManifest,
  Media extends MediaManifest = MediaManifest,
> {
  /** Throws where the text cannot be served; the message goes to the log, never to a client. */
  read(text: string, source: ManifestSource<Multivariant, Media>): Multivariant | Media;
  /** About how many bytes of memory the manifest takes. */
  bytesOf(manifest: Multivariant | Media): number;
  /** Milliseconds until a manifest that was just read may have something new; undefined where nothing is to come. */
  renewsAfterMs(manifest: Multivariant | Media): number | undefined;
  /**
   * For how many milliseconds after it was read the media that a manifest names can be expected at the origin, if
   * nobody can ask; Infinity for what has ended.
   */
  lastsMs(manifest: Multivariant | Media): number;
}

/** The manifest of one rendition, or of a stream that has no more than one. */
export interface MediaManifest {
  readonly kind: 'media';
  readonly stream: Stream;
}

/** What a manifest says of one of its renditions: a quality, a language, a trick mode. */
export interface Rendition {
  readonly url: URL;
  readonly type: 'variant' | 'trick-play' | 'audio' | 'video' | 'subtitles';
  /** Bits a second. */
  readonly bandwidth?: number;
  readonly codecs?: string;
  readonly resolution?: { readonly width: number; readonly height: number };
  readonly name?: string;
  readonly language?: string;
}

/** A manifest that names renditions, each of which has a manifest of its own. */
export interface MultivariantManifest {
  readonly kind: 'multivariant';
  readonly renditions: readonly Rendition[];
  /** The number of the rendition that is played unless somebody chooses. */
  readonly first: number;
}

/** Where a manifest was found, and what is needed to read it. */
interface ManifestSource<Multivariant, Media> {
  readonly streamId: string;
  /** What relative URIs in the manifest are relative to. */
  readonly url: URL;
  /** The origin's root: nothing outside it is read, signed or handed out. */
  readonly root: URL;
  readonly phaseSeconds: number;
  /** The manifest that names this one as a rendition. */
  readonly parent: Multivariant | undefined;
  /** What was read there before. */
  readonly former: Multivariant | Media | undefined;
}
