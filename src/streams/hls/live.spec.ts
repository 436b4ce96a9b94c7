import fc from 'fast-check';
import { type Segment, nextRequestIn } from '../phases.js';
import { type MediaPlaylist, type PlaylistSource, readPlaylist } from './playlist.js';

const ROOT = new URL('https://origin.example/live/');
const START = Date.UTC(2026, 0, 1);

interface Listing {
  readonly first: number;
  /** The duration of each segment, in seconds. */
  readonly durations: readonly number[];
  readonly target?: number;
  readonly head?: readonly string[];
  /** The lines before the segment at this position. */
  readonly before?: (at: number) => readonly string[];
  readonly name?: (sequence: number) => string;
  readonly ended?: boolean;
}

function text({
  first,
  durations,
  target = 4,
  head = [],
  before = () => [],
  name = (n) => `s${n}.ts`,
  ended,
}: Listing): string {
  const lines = durations.flatMap((duration, at) => [
    ...before(at),
    `#EXTINF:${duration},`,
    name(first + at),
  ]);
  const begin = ['#EXTM3U', `#EXT-X-TARGETDURATION:${target}`, `#EXT-X-MEDIA-SEQUENCE:${first}`, ...head];
  return [...begin, ...lines, ...(ended ? ['#EXT-X-ENDLIST'] : []), ''].join('\n');
}

function read(listing: Listing, former?: MediaPlaylist, more: Partial<PlaylistSource> = {}): MediaPlaylist {
  return readPlaylist(text(listing), {
    streamId: 'news',
    url: new URL('news/index.m3u8', ROOT),
    root: ROOT,
    phaseSeconds: 10,
    variables: undefined,
    former,
    ...more,
  }) as MediaPlaylist;
}

const equal = (count: number, seconds: number): number[] => Array.from({ length: count }, () => seconds);
const dateLine = (seconds: number): string =>
  `#EXT-X-PROGRAM-DATE-TIME:${new Date(START + Math.round(seconds * 1_000)).toISOString()}`;
/** A window of a programme that started at START, with a date for each segment. */
const dated = (first: number, count: number, seconds: number, more: Partial<Listing> = {}): Listing => ({
  first,
  durations: equal(count, seconds),
  before: (at) => [dateLine((first + at) * seconds)],
  ...more,
});
const files = (segments: readonly Segment[]): string[] => segments.map(({ path }) => path.split('/').at(-1)!);
const phasesOf = ({ stream }: MediaPlaylist): Map<number, string[]> => {
  const all = new Map<number, string[]>();
  for (let index = stream.live?.oldest ?? 0; index < stream.phases; index++)
    all.set(index, files(stream.phase(index).segments));
  return all;
};

