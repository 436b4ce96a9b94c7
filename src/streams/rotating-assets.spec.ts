import { type MediaPlaylist, readPlaylist } from './hls/playlist.js';

const SEGMENTS = 6;
const ROOT = new URL('https://origin.example/live/');

/** A live playlist with a new key for every segment, as encoders with key rotation write it. */
function rotatingPlaylist(first: number): string {
  const lines = ['#EXTM3U', '#EXT-X-TARGETDURATION:2', `#EXT-X-MEDIA-SEQUENCE:${first}`];
  for (let at = first; at < first + SEGMENTS; at++)
    lines.push(`#EXT-X-KEY:METHOD=AES-128,URI="key-${at}.bin"`, '#EXTINF:2,', `${at}.ts`);
  return [...lines, ''].join('\n');
}

function read(first: number, former: MediaPlaylist | undefined): MediaPlaylist {
  const playlist = readPlaylist(rotatingPlaylist(first), {
    streamId: 'news',
    url: new URL('news/index.m3u8', ROOT),
    root: ROOT,
    phaseSeconds: 10,
    variables: undefined,
    former,
  });
  if (playlist.kind !== 'media') throw new Error('not a media playlist');
  return playlist;
}

describe('a live playlist whose keys rotate', () => {
  it('keeps keys that have just left the window, and never more than twice as many as it lists', () => {
    let playlist = read(0, undefined);
    let assets = playlist.assets.size;
    expect(assets).toBe(SEGMENTS);
    for (let first = 1; first <= 200; first++) {
      playlist = read(first, playlist);
      assets = Math.max(assets, playlist.assets.size);
    }
    expect(assets).toBeGreaterThan(SEGMENTS);
    expect(assets).toBeLessThanOrEqual(2 * SEGMENTS);
    const paths = [...playlist.assets.values()].map(({ path }) => path);
    // All listed keys, and the key before them, which a player at the end of the window may still request.
    for (let at = 199; at < 200 + SEGMENTS; at++) expect(paths).toContain(`news/key-${at}.bin`);
  });
});
