import { createRequire } from 'node:module';
import { quantile, show } from '../figures.mts';
import { ORIGINAL, SEGMENTS, namesIn, rewritten } from './playlist.mts';

const built = createRequire(import.meta.url);
const { readPlaylist } = built(
  '../../dist/streams/hls/playlist.js',
) as typeof import('../../src/streams/hls/playlist.ts');

const RUNS = 5;
const TIMES = 2_000;
const READS = 200;
const QUERY = `?user_id=${'u'.repeat(36)}&session_id=${'s'.repeat(36)}`;

/** Measures the time to write a playlist in memory for one viewer, and to read it, which happens once for all viewers. */
export async function measureRewrite(): Promise<void> {
  const { template } = read();
  const names = namesIn(template.write('', ''));
  const runs = Array.from({ length: RUNS }, () =>
    // Converts to bytes too, because V8 keeps the text in pieces until then.
    millis(
      TIMES,
      () => Buffer.from(template.write('', QUERY)),
      (bytes) => bytes.toString() === rewritten(names, QUERY),
    ),
  );
  const reads = millis(READS, read, ({ segments }) => segments.size === SEGMENTS);
  const inMillis = { unit: 'ms', digits: 2 } as const;
  const aim = { below: 1, by: 'worst' } as const;
  show(`A cached playlist of ${SEGMENTS} segments, written for a viewer ${TIMES} times, ${RUNS} runs`, [
    { name: 'median', ...inMillis, aim, values: runs.map((times) => quantile(times, 0.5)) },
    { name: '99th percentile', ...inMillis, aim, values: runs.map((times) => quantile(times, 0.99)) },
    { name: 'and to read it, once for all its viewers', ...inMillis, values: [quantile(reads, 0.5)] },
  ]);
}

function read() {
  const playlist = readPlaylist(ORIGINAL, {
    streamId: 'long',
    url: new URL('https://origin.example/long/index.m3u8'),
    root: new URL('https://origin.example/'),
    phaseSeconds: 10,
    variables: undefined,
    former: undefined,
  });
  if (playlist.kind !== 'media') throw new Error('not a media playlist');
  return playlist;
}

/** Returns how long each call takes, and checks the last answer. */
function millis<T>(times: number, work: () => T, isRight: (made: T) => boolean): number[] {
  const took: number[] = [];
  for (let time = 0; time < times; time++) {
    const started = performance.now();
    const made = work();
    took.push(performance.now() - started);
    if (time === times - 1 && !isRight(made)) throw new Error('a wrong answer');
  }
  return took;
}
