import { setImmediate } from 'node:timers/promises';
import { type Clock } from '../../clock.js';
import { readMedia } from './media.js';
import {
  type MediaPlaylist,
  type MultivariantPlaylist,
  PlaylistError,
  type PlaylistSource,
} from './model.js';
import { readMultivariant } from './multivariant.js';

export {
  type MediaPlaylist,
  type MultivariantPlaylist,
  PlaylistError,
  type PlaylistSource,
} from './model.js';

/**
 * A playlist as the origin has it: what it says, and where its URIs stand, so that the gate can put its own in their place
 * and send everything else byte for byte.
 */
export type Playlist = MultivariantPlaylist | MediaPlaylist;

/** How long reading may hold up other requests at a time, in milliseconds. */
const SLICE_MS = 2;

/** Reads a playlist at once. Throws a PlaylistError where it cannot be served. */
export function readPlaylist(text: string, source: PlaylistSource): Playlist {
  const steps = read(text, source);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** As `readPlaylist`, in slices of a few milliseconds between which other requests are served. Rejects where it throws. */
export async function readPlaylistInSlices(
  text: string,
  source: PlaylistSource,
  clock: Pick<Clock, 'monotonic'>,
): Promise<Playlist> {
  const steps = read(text, source);
  for (let began = clock.monotonic(); ;) {
    const step = steps.next();
    if (step.done) return step.value;
    if (clock.monotonic() - began < SLICE_MS) continue;
    await setImmediate();
    began = clock.monotonic();
  }
}

/** Yields every few hundred lines. */
function* read(text: string, source: PlaylistSource): Generator<void, Playlist> {
  const start = text.search(/[^\s\uFEFF]/);
  if (start < 0 || !text.startsWith('#EXTM3U', start))
    throw new PlaylistError('what the origin sent is not a playlist: its first line is not #EXTM3U');
  // A byte order mark or blank lines in front would keep players from reading it.
  const playlist = start === 0 ? text : text.slice(start);
  return isMultivariant(playlist) ? readMultivariant(playlist, source) : yield* readMedia(playlist, source);
}

/** A multivariant playlist names others and has no segments; one that has neither is a live playlist before its start. */
function isMultivariant(text: string): boolean {
  if (/^[^\S\n]*#EXT(INF|-X-TARGETDURATION)\b/m.test(text)) return false;
  return /^[^\S\n]*(#EXT-X-(STREAM-INF|MEDIA:|I-FRAME-STREAM-INF|IMAGE-STREAM-INF)|[^#\s])/m.test(text);
}
