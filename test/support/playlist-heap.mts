import { setTimeout } from 'node:timers/promises';
import { HLS } from '../../src/streams/hls/format.ts';
import { type Playlist, readPlaylist } from '../../src/streams/hls/playlist.ts';

/**
 * Measures the heap that playlists take, in a process of its own with nothing else in it, and prints it as JSON. Run it with
 * --expose-gc. The test is src/streams/hls/format.spec.ts.
 */
const collect = globalThis.gc!;

const SEGMENTS = 10_000;
const ROOT = new URL('https://origin.example/vod/');

const read = (tags: (at: number) => readonly string[]): Playlist => {
  const lines = Array.from({ length: SEGMENTS }, (_, at) => [...tags(at), '#EXTINF:4,', `segment-${at}.ts`]);
  return readLines(['#EXT-X-TARGETDURATION:4', ...lines.flat(), '#EXT-X-ENDLIST']);
};

const readLines = (lines: readonly string[], former?: Playlist): Playlist => {
  // A text as the origin sends it, in one piece.
  const text = Buffer.from(['#EXTM3U', ...lines, ''].join('\n')).toString();
  return readPlaylist(text, {
    streamId: 'film',
    url: new URL('film/720p/index.m3u8', ROOT),
    root: ROOT,
    phaseSeconds: 10,
    variables: undefined,
    former,
  });
};

/** With the numbers that lie outside the heap of objects. */
const heapUsed = async (): Promise<number> => {
  for (let times = 0; times < 3; times++) {
    collect();
    // What is freed outside the heap is freed behind the scenes.
    await setTimeout(20);
  }
  const { heapUsed: objects, arrayBuffers } = process.memoryUsage();
  return objects + arrayBuffers;
};

const key = (format: string, uri: string) =>
  `#EXT-X-KEY:METHOD=SAMPLE-AES,URI="${uri}",KEYFORMAT="${format}",IV=0x${'0'.repeat(32)}`;

/** A multivariant playlist with so many lines. */
const readChoice = (line: (at: number) => string): Playlist =>
  readLines([
    ...Array.from({ length: SEGMENTS }, (_, at) => line(at)),
    '#EXT-X-STREAM-INF:BANDWIDTH=1',
    '1.m3u8',
  ]);

const CASES: readonly (readonly [of: string, tags: (at: number) => readonly string[]])[] = [
  ['segments alone', () => []],
  ['a key each', (at) => [key('identity', `keys/${at}.key`)]],
  ['a key each, of one file', (at) => [key(`x.${at % 2}`, 'one.key')]],
  ['a changed key of 16', (at) => [key(String(at % 16), `skd://keys.example/${at}`)]],
  ['an initialisation section each', (at) => [`#EXT-X-MAP:URI="${at}.mp4",BYTERANGE="720@0"`]],
  ['both each', (at) => [key('identity', `keys/${at}.key`), `#EXT-X-MAP:URI="${at}.mp4"`]],
  ['another file each', (at) => [`#EXT-X-DATERANGE:ID="${at}",X-ASSET-LIST="${at}.json"`]],
  [
    'a large number and one key',
    (at) =>
      at === 0 ? ['#EXT-X-MEDIA-SEQUENCE:18446744073709551615', '#EXT-X-KEY:METHOD=AES-128,URI="1.key"'] : [],
  ],
];

const headOf = (first: number) => ['#EXT-X-TARGETDURATION:4', `#EXT-X-MEDIA-SEQUENCE:${first}`];

/** A live playlist that was read so often, and how many texts' worth of heap it takes. */
async function readOften(window: number, step: number, reads: number) {
  const linesOf = (first: number): string[] => {
    const lines = Array.from({ length: window }, (_, index) => {
      const at = first + index;
      const uri = at % 2 === 0 ? `segment-${at}.ts` : `https://ads.example/${at}/${'a'.repeat(60)}.ts`;
      const changed = [
        ...(at % 10 === 0 ? [key('com.example', `skd://keys.example/${at}`)] : []),
        ...(at % 10 === 5 ? [key('identity', `keys-of-this-stream/${at}.key`)] : []),
      ];
      return [...changed, '#EXTINF:4,', uri];
    });
    return [...headOf(first), ...lines.flat()];
  };
  const before = await heapUsed();
  let playlist = readLines(linesOf(0));
  for (let at = 1; at <= reads; at++) playlist = readLines(linesOf(at * step), playlist);
  const bytes = (await heapUsed()) - before;
  return { playlist, bytes, texts: bytes / lengthOf(playlist) };
}

const lengthOf = ({ template }: Playlist): number => template.text.length;

/** What another reading of a window that slid takes beside the first one and its own text, over the size of that. */
async function addedByReload(): Promise<number> {
  const window = (first: number): string[] => {
    const lines = Array.from({ length: SEGMENTS }, (_, at) => ['#EXTINF:4,', `segment-${first + at}.ts`]);
    return [...headOf(first), ...lines.flat()];
  };
  const before = readLines(window(1_000));
  const heapBefore = await heapUsed();
  const playlist = readLines(window(1_003), before);
  const added = (await heapUsed()) - heapBefore;
  return (added - lengthOf(playlist)) / HLS.bytesOf(before);
}

const ratioOf = async (of: string, made: () => Playlist) => {
  made();
  const before = await heapUsed();
  const playlist = made();
  return { of, ratio: ((await heapUsed()) - before) / HLS.bytesOf(playlist) };
};
const variable = (at: number) => `#EXT-X-DEFINE:NAME="n${at}",VALUE="the value ${at} of a variable"`;
const ratios: Awaited<ReturnType<typeof ratioOf>>[] = [];
for (const [of, tags] of CASES) ratios.push(await ratioOf(of, () => read(tags)));
ratios.push(await ratioOf('variables', () => readChoice(variable)));
const slid = await readOften(5_000, 250, 40);
ratios.push({ of: 'a window that slid', ratio: slid.bytes / HLS.bytesOf(slid.playlist) });
console.log(
  JSON.stringify({
    ratios,
    textsKept: (await readOften(500, 5, 100)).texts,
    // A short window after hours of live.
    bytesOfShort: (await readOften(6, 1, 6_000)).bytes,
    addedByReload: await addedByReload(),
  }),
);
