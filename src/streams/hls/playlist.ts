import { setImmediate } from 'node:timers/promises';
import { type Clock } from '../../clock.js';
import { LongText } from '../../http/long-texts.js';
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

const FIRST_TAG = '#EXTM3U';

/** How long reading may hold up other requests at a time, in milliseconds. */
const SLICE_MS = 2;

/** Reads a playlist at once. Throws a PlaylistError where it cannot be served. */
export function readPlaylist(text: string | LongText, source: PlaylistSource): Playlist {
  const steps = read(text, source);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** As `readPlaylist`, in slices of a few milliseconds between which other requests are served. Rejects where it throws. */
export async function readPlaylistInSlices(
  text: string | LongText,
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
function* read(written: string | LongText, source: PlaylistSource): Generator<void, Playlist> {
  const text = typeof written === 'string' ? new LongText([written]) : written;
  const start = beginningOf(text);
  if (text.slice(start, start + FIRST_TAG.length) !== FIRST_TAG)
    throw new PlaylistError('what the origin sent is not a playlist: its first line is not #EXTM3U');
  const playlist = text.from(start);
  return (yield* isMultivariant(playlist))
    ? yield* readMultivariant(playlist, source)
    : yield* readMedia(playlist, source);
}

/** Where the text begins. A byte order mark or blank lines in front would keep players from reading it. */
function beginningOf(text: LongText): number {
  let start = 0;
  for (const piece of text.pieces) {
    const blank = piece.search(/[^\s\uFEFF]/);
    if (blank >= 0) return start + blank;
    start += piece.length;
  }
  return start;
}

/** A multivariant playlist names others and has no segments; one that has neither is a live playlist before its start. */
function* isMultivariant(text: LongText): Generator<void, boolean> {
  let namesOthers = false;
  for (const piece of text.pieces) {
    if (/^[^\S\r\n\u2028\u2029]*#EXT(INF|-X-TARGETDURATION)\b/m.test(piece)) return false;
    namesOthers ||=
      /^[^\S\r\n\u2028\u2029]*(#EXT-X-(STREAM-INF|MEDIA:|I-FRAME-STREAM-INF|IMAGE-STREAM-INF)|[^#\s])/m.test(
        piece,
      );
    yield;
  }
  return namesOthers;
}
