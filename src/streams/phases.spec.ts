import fc from 'fast-check';
import { LongList } from './long-list.js';
import { PhasedStream } from './phases.js';

const stream = (durations: number[], phaseSeconds: number): PhasedStream =>
  new PhasedStream(
    'film',
    LongList.from(durations.map((durationSeconds, at) => ({ path: `${at}.ts`, durationSeconds }))),
    phaseSeconds,
  );
const names = (from: PhasedStream, index: number): string[] =>
  from.phase(index).segments.map(({ path }) => path);

describe('a stream in phases', () => {
  it('has each segment in the phase in which the segment starts', () => {
    const film = stream([4, 4, 4, 4, 4], 10);
    expect(film).toMatchObject({ kind: 'vod', durationSeconds: 20, phases: 2, phaseSeconds: 10 });
    expect([names(film, 0), names(film, 1)]).toEqual([
      ['0.ts', '1.ts', '2.ts'],
      ['3.ts', '4.ts'],
    ]);
    expect(film.phase(1)).toMatchObject({ startSeconds: 10, durationSeconds: 10, last: true });
  });

  it('does not drift with decimal fractions', () => {
    // 0.1 + 0.2 > 0.3, and 600 sums of 0.1 make 59.99999999999943.
    const film = stream(
      Array.from({ length: 700 }, () => 0.1),
      10,
    );
    expect(film.phases).toBe(7);
    for (let index = 0; index < 7; index++) expect(film.phase(index).segments).toHaveLength(100);
    expect(stream([0.1, 0.2, 0.3], 0.3).phases).toBe(2);
  });

  it('has phases in which no segment starts', () => {
    const film = stream([6, 6], 2);
    expect(Array.from({ length: 6 }, (_, index) => names(film, index))).toEqual([
      ['0.ts'],
      [],
      [],
      ['1.ts'],
      [],
      [],
    ]);
    expect(film.phase(5)).toMatchObject({ startSeconds: 10, durationSeconds: 2, last: true });
  });

  it('ends with a phase of the remaining duration', () => {
    expect(stream([4, 4, 4.5], 10).phase(1)).toMatchObject({
      startSeconds: 10,
      durationSeconds: 2.5,
      last: true,
    });
  });

  it('contains every segment once, in order, for any durations', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 200, max: 15_000 }),
        (millis, phaseMs) => {
          const film = stream(
            millis.map((ms) => ms / 1_000),
            phaseMs / 1_000,
          );
          const all = Array.from({ length: film.phases }, (_, index) => film.phase(index));
          expect(all.flatMap(({ segments }) => segments.map(({ path }) => path))).toEqual(
            millis.map((_, at) => `${at}.ts`),
          );
          let start = 0;
          for (const [at, ms] of millis.entries()) {
            const home = all[Math.floor(start / phaseMs)]!;
            expect(home.segments.map(({ path }) => path)).toContain(`${at}.ts`);
            start += ms;
          }
          expect(all.filter(({ last }) => last)).toEqual([all.at(-1)]);
          const covered = all.reduce((sum, { durationSeconds }) => sum + durationSeconds, 0);
          expect(covered).toBeCloseTo(film.durationSeconds!, 6);
        },
      ),
    );
  });
});
