import { show } from '../figures.mts';
import type { Memory } from '../servers.mts';
import { scaled } from '../store.mts';
import { SEGMENTS } from './playlist.mts';
import { type Gate, expectOf, isPlaylist, pathOf, startGate } from './service.mts';

const STREAMS = scaled(10_000);
/** Few enough that the service retains all of them. */
const WEIGHED = scaled(200);
const AT_ONCE = 4;
const MB = 1e6;
/** MiB. Node's heap is half of the container's memory, and the smallest task has 512. Beyond it the service crashes. */
const HEAP_LIMIT = 259;

/** Measures the memory that the service retains of streams that were asked for once. */
export async function measureMemory(): Promise<void> {
  await using gate = await startGate({
    SESSION_STORE: 'memory', // takes hardly any memory for a few viewers, and always answers
    NODE_OPTIONS: `--max-heap-size=${HEAP_LIMIT}`,
  });
  // Everything that is made only once exists before the measurement.
  await askForStreams(gate, 'first', 0, 50);
  const before = await gate.server.memory();
  await askForStreams(gate, 'stream', 0, WEIGHED);
  const weighed = await gate.server.memory();
  await askForStreams(gate, 'stream', WEIGHED, STREAMS / 2);
  const [half, cpuBefore] = [await gate.server.memory(), await gate.server.cpu()];
  await askForStreams(gate, 'stream', STREAMS / 2, STREAMS);
  const cpuMillis = ((await gate.server.cpu()) - cpuBefore) / 1_000;
  const all = await gate.server.memory();

  const added = (which: keyof Memory, from: Memory, to: Memory) => ({
    unit: 'MB',
    values: [(to[which] - from[which]) / MB],
  });
  const count = (STREAMS / 2).toLocaleString('en');
  show(`Memory after ${STREAMS.toLocaleString('en')} streams of ${SEGMENTS} segments, each asked for once`, [
    { name: 'heap before', unit: 'MB', values: [before.heap / MB] },
    { name: `heap that the first ${count} add`, ...added('heap', before, half) },
    {
      name: `heap that the second ${count} add`,
      ...added('heap', half, all),
      aim: { below: 20, by: 'worst' },
    },
    { name: 'resident before', unit: 'MB', values: [before.rss / MB] },
    { name: `resident that the first ${count} add`, ...added('rss', before, half) },
    {
      name: `resident that the second ${count} add`,
      ...added('rss', half, all),
      aim: { below: 50, by: 'worst' },
    },
    {
      name: 'CPU a stream that is not in memory',
      unit: 'ms',
      digits: 1,
      values: [cpuMillis / (STREAMS / 2)],
    },
    {
      name: 'bytes of heap a segment that is kept',
      unit: '',
      values: [(weighed.heap - before.heap) / WEIGHED / SEGMENTS],
    },
  ]);
}

/** Each viewer moves on to the next stream, many at once. */
async function askForStreams(gate: Gate, name: string, from: number, to: number): Promise<void> {
  let next = from;
  const viewer = async (_: unknown, at: number): Promise<void> => {
    const who = { userId: `user-${at}`, sessionId: `session-${at}` };
    while (next < to) await expectOf(gate, pathOf(`${name}-${next++}`, 'index.m3u8', who), isPlaylist(who));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, viewer));
}
