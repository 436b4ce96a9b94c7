import fc from 'fast-check';
import { LongText } from '../../http/long-texts.js';
import {
  PLAYLIST_URL,
  PUBLIC_BASE,
  ROOT,
  mediaPlaylists,
  multivariantPlaylists,
} from '../../../test/support/random-playlists.js';
import {
  type MediaPlaylist,
  type Playlist,
  PlaylistError,
  readPlaylist,
  readPlaylistInSlices,
} from './playlist.js';

/** The number of histories of mutated playlists. `npm run fuzz` takes 50,000, and some minutes. */
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
  // A text without this first line would be refused at once.
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

/** The faults of a parsed playlist: impossible numbers, and names that lead nowhere. */
function faultsOf(playlist: Playlist): string[] {
  const names = [...playlist.template.write('<', '>').matchAll(/<((?:\d|a-)[^<>\s]*)>/g)].map(
    ([, name]) => name!,
  );
  const dead = names.filter((name) => {
    if (playlist.assets.has(name)) return false;
    return playlist.kind === 'media'
      ? playlist.find(name) === undefined
      : playlist.renditions[Number.parseInt(name)] === undefined;
  });
  return [...dead, ...(playlist.kind === 'media' ? faultsOfStream(playlist) : [])];
}

function faultsOfStream({ stream, segments }: MediaPlaylist): string[] {
  const faults: string[] = [];
  const must = (holds: boolean, what: string): void => {
    if (!holds) faults.push(what);
  };
  const { phases, edge, live } = stream;
  const { oldest, start } = live ?? { oldest: 0, start: 0 };
  for (const index of [phases, edge, oldest, start])
    must(Number.isSafeInteger(index) && index >= 0, `a number of a phase is ${index}`);
  must(phases <= edge, 'a phase is beyond the edge');
  must(oldest <= start, 'a newcomer begins before the oldest phase');
  for (let index = oldest; index < Math.min(phases, oldest + 50); index++) {
    const phase = stream.phase(index);
    must(phase.durationSeconds > 0, 'a phase has no duration');
    must(
      Number.isFinite(phase.startSeconds + phase.durationSeconds + stream.nextPhaseIn(index, 2_000)),
      'a time is infinite',
    );
    must(stream.landing(index) >= index, 'a client is sent back');
    for (const { path, durationSeconds } of phase.segments) {
      must(!path.startsWith('file:'), 'a file of this machine is shown');
      must(Number.isFinite(durationSeconds), 'a duration is infinite');
    }
  }
  for (const [sequence] of segments) {
    must(Number.isSafeInteger(sequence), 'a sequence number is not counted');
    must(stream.phaseOf(sequence) < Math.max(1, edge), 'a segment is beyond the edge');
  }
  return faults;
}

/** Returns undefined if the text is refused. Any other error fails the test. */
function tryToRead(text: string, former: Playlist | undefined): Playlist | undefined {
  const began = process.threadCpuUsage();
  try {
    return readPlaylist(text, source(former));
  } catch (error) {
    if (error instanceof PlaylistError) return undefined;
    throw error;
  } finally {
    const { user, system } = process.threadCpuUsage(began);
    longestMs = Math.max(longestMs, (user + system) / 1_000);
  }
}

/** The longest CPU time of a call, because the elapsed time would depend on the load of the machine. */
let longestMs = 0;

/** The part of a playlist that must be the same each time that a text is read. */
const contentOf = (playlist: Playlist | undefined) =>
  playlist && {
    text: playlist.template.text.toString(),
    cuts: [...playlist.template.cuts],
    listed: playlist.kind === 'media' ? listedOf(playlist) : undefined,
  };

function listedOf({ state: { listed } }: MediaPlaylist) {
  const { segments, ...rest } = listed;
  const { starts, dates, discontinuities, ends, cuts } = segments;
  return {
    ...rest,
    segments: [...segments],
    columns: [starts, dates, discontinuities, ends, cuts].map((column) => [...column]),
    contexts: Array.from(segments, (_, index) => segments.contextOf(index)),
    sizes: [segments.addressLength, segments.contextParts, segments.endMicros, segments.hasOwn],
  };
}

describe('a playlist with mistakes', () => {
  it('is accepted without faults, or refused', () => {
    fc.assert(
      fc.property(
        fc.oneof({ weight: 3, arbitrary: mediaPlaylists }, { weight: 1, arbitrary: multivariantPlaylists }),
        fc.array(mutations, { minLength: 1, maxLength: 3 }),
        (text, versions) => {
          let former: Playlist | undefined;
          for (const changes of versions) {
            former = tryToRead(mutate(text, changes), former) ?? former;
            expect(former ? faultsOf(former) : []).toEqual([]);
          }
        },
      ),
      { numRuns: RUNS },
    );
    expect(longestMs).toBeLessThan(1_000);
  });

  it('is accepted without faults, or refused, whatever variables its variables have', () => {
    const names = fc.constantFrom('x', 'y', 'z');
    const values = fc.array(
      fc.oneof(
        names.map((name) => `{$${name}}`),
        fc.constantFrom('a', '/', '#', '?'),
      ),
    );
    const lines = fc.oneof(
      fc
        .tuple(names, values)
        .map(([name, value]) => `#EXT-X-DEFINE:NAME="${name}",VALUE="${value.join('')}"`),
      values.map((value) => `#EXTINF:4,\n{$x}${value.join('')}.ts`),
      values.map((value) => `#EXT-X-KEY:METHOD=AES-128,URI="${value.join('')}",KEYFORMAT="{$y}"`),
    );
    fc.assert(
      fc.property(fc.array(lines, { minLength: 1, maxLength: 200, size: 'max' }), (some) => {
        const defined = ['x', 'y', 'z'].map((name) => `#EXT-X-DEFINE:NAME="${name}",VALUE="${name}"`);
        const playlist = tryToRead(
          ['#EXTM3U', ...defined, ...some, '#EXTINF:4,', 'a.ts'].join('\n'),
          undefined,
        );
        expect(playlist ? faultsOf(playlist) : []).toEqual([]);
      }),
      { numRuns: RUNS / 10 },
    );
    expect(longestMs).toBeLessThan(1_000);
  });

  it('is read the same in slices, and with or without the former playlist', async () => {
    await fc.assert(
      fc.asyncProperty(mediaPlaylists, mutations, mutations, async (text, some, others) => {
        const former = tryToRead(mutate(text, some), undefined);
        const mutated = mutate(text, others);
        const fresh = tryToRead(mutated, undefined);
        // As the text of an origin, in pieces.
        const pieces = new LongText(mutated.split(/(?<=\n)/));
        const sliced = await readPlaylistInSlices(pieces, source(undefined), { monotonic: () => 0 }).catch(
          () => undefined,
        );
        expect(contentOf(sliced)).toEqual(contentOf(fresh));
        const after = tryToRead(mutated, former);
        // Two exceptions: an older text is ignored, and a known live stream may list only segments of other hosts.
        const compared = fresh && after !== former ? after : fresh;
        expect(contentOf(compared)).toEqual(contentOf(fresh));
      }),
      { numRuns: RUNS },
    );
  });
});

describe('a sliding playlist', () => {
  it('is read the same with and without the former playlist', () => {
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
          expect(contentOf(fresh && after !== former ? after : fresh)).toEqual(contentOf(fresh));
        },
      ),
      { numRuns: RUNS },
    );
  });
});
