import { type Format } from '../format.js';
import { type Variables } from './model.js';
import { type MediaPlaylist, type MultivariantPlaylist, readPlaylistInSlices } from './playlist.js';

/** A live playlist may have something new once a target duration. Players see it half a target duration late at most. */
const RENEWS_AFTER_TARGETS = 0.5;
/** What a segment takes beside its text and its path. */
const SEGMENT_BYTES = 210;
/** What the place of a segment on the time axis takes, beside another copy of its path once the window has moved. */
const PLACED_BYTES = 170;
/** What a context or a key takes, and what the place and the name of another file take. */
const CONTEXT_PART_BYTES = 180;
const ASSET_BYTES = 300;

/** What a rendition and a variable take, beside the text of a variable. */
const RENDITION_BYTES = 500;
const VARIABLE_BYTES = 100;

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
    const bytes = playlist.template.text.length + playlist.assets.size * ASSET_BYTES;
    if (playlist.kind === 'multivariant')
      return bytes + playlist.renditions.length * RENDITION_BYTES + sizeOf(playlist.variables);
    const { addressLength, contextParts } = playlist.state.listed.segments;
    const { timeline } = playlist.state;
    const placed =
      timeline === undefined
        ? 0
        : timeline.placed.length * PLACED_BYTES + timeline.placed.segments.addressLength;
    return (
      bytes +
      playlist.segments.size * SEGMENT_BYTES +
      contextParts * CONTEXT_PART_BYTES +
      addressLength +
      placed
    );
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

function sizeOf(variables: Variables): number {
  let size = 0;
  for (const [name, value] of variables) size += VARIABLE_BYTES + name.length + value.length;
  return size;
}
