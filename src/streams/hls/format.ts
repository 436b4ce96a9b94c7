import { type Format } from '../format.js';
import { type MediaPlaylist, type MultivariantPlaylist, readPlaylistInSlices } from './playlist.js';

/** A live playlist may have something new once a target duration. Players see it half a target duration late at most. */
const RENEWS_AFTER_TARGETS = 0.5;
/** What a segment takes beside its text; some 100 bytes more with an initialisation section and a range. */
const SEGMENT_BYTES = 270;

export type HlsFormat = Format<MultivariantPlaylist, MediaPlaylist>;

export const HLS: HlsFormat = {
  read: async (text, { parent, reference, ...source }, clock) =>
    readPlaylistInSlices(
      text,
      { ...source, variables: parent?.variables, ...(reference && { reference }) },
      clock,
    ),
  // The addresses of segments may well be the most of it.
  bytesOf(playlist) {
    const { length } = playlist.template;
    if (playlist.kind === 'multivariant') return length + playlist.renditions.length * SEGMENT_BYTES;
    // An address is kept twice: where the playlist was cut, and as a path.
    return length + playlist.segments.size * SEGMENT_BYTES + 2 * playlist.state.listed.addressLength;
  },
  renewsAfterMs(playlist) {
    if (playlist.kind === 'multivariant' || playlist.stream.ended) return undefined;
    return playlist.targetSeconds * 1_000 * RENEWS_AFTER_TARGETS;
  },
  lastsMs(playlist) {
    if (playlist.kind === 'multivariant' || playlist.stream.ended) return Infinity;
    return playlist.stream.segmentCount * playlist.targetSeconds * 1_000;
  },
};