describe('a live stream without dates', () => {
  it('has phases by media sequence number and target duration', () => {
    const { stream } = read({ first: 13, durations: equal(6, 4) });
    // 13 starts at 52 s, 15 at 60 s, 18 at 72 s.
    expect([13, 14, 15, 16, 17, 18].map((sequence) => stream.phaseOf(sequence))).toEqual([5, 5, 6, 6, 6, 7]);
    expect(stream).toMatchObject({ kind: 'live', phases: 7, edge: 8, live: { oldest: 5, start: 6 } });
    expect(stream.phase(6)).toMatchObject({ startSeconds: 60, durationSeconds: 10, last: false });
    expect(files(stream.phase(6).segments)).toEqual(['s15.ts', 's16.ts', 's17.ts']);
  });

  it('has the same phases in every instance, for any windows that the instance has read', () => {
    fc.assert(
      fc.property(
        fc.nat(1_000_000).map((first) => first + 1),
        fc.array(fc.integer({ min: 1, max: 4_000 }), { minLength: 40, maxLength: 40 }),
        fc.array(fc.nat(20), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 2, max: 15 }),
        (first, millis, reads, phaseSeconds) => {
          const window = (at: number): Listing => ({
            first: first + at,
            durations: millis.slice(at, at + 20).map((ms) => ms / 1_000),
          });
          let instance: MediaPlaylist | undefined;
          for (const at of [...reads, 20].toSorted((a, b) => a - b))
            instance = read(window(at), instance, { phaseSeconds });
          const fresh = phasesOf(read(window(20), undefined, { phaseSeconds }));
          const seasoned = phasesOf(instance!);
          const all = [...fresh.keys()];
          expect(all.map((index) => seasoned.get(index))).toEqual(all.map((index) => fresh.get(index)));
        },
      ),
    );
  });

  it('may have sequence numbers from a clock, even above 2^53', () => {
    for (const first of [
      '1764448000',
      '20261129204600',
      '1764448000000000',
      '9007199254740991',
      '18446744073709551615',
    ]) {
      const lines = ['#EXTM3U', '#EXT-X-TARGETDURATION:4', `#EXT-X-MEDIA-SEQUENCE:${first}`];
      const segments = Array.from({ length: 8 }, (_, at) => ['#EXTINF:4,', `${at}.ts`]).flat();
      for (const phaseSeconds of [0.2, 10]) {
        const playlist = readPlaylist([...lines, ...segments, ''].join('\n'), {
          streamId: 'news',
          url: new URL('news/index.m3u8', ROOT),
          root: ROOT,
          phaseSeconds,
          variables: undefined,
          former: undefined,
        }) as MediaPlaylist;
        const { oldest, start } = playlist.stream.live!;
        for (const index of [oldest, start, playlist.stream.phases, playlist.stream.edge])
          expect(Number.isSafeInteger(index)).toBe(true);
        expect(playlist.stream.phase(start).segments.length).toBeGreaterThan(0);
        const names = playlist.template.write('', '').match(/^\d+-.*/gm)!;
        expect(names.map((name) => files([playlist.find(name)!.segment])[0])).toEqual(
          Array.from({ length: 8 }, (_, at) => `${at}.ts`),
        );
      }
    }
  });

  it('continues after an overflow of the counter', () => {
    const before = read({ first: 2_147_483_640, durations: equal(6, 4) });
    const after = read({ first: -2_147_483_648 + 2, durations: equal(6, 4) }, before);
    expect(after.stream.phases).toBeGreaterThan(before.stream.phases);
    expect(after.find('2147483650.ts')?.segment.sequence).toBe(2_147_483_650);
  });

  it('keeps its phases when its target duration changes', () => {
    const before = read({ first: 100, durations: equal(10, 4) });
    const after = read({ first: 104, durations: [...equal(6, 4), ...equal(4, 5.8)], target: 6 }, before);
    const [known, now] = [before, after].map(phasesOf);
    const both = [...now!.keys()].filter((index) => known!.has(index));
    expect(both.length).toBeGreaterThan(1);
    expect(both.map((index) => now!.get(index))).toEqual(both.map((index) => known!.get(index)));
    expect(after.stream.phases).toBeGreaterThan(before.stream.phases);
    expect(after.stream.phases).toBeLessThan(before.stream.phases + 3);
  });

  it('has no phase numbers twice if the encoder counts from the beginning again', () => {
    const name = (run: string) => (n: number) => `${run}${n}.ts`;
    const before = read({ first: 1_419, durations: equal(6, 4), name: name('a') });
    const after = read({ first: 2, durations: equal(6, 4), name: name('b') }, before);
    const later = read({ first: 0, durations: equal(9, 4), name: name('c') }, after);
    const played = [...phasesOf(later).values()].flat();
    expect(after.stream.live!.oldest).toBeGreaterThanOrEqual(before.stream.live!.oldest);
    expect(later.stream.phases).toBeGreaterThan(after.stream.phases);
    expect(played).toEqual([...new Set(played)]);
    expect(played.filter((one) => one.startsWith('b'))).toEqual(
      ['b2', 'b3', 'b4', 'b5', 'b6', 'b7'].map((n) => `${n}.ts`),
    );
  });

  it('starts at phase 0 if it is numbered from 0, and becomes a film when it ends', () => {
    const growing = read({ first: 0, durations: equal(8, 3) });
    expect(growing.stream).toMatchObject({ kind: 'live', phases: 2, edge: 3, live: { oldest: 0, start: 1 } });
    const ended = read({ first: 0, durations: equal(8, 3), ended: true }, growing);
    const unseen = read({ first: 0, durations: equal(8, 3), ended: true });
    for (const { stream } of [ended, unseen])
      expect(stream).toMatchObject({ kind: 'vod', phases: 3, durationSeconds: 24, live: undefined });
    expect(files(ended.stream.phase(1).segments)).toEqual(files(growing.stream.phase(1).segments));
  });

  it('has no phases before its first segment, and continues after a time without segments', () => {
    const empty = read({ first: 0, durations: [] });
    expect(empty.stream).toMatchObject({ kind: 'live', phases: 0, ended: false, segmentCount: 0 });
    const before = read({ first: 100, durations: equal(8, 4) });
    const away = read({ first: 100, durations: [] }, before);
    expect(phasesOf(away)).toEqual(phasesOf(before));
    expect(read({ first: 108, durations: equal(8, 4) }, away).stream.phases).toBeGreaterThan(
      before.stream.phases,
    );
  });

  it('gives a new viewer an empty phase with the time to wait if no phase is complete yet', () => {
    const { stream } = read({ first: 100, durations: equal(3, 1), target: 1 }, undefined, { readAt: 1_000 });
    expect(stream).toMatchObject({ phases: 10, edge: 11, live: { oldest: 9, start: 9 } });
    expect(stream.phase(9)).toMatchObject({ segments: [], last: false });
    expect(stream.nextPhaseIn(9, 1_000)).toBe(7.5);
    expect(stream.nextPhaseIn(9, 4_000)).toBe(4.5);
  });
});

