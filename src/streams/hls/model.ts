import { type Rendition } from '../format.js';
import { type Segment, type Stream } from '../phases.js';
import { type ListedSegments, type SegmentsBySequence } from './segments.js';
import { type Template } from './template.js';
import { type Timeline } from './timeline.js';

/** The values of a playlist's variables, by name (RFC 8216bis, 4.4.2.3). */
export type Variables = ReadonlyMap<string, string>;

export interface MultivariantPlaylist {
  readonly kind: 'multivariant';
  readonly template: Template;
  /** Of the address and the options that it was read with: the same text with the same context reads the same. */
  readonly context: string;
  /** What EXT-X-DEFINE defines, for its renditions to import. */
  readonly variables: Variables;
  /** What players fetch ahead of any rendition (session keys and data) by the name that the template gives it. */
  readonly assets: Assets;
  /** Its variants, audio, subtitles and trick modes, in the order in which it names them; those of other hosts are not counted. */
  readonly renditions: readonly Rendition[];
  /** The rendition that is played where nobody chooses. */
  readonly first: number;
}

export interface MediaPlaylist {
  readonly kind: 'media';
  readonly template: Template;
  readonly context: string;
  readonly stream: Stream;
  /** Each segment by its media sequence number; of a live playlist also those that left the window lately. */
  readonly segments: SegmentsBySequence;
  /** Keys, initialisation sections and the like by the name that the template gives them. */
  readonly assets: Assets;
  /** Seconds; how often a live playlist may have something new. */
  readonly targetSeconds: number;
  /**
   * The segment that a name of the template stands for, and its phase; undefined where it stands for none. The phase is
   * below the stream's `edge`, and the oldest one for a segment that left the window.
   */
  find(name: string): { readonly segment: Segment; readonly phase: number } | undefined;
  /** What the next reading goes on from. */
  readonly state: MediaState;
}

export type Asset = Pick<Segment, 'path' | 'byteRange'>;
type Assets = ReadonlyMap<string, Asset>;

/** What reading a media playlist leaves for the next reading of it. */
export interface MediaState {
  readonly listed: ListedSegments;
  /** The times of the segments of a playlist that may slide. */
  readonly timeline: Timeline | undefined;
}

/** Where a playlist was found, and what is needed to read it. */
export interface PlaylistSource {
  readonly streamId: string;
  /** What its relative URIs are relative to. */
  readonly url: URL;
  /** Nothing outside it is read or signed. */
  readonly root: URL;
  /** Other names of the root, such as MEDIA_BASE_URL: what lies below them is the origin's own too. */
  readonly ownBases?: readonly string[];
  /** X. */
  readonly phaseSeconds: number;
  /** Of the multivariant playlist that names it. */
  readonly variables: Variables | undefined;
  /** What was read there before. A live stream goes on from it: segments that left are remembered, numbers go forward. */
  readonly former: MultivariantPlaylist | MediaPlaylist | undefined;
  /** When the text arrived, in Unix milliseconds; needed to tell when the next phase can be had. */
  readonly readAt?: number;
  /**
   * The playlist of the rendition that is played where nobody chooses, for every other one. It decides whether phases count
   * from the beginning, and on which time axis a live playlist has them.
   */
  readonly reference?: MediaPlaylist;
}

/** A playlist that cannot be served; the message says why. Reading a playlist throws nothing else. */
export class PlaylistError extends Error {
  override readonly name = 'PlaylistError';
}

/** What reading depends on beside the text. */
export function contextOf({ url, root, ownBases = [], phaseSeconds, variables }: PlaylistSource): string {
  return JSON.stringify([url.href, root.href, ownBases, phaseSeconds, ...(variables ?? [])]);
}
