import fc from 'fast-check';
import { Parser } from 'm3u8-parser';
import {
  PLAYLIST_URL,
  PUBLIC_BASE,
  ROOT,
  mediaPlaylists,
  multivariantPlaylists,
} from '../../../test/support/random-playlists.js';
import { type MediaPlaylist, type MultivariantPlaylist, type Playlist, readPlaylist } from './playlist.js';

/** Where the gate serves a playlist, and the query of the session. */
const GATE = 'https://gate.example/v1/play/film/0/index.m3u8';
const QUERY = '?session_id=tv';

const read = (text: string): Playlist =>
  readPlaylist(text, {
    streamId: 'film',
    url: PLAYLIST_URL,
    root: ROOT,
    ownBases: [PUBLIC_BASE],
    phaseSeconds: 10,
    variables: undefined,
    former: undefined,
  });

/** The text as another HLS parser reads it. */
function secondReading(text: string): InstanceType<typeof Parser>['manifest'] {
  const parser = new Parser();
  parser.push(text);
  parser.end();
  return parser.manifest;
}

/** The URL to which a URI in a playlist of the origin leads. */
function originUrl(uri: string): string {
  const { href } = new URL(uri, PLAYLIST_URL);
  const own = href.replace(PUBLIC_BASE, ROOT.href);
  return own.startsWith(ROOT.href) ? own.split('#')[0]! : href;
}

/** The URL of the origin, or of another host, to which a URI in a playlist of the gate leads. */
function servedUrl(uri: string, pathOf: (name: string) => string | undefined): string {
  const url = new URL(uri, GATE);
  if (!url.href.startsWith(new URL('.', GATE).href)) return new URL(uri).href;
  expect(url.search).toBe(QUERY);
  const path = pathOf(url.pathname.slice(new URL('.', GATE).pathname.length));
  expect(path).toBeDefined();
  return ROOT.href + path!;
}

describe('a playlist of the gate, read by another parser,', () => {
  it('leads to the same segments as that of the origin', () => {
    fc.assert(
      fc.property(mediaPlaylists, (text) => {
        const playlist = read(text) as MediaPlaylist;
        const pathOf = (name: string) => playlist.find(name)?.segment.path ?? playlist.assets.get(name);
        const [there, here] = [text, playlist.template.write('', QUERY)].map(secondReading);
        const phaseSegments = [...playlist.segments.values()];
        expect(here!.segments).toHaveLength(there!.segments.length);
        expect(phaseSegments).toHaveLength(there!.segments.length);
        expect([here!.mediaSequence, here!.endList, here!.playlistType]).toEqual([
          there!.mediaSequence,
          there!.endList,
          there!.playlistType,
        ]);
        for (const [at, origin] of there!.segments.entries()) {
          const served = here!.segments[at]!;
          expect(servedUrl(served.uri, pathOf)).toBe(originUrl(origin.uri));
          const rest = { uri: '', key: '', map: '', parts: '', preloadHints: '' };
          expect({ ...served, ...rest }).toEqual({ ...origin, ...rest });
          expect(served.key?.uri && servedUrl(served.key.uri, pathOf)).toBe(
            origin.key?.uri && originUrl(origin.key.uri),
          );
          expect(served.map?.uri && servedUrl(served.map.uri, pathOf)).toBe(
            origin.map?.uri && originUrl(origin.map.uri),
          );
          // The segment in a phase must be the same, too.
          const { path, foreign, durationSeconds, byteRange, init, key, discontinuity } = phaseSegments[at]!;
          expect(foreign ? new URL(path).href : ROOT.href + path).toBe(originUrl(origin.uri));
          expect(durationSeconds).toBe(origin.duration);
          expect(byteRange).toEqual(origin.byterange);
          expect(init?.byteRange).toEqual(origin.map?.byterange);
          expect(key?.method).toBe(origin.key?.method);
          expect(discontinuity ?? false).toBe(origin.discontinuity ?? false);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('leads to the same renditions as that of the origin', () => {
    fc.assert(
      fc.property(multivariantPlaylists, (text) => {
        const playlist = read(text) as MultivariantPlaylist;
        const pathOf = (name: string) => {
          const index = /^(\d+)\/index\.m3u8$/.exec(name)?.[1];
          const url = index === undefined ? undefined : playlist.renditions[Number(index)]?.url.href;
          return url?.slice(ROOT.href.length) ?? playlist.assets.get(name);
        };
        const [there, here] = [text, playlist.template.write('', QUERY)].map(secondReading);
        const lists = (one: typeof there) => [...(one!.playlists ?? []), ...(one!.iFramePlaylists ?? [])];
        expect(lists(here).map(({ uri }) => servedUrl(uri, pathOf))).toEqual(
          lists(there).map(({ uri }) => originUrl(uri)),
        );
        const steering = (one: typeof there) =>
          (one as { contentSteering?: { serverUri: string } }).contentSteering?.serverUri;
        expect(steering(here) && servedUrl(steering(here)!, pathOf)).toBe(
          steering(there) && originUrl(steering(there)!),
        );
      }),
      { numRuns: 300 },
    );
  });
});