describe('a live stream that is written anew each time', () => {
  it.each<[string, firstOf: (at: number) => number]>([
    ['without a media sequence', () => 0],
    ['with the same media sequence each time', () => 77],
    ['with other numbers for the same media', (at) => (at < 8 ? 500 + at : 20 + at)],
  ])('has each segment in one phase: %s', (_, firstOf) => {
    const all = new Map<number, string>();
    let former: MediaPlaylist | undefined;
    for (let at = 0; at < 20; at++) {
      const first = firstOf(at);
      former = read({ first, durations: equal(6, 4), name: (n) => `s${n - first + at}.ts` }, former);
      for (const [index, found] of phasesOf(former)) all.set(index, all.get(index) ?? found.join());
      const names = former.template.write('', '').match(/^\d+-\w+\.ts$/gm)!;
      expect(files(names.map((name) => former!.find(name)!.segment))).toEqual(
        Array.from({ length: 6 }, (__, behind) => `s${at + behind}.ts`),
      );
    }
    const segments = [...all.values()].join().split(',');
    expect(segments).toEqual(segments.map((__, at) => `s${Number.parseInt(segments[0]!.slice(1)) + at}.ts`));
    expect(segments.length).toBeGreaterThan(12);
  });

  it.each<[string, copies: readonly number[], firstOf: (at: number) => number]>([
    ['without a media sequence, read before or not', [7, 6, 5, 4], () => 0],
    ['with other numbers', [6, 4], (at) => (at < 8 ? 500 + at : 20 + at)],
  ])('has nothing new in an older copy of a window: %s', (_, copies, firstOf) => {
    const window = (at: number): Listing => ({
      first: firstOf(at),
      durations: equal(6, 4),
      name: (n) => `s${n - firstOf(at) + at}.ts`,
    });
    let former: MediaPlaylist | undefined;
    for (const at of [4, 6, 8]) former = read(window(at), former);
    for (const at of copies) expect(read(window(at), former) === former).toBe(true);
    const played = [...phasesOf(read(window(12), former)).values()].flat();
    expect(played).toEqual(played.map((__, at) => `s${Number.parseInt(played[0]!.slice(1)) + at}.ts`));
    expect(played).toContain('s16.ts');
  });

  it('is other media if it went on for a whole loop of the same files', () => {
    const looped = (first: number): Listing => ({
      first,
      durations: equal(6, 4),
      name: (n) => `s${n % 10}.ts`,
    });
    const { stream } = read(looped(120), read(looped(100)));
    expect(stream.phaseOf(120)).toBe(48);
    expect(files(stream.phase(49).segments)).toEqual(['s3.ts', 's4.ts']);
  });

  it('has the newest token of each segment', () => {
    const listing = (first: number): Listing => ({
      first,
      durations: equal(8, 4),
      name: (n) => `s${n}.ts?token=${first}`,
    });
    const playlist = read(listing(101), read(listing(100)));
    const name = /^105-\w+\.ts$/m.exec(playlist.template.write('', ''))![0];
    expect(files([playlist.find(name)!.segment])).toEqual(['s105.ts?token=101']);
    const { segments } = playlist.stream.phase(playlist.find(name)!.phase);
    expect(files(segments)).toEqual([105, 106, 107].map((n) => `s${n}.ts?token=101`));
    // What left the window has the last one that was seen.
    expect(files([playlist.find(name.replace('105', '100'))!.segment])).toEqual(['s100.ts?token=100']);
  });

  it('may list more from before', () => {
    const playlist = read(
      { first: 100, durations: equal(8, 4) },
      read({ first: 105, durations: equal(2, 4) }),
    );
    for (const name of playlist.template.write('', '').match(/^\d+-\w+\.ts$/gm)!)
      expect(playlist.find(name)!.segment.sequence).toBe(Number.parseInt(name));
  });
});

describe('a live stream with a key for each segment', () => {
  const window = (first: number): Listing => ({
    first,
    durations: equal(6, 4),
    head: ['#EXT-X-MAP:URI="init.mp4"'],
    before: (at) => [`#EXT-X-KEY:METHOD=AES-128,URI="k${first + at}"`],
  });

  it('remembers the keys that left its window last, and what it names throughout', () => {
    let playlist = read(window(100));
    for (let first = 101; first <= 140; first++) {
      playlist = read(window(first), playlist);
      const names = new Set([...playlist.assets.values()].map(({ path }) => path.split('/').at(-1)!));
      const left = [1, 2].map((ago) => first - ago).filter((key) => key >= 100);
      const listed = equal(6, 0).map((_, at) => first + at);
      const wanted = ['init.mp4', ...[...left, ...listed].map((key) => `k${key}`)];
      expect([first, wanted.filter((name) => !names.has(name))]).toEqual([first, []]);
    }
    expect(playlist.assets.size).toBeLessThanOrEqual(14);
  });
});

