/** The playlist of every stream at the benchmark's origin, and the expected playlist of the gate. */
export const SEGMENTS = 1_000;
const SEGMENT_SECONDS = 4;
const KEY = 'keys/first.key';

/** A playlist like those of packagers: more than an hour, encrypted, with a date now and then. */
export const ORIGINAL = write(KEY, (at) => `segment-${String(at).padStart(5, '0')}.ts`);

/** `key`: the gate's name for the key. `query`: the query that the gate adds to every URI. */
export function rewritten(key: string, query: string): string {
  return write(key + query, (at) => `${at}.ts${query}`);
}

function write(key: string, segment: (at: number) => string): string {
  const lines = [
    '#EXTM3U',
    '#EXT-X-VERSION:3',
    `#EXT-X-TARGETDURATION:${SEGMENT_SECONDS}`,
    '#EXT-X-MEDIA-SEQUENCE:0',
    '#EXT-X-PLAYLIST-TYPE:VOD',
    `#EXT-X-KEY:METHOD=AES-128,URI="${key}"`,
  ];
  for (let at = 0; at < SEGMENTS; at++) lines.push(`#EXTINF:${SEGMENT_SECONDS}.000,`, segment(at));
  return [...lines, '#EXT-X-ENDLIST', ''].join('\n');
}

/** The gate's name for the key in a playlist that it wrote. */
export function keyIn(playlist: string): string {
  const name = /URI="([^"?]+)/.exec(playlist)?.[1];
  if (name === undefined) throw new Error(`a playlist without its key: ${playlist.slice(0, 500)}`);
  return name;
}
