/** The playlist of every stream at the benchmark's origin, and the expected playlist of the gate. */
export const SEGMENTS = 1_000;
const SEGMENT_SECONDS = 4;
const KEY = 'keys/first.key';

/** A playlist like those of packagers: more than an hour, encrypted, with a date now and then. */
export const ORIGINAL = write(KEY, (at) => `segment-${String(at).padStart(5, '0')}.ts`);

/** What the gate calls the key, and what it puts behind the number of each segment. */
interface Names {
  readonly key: string;
  readonly check: string;
}

/** `query`: the query that the gate adds to every URI. */
export function rewritten({ key, check }: Names, query: string): string {
  return write(key + query, (at) => `${at}${check}.ts${query}`);
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

/** The names in a playlist that the gate wrote. */
export function namesIn(playlist: string): Names {
  const [key, check] = [/URI="([^"?]+)/, /^0(-\w+)\.ts/m].map((name) => name.exec(playlist)?.[1]);
  if (key === undefined || check === undefined)
    throw new Error(`a playlist without its key or its first segment: ${playlist.slice(0, 500)}`);
  return { key, check };
}

/** The streams of the benchmark's origin that are long. */
export const LONG_STREAMS = {
  /** A film of 100,000 segments. */
  film: 'film-of-100000',
  /** A live stream with a window of 24 hours in segments of 2 s with dates, which slides with each read. */
  day: 'live-of-a-day',
} as const;
const FILM_SEGMENTS = 100_000;
const DAY_SEGMENTS = 43_200;

/** `reads`: how often the playlist was read before. */
export function longPlaylist(stream: string, reads: number): string | undefined {
  if (stream === LONG_STREAMS.film) {
    const lines = ['#EXTM3U', '#EXT-X-TARGETDURATION:2', '#EXT-X-PLAYLIST-TYPE:VOD'];
    for (let at = 0; at < FILM_SEGMENTS; at++) lines.push('#EXTINF:2.000,', `segment-${at}.ts`);
    return [...lines, '#EXT-X-ENDLIST', ''].join('\n');
  }
  if (stream !== LONG_STREAMS.day) return undefined;
  const first = 800_000_000 + reads;
  const lines = ['#EXTM3U', '#EXT-X-TARGETDURATION:2', `#EXT-X-MEDIA-SEQUENCE:${first}`];
  for (let at = first; at < first + DAY_SEGMENTS; at++)
    lines.push(
      `#EXT-X-PROGRAM-DATE-TIME:${new Date(at * 2_000).toISOString()}`,
      '#EXTINF:2.000,',
      `segment-${at}.ts`,
    );
  return [...lines, ''].join('\n');
}