describe('a live stream that ends', () => {
  it('keeps the numbers of its phases if it has slid, even in an instance that reads it only now', () => {
    const end: Listing = { first: 13, durations: equal(6, 4), ended: true };
    const streams = [read(end), read(end, read({ first: 12, durations: equal(6, 4) }))].map(
      ({ stream }) => stream,
    );
    for (const stream of streams) {
      expect(stream).toMatchObject({ kind: 'live', ended: true, phases: 8, live: { start: 5 } });
      expect(stream.phase(7)).toMatchObject({ last: true });
      expect(stream.phase(6)).toMatchObject({ last: false });
      expect([5, 6, 7].map((index) => files(stream.phase(index).segments))).toEqual([
        expect.arrayContaining(['s13.ts', 's14.ts']),
        ['s15.ts', 's16.ts', 's17.ts'],
        ['s18.ts'],
      ]);
      expect(stream.nextPhaseIn(7, 5_000)).toBe(0);
    }
  });

  it('has its last segments for a while if its playlist is emptied, and no phase for an instance that reads it only now', () => {
    const live = read({ first: 100, durations: equal(6, 4) });
    const empty: Listing = { first: 106, durations: [], ended: true };
    const playlist = read(empty, live);
    const { stream } = playlist;
    expect(stream.ended).toBe(true);
    expect(stream.phase(stream.phases - 1)).toMatchObject({ last: true, segments: [{ sequence: 105 }] });
    expect(playlist.find(/^105-\w+\.ts$/m.exec(live.template.write('', ''))![0])?.phase).toBe(
      stream.phases - 1,
    );
    expect(read(empty).stream).toMatchObject({ kind: 'live', phases: 0, ended: true });
  });

  it('becomes a film if its type is VOD or EVENT, for any first sequence number', () => {
    for (const type of ['VOD', 'EVENT'])
      for (const first of [0, 1, 17, 1_764_448_000]) {
        const head = [`#EXT-X-PLAYLIST-TYPE:${type}`];
        const { stream } = read({ first, durations: equal(6, 4), head, ended: true });
        expect(stream).toMatchObject({ kind: 'vod', phases: 3, durationSeconds: 24, live: undefined });
        expect(files(stream.phase(0).segments)[0]).toBe(`s${first}.ts`);
      }
    expect(read({ first: 1, durations: equal(6, 4), ended: true }).stream.kind).toBe('vod');
  });

  it('still accepts the phase numbers that it had while it was live', () => {
    const live = read(dated(0, 9, 4));
    const { stream } = read(dated(0, 9, 4, { ended: true }), live);
    expect(stream).toMatchObject({ kind: 'vod', phases: 4 });
    expect(stream.landing(live.stream.phases)).toBe(3);
    expect(stream.landing(2)).toBe(2);
    expect(stream.landing(live.stream.phases + 100)).toBe(live.stream.phases + 100);
  });
});

