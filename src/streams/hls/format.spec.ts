import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { HLS } from './format.js';
import { type Playlist, readPlaylist } from './playlist.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const SEGMENTS = 10_000;
const ROOT = new URL('https://origin.example/vod/');

const read = (tags: (at: number) => readonly string[]): Playlist => {
  const lines = Array.from({ length: SEGMENTS }, (_, at) => [...tags(at), '#EXTINF:4,', `segment-${at}.ts`]);
  const joined = ['#EXTM3U', '#EXT-X-TARGETDURATION:4', ...lines.flat(), '#EXT-X-ENDLIST', ''].join('\n');
  // A text as the origin sends it, in one piece.
  const text = Buffer.from(joined).toString();
  const url = new URL('film/720p/index.m3u8', ROOT);
  return readPlaylist(text, {
    streamId: 'film',
    url,
    root: ROOT,
    phaseSeconds: 10,
    variables: undefined,
    former: undefined,
  });
};

const heapUsed = (): number => {
  for (let times = 0; times < 3; times++) collect();
  return process.memoryUsage().heapUsed;
};

const key = (format: string, uri: string) =>
  `#EXT-X-KEY:METHOD=SAMPLE-AES,URI="${uri}",KEYFORMAT="${format}",IV=0x${'0'.repeat(32)}`;

describe('the counted size of a playlist', () => {
  it.each<[of: string, tags: (at: number) => readonly string[]]>([
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
        at === 0
          ? ['#EXT-X-MEDIA-SEQUENCE:18446744073709551615', '#EXT-X-KEY:METHOD=AES-128,URI="1.key"']
          : [],
    ],
  ])('is about that on the heap, with %s', (_, tags) => {
    read(tags);
    const before = heapUsed();
    const playlist = read(tags);
    const taken = heapUsed() - before;
    const counted = HLS.bytesOf(playlist);
    expect(taken / counted).toBeGreaterThan(0.4);
    expect(taken / counted).toBeLessThan(1.4);
  });
});

it('keeps nothing of the texts of a live playlist that were read before', () => {
  const [WINDOW, STEP, READS] = [500, 5, 100];
  const textOf = (first: number): string => {
    const lines = Array.from({ length: WINDOW }, (_, index) => {
      const at = first + index;
      const uri = at % 2 === 0 ? `segment-${at}.ts` : `https://ads.example/${at}/${'a'.repeat(60)}.ts`;
      return [...(at % 10 === 0 ? [key('com.example', `skd://keys.example/${at}`)] : []), '#EXTINF:4,', uri];
    });
    const head = ['#EXTM3U', '#EXT-X-TARGETDURATION:4', `#EXT-X-MEDIA-SEQUENCE:${first}`];
    return Buffer.from([...head, ...lines.flat(), ''].join('\n')).toString();
  };
  const readLive = (first: number, former?: Playlist): Playlist =>
    readPlaylist(textOf(first), {
      streamId: 'film',
      url: new URL('live/index.m3u8', ROOT),
      root: ROOT,
      phaseSeconds: 10,
      variables: undefined,
      former: former?.kind === 'media' ? former : undefined,
    });
  const before = heapUsed();
  let playlist = readLive(0);
  for (let at = 1; at <= READS; at++) playlist = readLive(at * STEP, playlist);
  const grown = heapUsed() - before;
  // Each text that was kept would be one of a hundred.
  expect(grown / textOf(0).length).toBeLessThan(60);
  expect(playlist.kind).toBe('media');
});
