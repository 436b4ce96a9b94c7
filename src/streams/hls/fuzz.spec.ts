import fc from 'fast-check';
import {
  PLAYLIST_URL,
  PUBLIC_BASE,
  ROOT,
  mediaPlaylists,
  multivariantPlaylists,
} from '../../../test/support/random-playlists.js';
import { type Playlist, PlaylistError, readPlaylist, readPlaylistInSlices } from './playlist.js';

/** How many mutated playlists are read; `FUZZ_RUNS=50000 npm test -- src/streams/hls/fuzz` takes some minutes. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 1_000);

const PIECES = [
  '#EXTINF:',
  '#EXT-X-ENDLIST',
  '#EXT-X-MEDIA-SEQUENCE:',
  '#EXT-X-DISCONTINUITY',
  '"',
  ',',
  '=',
  '\n',
  '\r',
  ' ',
];
const CHARACTERS = [
  'é',
  '\0',
  '\uFEFF',
  '{$x}',
  '-',
  '9'.repeat(30),
  '1e400',
  '%',
  '#',
  '../',
  'https://',
  ':',
  '@',
  '\u2028',
];

interface Mutation {
  readonly at: number;
  readonly length: number;
  readonly by: string;
}

const mutations = fc.array(
  fc.record({
    at: fc.nat(2_000),
    length: fc.oneof(fc.constant(0), fc.nat(20), fc.nat(300)),
    by: fc.oneof(fc.constantFrom(...PIECES, ...CHARACTERS, ''), fc.string({ unit: 'binary', maxLength: 5 })),
  }),
  { maxLength: 6 },
);

function mutate(text: string, changes: readonly Mutation[]): string {
  let mutated = text;
  for (const { at, length, by } of changes) {
    const from = at % (mutated.length + 1);
    mutated = mutated.slice(0, from) + by + mutated.slice(from + length);
  }
  // Without its first line it is no playlist, and nothing more is tried.
  return mutated.startsWith('#EXTM3U') ? mutated : `#EXTM3U\n${mutated}`;
}

const source = (former: Playlist | undefined) => ({
  streamId: 'film',
  url: PLAYLIST_URL,
  root: ROOT,
  ownBases: [PUBLIC_BASE],
  phaseSeconds: 10,
  variables: undefined,
  former,
  readAt: 1_000,
});

/** Everything that the service asks of a playlist has an answer, and every name in it leads somewhere. */
function check(playlist: Playlist): void {
  const written = playlist.template.write('<', '>');
  for (const [, name] of written.matchAll(/<((?:\d|a-)[^<>\s]*)>/g)) {
    if (playlist.kind === 'media') expect(playlist.find(name!) ?? playlist.assets.get(name!)).toBeDefined();
    else expect(playlist.renditions[Number.parseInt(name!)] ?? playlist.assets.get(name!)).toBeDefined();
  }
  if (playlist.kind === 'multivariant') return;
  const { stream } = playlist;
  const { phases, edge, live } = stream;
  const { oldest, start } = live ?? { oldest: 0, start: 0 };
  for (const index of [phases, edge, oldest, start]) {
    expect(Number.isSafeInteger(index)).toBe(true);
    expect(index).toBeGreaterThanOrEqual(0);
  }
  expect(phases).toBeLessThanOrEqual(edge);
  expect(oldest).toBeLessThanOrEqual(start);
  for (let index = oldest; index < Math.min(phases, oldest + 50); index++) {
    const phase = stream.phase(index);
    expect(phase.durationSeconds).toBeGreaterThan(0);
    expect(
      Number.isFinite(phase.startSeconds + phase.durationSeconds + stream.nextPhaseIn(index, 2_000)),
    ).toBe(true);
    expect(stream.landing(index)).toBeGreaterThanOrEqual(index);
    for (const segment of phase.segments) {
      expect(segment.path.startsWith('file:')).toBe(false);
      expect(Number.isFinite(segment.durationSeconds)).toBe(true);
    }
  }
  for (const [sequence] of playlist.segments) {
    expect(Number.isSafeInteger(sequence)).toBe(true);
    if (stream.segmentCount > 0) expect(stream.phaseOf(sequence)).toBeLessThan(Math.max(1, edge));
  }
}

function tryToRead(text: string, former: Playlist | undefined): Playlist | undefined {
  const began = performance.now();
  try {
    return readPlaylist(text, source(former));
  } catch (error) {
    expect(error).toBeInstanceOf(PlaylistError);
    return undefined;
  } finally {
    expect(performance.now() - began).toBeLessThan(1_000);
  }
}

describe('a playlist with mistakes in it', () => {
  it('is read or refused, and everything that is read can be had', () => {
    fc.assert(
      fc.property(
        fc.oneof({ weight: 3, arbitrary: mediaPlaylists }, { weight: 1, arbitrary: multivariantPlaylists }),
        fc.array(mutations, { minLength: 1, maxLength: 3 }),
        (text, versions) => {
          let former: Playlist | undefined;
          for (const changes of versions) {
            const playlist = tryToRead(mutate(text, changes), former);
            if (playlist) check((former = playlist));
          }
        },
      ),
      { numRuns: RUNS },
    );
  });

  it('is read alike in slices, and with or without what was read before', async () => {
    await fc.assert(
      fc.asyncProperty(mediaPlaylists, mutations, mutations, async (text, some, others) => {
        const former = tryToRead(mutate(text, some), undefined);
        const mutated = mutate(text, others);
        const fresh = tryToRead(mutated, undefined);
        const sliced = await readPlaylistInSlices(mutated, source(undefined), { monotonic: () => 0 }).catch(
          () => undefined,
        );
        expect(sliced?.template).toEqual(fresh?.template);
        const after = tryToRead(mutated, former);
        if (fresh?.kind !== 'media' || after?.kind !== 'media' || after === former) return;
        expect(after.template).toEqual(fresh.template);
        expect(after.state.listed).toEqual(fresh.state.listed);
      }),
      { numRuns: Math.min(RUNS, 1_000) },
    );
  });
});

describe('a playlist that slides', () => {
  it('is read the same from what was read before as from its beginning', () => {
    fc.assert(
      fc.property(
        mediaPlaylists,
        fc.nat(11),
        fc.array(fc.constantFrom('#EXT-X-GAP', '#EXTINF:3,', 'x.ts', 'y.ts')),
        (text, drop, tail) => {
          const lines = text.split(/\r?\n/).filter((line) => line !== '#EXT-X-ENDLIST');
          const uris = lines.flatMap((line, at) => (line.startsWith('#') || line === '' ? [] : [at]));
          const dropped = Math.min(drop, uris.length - 1);
          const cut = dropped === 0 ? 0 : uris[dropped - 1]! + 1;
          const first = Number(/MEDIA-SEQUENCE:(\d+)/.exec(text)![1]);
          const begin = ['#EXTM3U', '#EXT-X-TARGETDURATION:6', `#EXT-X-MEDIA-SEQUENCE:${first + dropped}`];
          const later = [
            ...begin,
            ...lines.slice(cut).filter((line) => !/^#EXT(M3U|-X-(TARGET|MEDIA-SEQ))/.test(line)),
            ...tail,
            '',
          ];
          const former = tryToRead(lines.join('\n'), undefined);
          const [fresh, after] = [undefined, former].map((one) => tryToRead(later.join('\n'), one));
          if (fresh?.kind !== 'media' || after?.kind !== 'media' || after === former) return;
          expect(after.template).toEqual(fresh.template);
          expect(after.state.listed).toEqual(fresh.state.listed);
        },
      ),
      { numRuns: Math.min(RUNS, 1_000) },
    );
  });
});