describe('a live stream with dates', () => {
  it('has the same phases in renditions with other segment durations', () => {
    const video = read(dated(1_180, 20, 3.84));
    const audio = read(dated(1_122, 20, 4.032));
    const { start } = video.stream.live!;
    expect(audio.stream.live!.start).toBe(start);
    const seconds = (segments: readonly Segment[], each: number) =>
      segments.map(({ sequence }) => sequence! * each);
    const from = start * 10 - START / 1_000;
    for (const second of [
      ...seconds(video.stream.phase(start).segments, 3.84),
      ...seconds(audio.stream.phase(start).segments, 4.032),
    ]) {
      expect(second).toBeGreaterThanOrEqual(from);
      expect(second).toBeLessThan(from + 10);
    }
  });

  it('has the same phases in every instance, for any windows and sequence numbers', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 100, max: 6_000 }), { minLength: 40, maxLength: 40 }),
        fc.array(fc.nat(20), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 2, max: 15 }),
        fc.nat(39),
        (millis, reads, phaseSeconds, reset) => {
          const starts = millis.map((_, at) => millis.slice(0, at).reduce((sum, ms) => sum + ms, 0) / 1_000);
          // The encoder starts to count from 0 in the middle, and lists only later segments.
          const window = (at: number): Listing => {
            const from = at < reset && reset < at + 20 ? reset : at;
            return {
              first: from >= reset ? from - reset : from + 500,
              durations: millis.slice(from, at + 20).map((ms) => ms / 1_000),
              name: (n) => `s${from >= reset ? n + reset : n - 500}.ts`,
              before: (position) => [dateLine(starts[from + position]!)],
            };
          };
          let instance: MediaPlaylist | undefined;
          for (const at of [...reads, 20].toSorted((a, b) => a - b))
            instance = read(window(at), instance, { phaseSeconds });
          const fresh = phasesOf(read(window(20), undefined, { phaseSeconds }));
          const seasoned = phasesOf(instance!);
          // The first phase may be incomplete.
          const whole = [...fresh.keys()].slice(1);
          expect(whole.map((index) => seasoned.get(index))).toEqual(whole.map((index) => fresh.get(index)));
        },
      ),
    );
  });

  it('has no phase numbers twice if its clock is set back, and follows the clock again later', () => {
    const before = read(dated(100, 10, 4));
    const late = (first: number, seconds: number): Listing => ({
      first,
      durations: equal(10, 4),
      before: (at) => [dateLine((first + at) * 4 + (first + at >= 110 ? seconds : 0))],
    });
    const back = read(late(104, -3_600), before);
    const played = [...phasesOf(back).values()].flat();
    expect(back.stream.phases).toBeGreaterThan(before.stream.phases);
    expect(played).toEqual([...new Set(played)]);
    const mended = read(dated(120, 10, 4), back);
    expect(mended.stream.live!.start).toBe(read(dated(120, 10, 4)).stream.live!.start);
  });

  it('skips the time of an outage of the encoder, and sends clients to the next phase', () => {
    const away = 3_600;
    const listing: Listing = {
      first: 100,
      durations: equal(12, 4),
      before: (at) => [
        ...(at === 5 ? ['#EXT-X-DISCONTINUITY'] : []),
        dateLine((100 + at) * 4 + (at < 5 ? 0 : away)),
      ],
    };
    const { stream } = read(listing);
    const [last, next] = [stream.phaseOf(104), stream.phaseOf(105)];
    expect(next - last).toBeGreaterThan(300);
    expect(files(stream.phase(last).segments)).toContain('s104.ts');
    expect(stream.landing(last)).toBe(last);
    expect(stream.landing(last + 2)).toBe(next);
    expect(stream.landing(stream.phases)).toBe(stream.phases);
    expect(stream.phase(last + 2)).toMatchObject({ segments: [], durationSeconds: 0.001 });
  });

  it('computes the dates of segments without a date from the other segments', () => {
    const some: Listing = { ...dated(100, 12, 4), before: (at) => (at === 3 ? [dateLine(103 * 4)] : []) };
    expect(phasesOf(read(some))).toEqual(phasesOf(read(dated(100, 12, 4))));
    const none: Listing = { first: 104, durations: equal(12, 4) };
    expect(read(none, read(some)).stream.phases).toBe(read(dated(104, 12, 4)).stream.phases);
  });

  it('reads dates in the forms of ISO 8601 that packagers write', () => {
    const forms = ['Z', '+00:00', '+0000', '+00', ''].map((zone) => `2026-01-01T00:00:08.500${zone}`);
    for (const date of [
      ...forms,
      '2026-01-01T00:00:08,5Z',
      '2026-01-01 01:00:08.5+01',
      '2025-12-31T19:30:08.5-0430',
    ]) {
      const { segments } = read({
        first: 100,
        durations: [4],
        before: () => [`#EXT-X-PROGRAM-DATE-TIME:${date}`],
      });
      expect(segments.get(100)?.programDateTime).toBe('2026-01-01T00:00:08.500Z');
    }
  });

  it('ignores a date that is the same for every segment', () => {
    const { stream } = read({ first: 100, durations: equal(10, 4), before: () => [dateLine(0)] });
    expect(stream.phaseOf(105)).toBe(42);
    expect(files(stream.phase(42).segments)).toEqual(['s105.ts', 's106.ts', 's107.ts']);
  });

  it('has the same phases in every instance if the date is the same for every segment', () => {
    // The first of the listed segments, and how many are listed.
    type Window = readonly [first: number, count: number];
    const growing = (first: number): Window[] => Array.from({ length: 11 }, (_, at) => [first, at + 1]);
    const single = Array.from({ length: 11 }, (_, at): Window => [100 + at, 1]);
    const leap: Window[] = [
      [100, 1],
      [101, 11],
    ];
    for (const windows of [growing(0), growing(100), single, leap]) {
      let instance: MediaPlaylist | undefined;
      for (const [first, count] of windows)
        instance = read({ first, durations: equal(count, 4), before: () => [dateLine(0)] }, instance);
      const [first, end] = [windows[0]![0], windows.at(-1)!.reduce((one, other) => one + other)];
      const late = read({ first, durations: equal(end - first, 4), before: () => [dateLine(0)] });
      expect([windows, instance!.stream.phases]).toEqual([windows, late.stream.phases]);
      const known = phasesOf(late);
      for (const [index, found] of [...phasesOf(instance!)].slice(1)) expect(found).toEqual(known.get(index));
    }
  });

  it('keeps its axis if an encoder begins again with another date for every segment', () => {
    const run = (count: number, name: string, seconds: number): Listing => ({
      first: 0,
      durations: equal(count, 4),
      before: () => [dateLine(seconds)],
      name: (n) => `${name}${n}.ts`,
    });
    let playlist = read(run(11, 'a', 0));
    for (let count = 1; count <= 6; count++) playlist = read(run(count, 'b', 3_600), playlist);
    expect(playlist.stream.phases).toBeGreaterThan(4);
    expect(playlist.stream.phases).toBeLessThan(9);
  });

  it('never goes back if the date stays the same from some segment on', () => {
    let former = read(dated(100, 6, 4));
    for (let first = 101; first < 120; first++) {
      const before = (at: number) => [dateLine(Math.min(first + at, 106) * 4)];
      const playlist = read({ first, durations: equal(6, 4), before }, former);
      expect(playlist.stream.phases).toBeGreaterThanOrEqual(former.stream.phases);
      former = playlist;
    }
  });

  it('ignores invalid dates', () => {
    for (const date of ['yesterday', '1969-12-31T23:59:59Z', '9999-01-01T00:00:00Z', ''])
      expect(
        read({ first: 100, durations: equal(8, 4), before: () => [`#EXT-X-PROGRAM-DATE-TIME:${date}`] })
          .stream.phases,
      ).toBe(43);
  });
});

describe('a rendition without dates', () => {
  const reference = read({ first: 1_180, durations: equal(20, 3.84) });

  it('uses the clock of the first rendition, with the ends of both windows aligned', () => {
    const { stream } = read({ first: 500, durations: equal(19, 4.032) }, undefined, { reference });
    const video = reference.stream;
    const { start } = video.live!;
    expect(stream.live!.start).toBe(start);
    // In seconds before the end of each window.
    const from = (segments: readonly Segment[], end: number, each: number) =>
      (end - segments[0]!.sequence!) * each;
    const behind = [
      from(video.phase(start).segments, 1_200, 3.84),
      from(stream.phase(start).segments, 519, 4.032),
    ];
    expect(Math.abs(behind[0]! - behind[1]!)).toBeLessThan(4.1);
  });

  it('is aligned exactly if both windows contain the same discontinuity', () => {
    const marked = (first: number, seconds: number, count: number, mark: number): Listing => ({
      first,
      durations: equal(count, seconds),
      head: ['#EXT-X-DISCONTINUITY-SEQUENCE:7'],
      before: (at) => (at === mark ? ['#EXT-X-DISCONTINUITY'] : []),
    });
    const video = read(marked(1_180, 4, 20, 10));
    const audio = read(marked(500, 2, 40, 26), undefined, { reference: video });
    expect(audio.find('526.ts')!.phase).toBe(video.find('1190.ts')!.phase);
    for (let at = 0; at < 7; at++)
      expect(audio.find(`${526 + 2 * at}.ts`)!.phase).toBe(video.find(`${1_190 + at}.ts`)!.phase);
  });
});

