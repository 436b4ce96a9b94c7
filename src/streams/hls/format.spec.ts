import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

interface Measured {
  /** The heap that a playlist takes, over its counted size, by what the playlist has. */
  readonly ratios: readonly { readonly of: string; readonly ratio: number }[];
  readonly textsKept: number;
  readonly bytesOfShort: number;
  readonly addedByReload: number;
}

/** In a process of its own, because the heap of this one changes by what else runs in it. */
const measure = async (): Promise<Measured> => {
  const run = promisify(execFile)(process.execPath, [
    '--expose-gc',
    '--experimental-transform-types',
    '--disable-warning=ExperimentalWarning',
    '--disable-warning=MODULE_TYPELESS_PACKAGE_JSON',
    '--import=./test/prove/resolve.mts',
    'test/support/playlist-heap.mts',
  ]);
  return JSON.parse((await run).stdout) as Measured;
};

describe('a playlist in memory', () => {
  let measured: Measured;
  beforeAll(async () => {
    measured = await measure();
  });

  it('takes about its counted size, whatever it lists', () => {
    expect(measured.ratios).toHaveLength(10);
    expect(measured.ratios.filter(({ ratio }) => !(ratio > 0.5 && ratio < 1.3))).toEqual([]);
  });

  it('shares what it still lists of a window with the reading before', () => {
    expect(measured.addedByReload).toBeLessThan(0.3);
  });

  it('keeps nothing of the texts of a live playlist that were read before', () => {
    // Each text that was kept would be one of a hundred.
    expect(measured.textsKept).toBeLessThan(60);
  });

  it('does not grow while a short live playlist is read for hours', () => {
    expect(measured.bytesOfShort).toBeLessThan(500_000);
  });
});