describe('renditions that differ in dates and numbers', () => {
  const dates = { before: (at: number) => [dateLine(404 + 4 * at)] };
  const event = { head: ['#EXT-X-PLAYLIST-TYPE:EVENT'] };
  const ended = { ended: true };

  // Both have the same ten segments of 4 s. The first rendition decides how the stream is cut.
  it.each<[string, first: Partial<Listing>, other: Partial<Listing>]>([
    ['dates in the first only', { first: 101, ...dates }, { first: 101 }],
    ['dates in the other only', { first: 101 }, { first: 101, ...dates }],
    ['dates in the first only, numbered from 0', dates, {}],
    ['dates in the other only, numbered from 0', {}, dates],
    ['the first numbered from 0', {}, { first: 50 }],
    ['the other numbered from 0', { first: 50 }, {}],
    ['an event as the first', { ...event, ...dates }, { first: 50, ...dates }],
    ['an event as the other', { first: 50 }, event],
    ['an end, and the first numbered from 0', ended, { first: 50, ...ended }],
    ['an end, and the other numbered from 0', { first: 50, ...ended }, ended],
    ['an end of the first only', ended, dates],
  ])('have the same phases: %s', (_, one, another) => {
    const listing = (more: Partial<Listing>): Listing => ({ first: 0, durations: equal(10, 4), ...more });
    const reference = read(listing(one));
    const other = read(listing(another), undefined, { reference });
    const numbersOf = ({ stream, segments }: MediaPlaylist) =>
      [...segments.values()].map(({ sequence }) => stream.phaseOf(sequence!));
    expect(numbersOf(other)).toEqual(numbersOf(reference));
  });
});

describe('a rendition whose first one cannot be read for a while', () => {
  it('keeps its axis, whether or not it has dates', () => {
    const reference = read({ first: 101, durations: equal(10, 4) });
    for (const more of [{}, { before: (at: number) => [dateLine(404 + 4 * at)] }]) {
      const before = read({ first: 101, durations: equal(10, 4), ...more }, undefined, { reference });
      const { stream } = read({ first: 101, durations: equal(15, 4), ...more }, before);
      expect(stream.phases - before.stream.phases).toBe(2);
      expect(stream.phaseOf(115)).toBe(46);
    }
  });
});

describe('a rendition whose first one has the same date for every segment', () => {
  it.each([
    ['without dates', () => []],
    ['with the same date too', () => [dateLine(0)]],
  ])('has the same phases in every instance: %s', (_, before) => {
    const readBoth = (count: number, former: readonly MediaPlaylist[] = []): MediaPlaylist[] => {
      const reference = read(
        { first: 100, durations: equal(count, 4), before: () => [dateLine(0)] },
        former[0],
      );
      return [
        reference,
        read({ first: 7, durations: equal(2 * count, 2), before }, former[1], { reference }),
      ];
    };
    let seen: MediaPlaylist[] = [];
    for (let count = 1; count <= 12; count++) seen = readBoth(count, seen);
    expect(seen.map(phasesOf)).toEqual(readBoth(12).map(phasesOf));
  });
});

describe('a live stream with one date that never moves, in front of the first segment', () => {
  const window = (first: number, count = 6): Listing => ({
    first,
    durations: equal(count, 4),
    before: (at) => (at === 0 ? [dateLine(0)] : []),
  });

  it('goes by its numbers once that is known, on every instance', () => {
    let playlist = read(window(100));
    for (let first = 101; first <= 120; first++) {
      playlist = read(window(first), playlist);
      const other = read(window(first + 1), read(window(first)));
      const numbered = read({ first, durations: equal(6, 4) });
      const phases = phasesOf(playlist);
      for (const [index, segments] of phasesOf(other))
        expect(segments).toEqual(phases.get(index) ?? segments);
      expect(playlist.stream.phases).toBe(numbered.stream.phases);
    }
  });

  it.each([
    ['without dates', []],
    ['with such a date too', [dateLine(0)]],
  ])('has other renditions that go by its numbers too: %s', (_, lines) => {
    const readBoth = (first: number, former: readonly MediaPlaylist[] = []): MediaPlaylist[] => {
      const reference = read(window(first), former[0]);
      const other: Listing = {
        first: 2 * first,
        durations: equal(12, 2),
        target: 2,
        before: (at) => (at === 0 ? lines : []),
      };
      return [reference, read(other, former[1], { reference })];
    };
    let seen = readBoth(100);
    for (let first = 101; first <= 120; first++) seen = readBoth(first, seen);
    const [here, there] = [seen, readBoth(120, readBoth(119))].map((playlists) => playlists.map(phasesOf));
    for (const at of [0, 1])
      for (const [index, segments] of there![at]!)
        expect([index, segments]).toEqual([index, here![at]!.get(index)]);
    expect(seen[1]!.stream.phases).toBe(seen[0]!.stream.phases);
  });

  it('keeps to dates that move, also where they stand in front of the first segment only', () => {
    const moving = (first: number): Listing => ({
      ...window(first),
      before: (at) => (at === 0 ? [dateLine(first * 4)] : []),
    });
    let playlist = read(moving(100));
    for (let first = 101; first <= 130; first++) playlist = read(moving(first), playlist);
    const [here, there] = [phasesOf(playlist), phasesOf(read(moving(130)))];
    expect([...there].filter(([index, segments]) => segments.join() !== here.get(index)?.join())).toEqual([]);
    expect(there.size).toBeGreaterThan(0);
  });
});

describe('a live stream whose numbers leap forward', () => {
  // The same segments, numbered 1,000 higher from one reading to the next.
  const window = (media: number, leap: number, more: Partial<Listing> = {}): Listing => ({
    first: media + leap,
    durations: equal(6, 4),
    name: (n) => `s${n - leap}.ts`,
    ...more,
  });

  it.each([
    ['without dates', () => ({})],
    ['with dates', (media: number) => ({ before: (at: number) => [dateLine((media + at) * 4)] })],
  ])('hands out each segment once, %s', (_, more) => {
    let playlist: MediaPlaylist | undefined;
    const told = new Map<string, number>();
    for (let media = 100; media < 130; media++) {
      const readAt = START + media * 4_000;
      playlist = read(window(media, media < 115 ? 0 : 1_000, more(media)), playlist, { readAt });
      for (const [index, segments] of phasesOf(playlist))
        for (const segment of segments) {
          expect([segment, told.get(segment) ?? index]).toEqual([segment, index]);
          told.set(segment, index);
        }
    }
    expect(told.size).toBeGreaterThan(25);
  });

  it('has media again where a film in a loop goes on after a while without a reader', () => {
    const loop = (first: number): Listing => ({
      first,
      durations: equal(6, 4),
      name: (n) => `s${n % 10}.ts`,
    });
    const before = read(loop(100), undefined, { readAt: START });
    const { stream } = read(loop(111), before, { readAt: START + 44_000 });
    expect(stream.phases).toBe(read(loop(111)).stream.phases);
    expect(files(stream.phase(45).segments)).toEqual(['s3.ts', 's4.ts']);
  });
});

describe('a rendition with phases that were handed out', () => {
  it('never goes back if the first one is read anew with a single date', () => {
    const oneDate = (first: number, count: number): Listing => ({
      first,
      durations: equal(count, 4),
      before: () => [dateLine(0)],
    });
    const single = read(oneDate(110, 1));
    const references = [read(oneDate(100, 10)), single, read(oneDate(110, 2), single)];
    let former: MediaPlaylist | undefined;
    for (const [at, reference] of references.entries()) {
      const playlist = read({ first: 100 + at, durations: equal(10, 4) }, former, { reference });
      expect(playlist.stream.phases).toBeGreaterThanOrEqual(former?.stream.phases ?? 1);
      former = playlist;
    }
  });
});

describe('a rendition that kept its beginning', () => {
  const dates = { before: (at: number) => [dateLine(at * 4)] };
  const listing = (count: number, more: Partial<Listing> = {}): Listing => ({
    first: 0,
    durations: equal(count, 4),
    ...more,
  });
  const reference = read(listing(10));

  it.each<[string, more: Partial<Listing>, source: Partial<PlaylistSource>]>([
    ['with dates, while the first one cannot be read', dates, {}],
    ['with other numbers, while the first one cannot be read', { first: 50 }, {}],
    ['with other numbers, while the first one stands still', { first: 50 }, { reference }],
  ])('keeps it %s', (_, more, source) => {
    let playlist = read(listing(10, more), undefined, { reference });
    for (let count = 11; count <= 20; count++) {
      playlist = read(listing(count, more), playlist, source);
      expect(playlist.stream.phases).toBe(read(listing(count)).stream.phases);
    }
    const { stream } = read(listing(20, { ...more, ended: true }), playlist);
    expect(stream).toMatchObject({ kind: 'vod', phases: 8 });
  });

  it('follows the first one if that turns out to have dates', () => {
    const playlist = read(listing(11), read(listing(10)), { reference: read(listing(11, dates)) });
    expect(playlist.stream.phases).toBe(read(listing(11, dates)).stream.phases);
  });
});

describe('a playlist of type EVENT', () => {
  const event = (first: number, count: number, more: Partial<Listing> = {}): Listing => ({
    first,
    durations: equal(count, 4),
    head: ['#EXT-X-PLAYLIST-TYPE:EVENT'],
    ...more,
  });

  it('has no phase numbers twice if it slides all the same', () => {
    let former: MediaPlaylist | undefined;
    const names = new Map<number, string>();
    for (let first = 30; first < 50; first++) {
      former = read(event(first, 8), former);
      const { live, phases } = former.stream;
      for (let index = live!.oldest; index < phases; index++) {
        const found = files(former.stream.phase(index).segments).join();
        expect(names.get(index) ?? found).toBe(found);
        names.set(index, found);
      }
    }
    expect(names.size).toBeGreaterThan(8);
  });

  it('has no phase numbers twice if the encoder counts from the beginning again', () => {
    const before = read(event(0, 10));
    const after = read(event(0, 3, { name: (n) => `again${n}.ts` }), before);
    const { segment, phase } = after.find(/^0-\w+\.ts$/m.exec(after.template.write('', ''))![0])!;
    expect(files([segment])).toEqual(['again0.ts']);
    expect(phase).toBeGreaterThanOrEqual(before.stream.phases);
  });
});

describe('the media in a phase', () => {
  it('is X where segments have dates, and less where they are shorter than their target duration and have none', () => {
    const short = { first: 1_000, durations: equal(30, 3.84) };
    const byNumbers = read(short);
    const { live, phases } = byNumbers.stream;
    let sum = 0;
    for (let index = live!.oldest; index < phases; index++) sum += byNumbers.stream.secondsOfMedia(index);
    expect(sum / (phases - live!.oldest)).toBeCloseTo(9.6, 6);
    expect(byNumbers.stream.secondsOfMedia()).toBeCloseTo(9.6, 6);
    expect(byNumbers.stream.secondsOfMedia(phases)).toBeCloseTo(9.6, 6);
    expect(read(dated(1_000, 30, 3.84)).stream.secondsOfMedia()).toBe(10);
    // Another rendition that goes by the clock of this one.
    const audio = read({ first: 7, durations: equal(28, 4.032) }, undefined, { reference: byNumbers });
    expect(audio.stream.secondsOfMedia()).toBeCloseTo(9.6, 2);
  });
});

describe('a client that follows next_request_in_seconds', () => {
  /** Returns a function that gives the number of segments that have ended at a time. */
  const programme = (millis: readonly number[]) => {
    const ends: number[] = [];
    for (const ms of millis) ends.push((ends.at(-1) ?? 0) + ms);
    return (now: number) => ends.filter((end) => end <= now).length;
  };

  it('gets each segment of a live stream exactly once', () => {
    fc.assert(
      fc.property(
        fc.record({
          millis: fc.array(fc.integer({ min: 500, max: 4_000 }), { minLength: 100, maxLength: 100 }),
          windowSeconds: fc.integer({ min: 24, max: 60 }),
          phaseSeconds: fc.integer({ min: 1, max: 12 }),
          joins: fc.integer({ min: 60_000, max: 70_000 }),
          delays: fc.array(fc.nat(50), { minLength: 1, maxLength: 5 }),
          withDates: fc.boolean(),
          first: fc.constantFrom(0, 1, 1_000),
        }),
        ({ millis, windowSeconds, phaseSeconds, joins, delays, withDates, first }) => {
          const listedAt = programme(millis);
          const starts = millis.map((_, at) => millis.slice(0, at).reduce((sum, ms) => sum + ms, 0) / 1_000);
          const listing = (now: number): Listing => {
            const to = listedAt(now);
            const from = starts.findIndex((start) => start * 1_000 >= now - windowSeconds * 1_000);
            return {
              first: first + from,
              durations: millis.slice(from, to).map((ms) => ms / 1_000),
              ...(withDates ? { before: (at: number) => [dateLine(starts[from + at]!)] } : {}),
              name: (n) => `${n - first}.ts`,
            };
          };
          let playlist: MediaPlaylist | undefined;
          let readAt = -Infinity;
          const readAgain = (now: number): MediaPlaylist => {
            // Like the catalogue, which reads again after half a target duration.
            if (now - readAt >= 2_000) {
              playlist = read(listing(now), playlist, { phaseSeconds, readAt: now });
              readAt = now;
            }
            return playlist!;
          };
          for (let now = 40_000; now < joins; now += 500) readAgain(now);
          const got: number[] = [];
          let next: number | undefined;
          let asked = 0;
          for (let now = joins; listedAt(now) < millis.length;) {
            const { stream } = readAgain(now);
            const index = stream.landing(next ?? stream.live!.start);
            const { oldest } = stream.live!;
            expect(index).toBeGreaterThanOrEqual(oldest);
            if (index >= stream.phases) {
              now += 1_000;
              continue;
            }
            const phase = stream.phase(index);
            got.push(...phase.segments.map(({ path }) => Number.parseInt(path.split('/').at(-1)!)));
            next = index + 1;
            const wait = nextRequestIn(stream, phase, now);
            now += Math.max(1, wait * 1_000) + phaseSeconds * delays[asked++ % delays.length]!;
            // Another viewer causes these reads.
            for (let other = readAt + 2_000; other < now; other += 2_000) readAgain(other);
          }
          const [begin = 0] = got;
          expect(got).toEqual(got.map((_, at) => begin + at));
          expect(got.length).toBeGreaterThan(0);
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('a reading of a live stream', () => {
  it('stays as it is when a later one finds no durations', () => {
    const before = read({ first: 1, durations: [4, ...equal(1_999, 0)], target: 4 });
    const { durations, starts } = before.state.listed.segments;
    const were = [[...durations], [...starts]];
    const after = read({ first: 2, durations: equal(2_000, 0), target: 4 }, before);
    expect([[...durations], [...starts]]).toEqual(were);
    expect(new Set(after.state.listed.segments.durations)).toEqual(new Set([4]));
  });
});
