import { setTimeout as sleep } from 'node:timers/promises';
import { type Figure, show } from '../figures.mts';
import type { Turn } from '../servers.mts';
import { scaled } from '../store.mts';
import { LONG_STREAMS } from './playlist.mts';
import { type Gate, pathOf, startGate } from './service.mts';

const ROUNDS = scaled(10);
/** Half a target duration, after which a live playlist is read again. */
const RENEWED_MS = 1_000;
const VIEWER = { userId: 'ana', sessionId: 'tv' };

/** Measures for how long other requests wait while the service reads and writes long playlists. */
export async function measureLong(): Promise<void> {
  await using gate = await startGate({ SESSION_STORE: 'memory' });
  const turns: Record<'idle' | 'film' | 'first' | 'reload', Turn[]> = {
    idle: [],
    film: [],
    first: [],
    reload: [],
  };
  const measure = async (name: keyof typeof turns, work: () => Promise<void>): Promise<void> => {
    await gate.server.longestTurn();
    await work();
    turns[name].push(await gate.server.longestTurn());
  };
  for (let round = 0; round < ROUNDS; round++) {
    // A stream of another number is not in memory yet.
    const [film, day] = [`${LONG_STREAMS.film}-${round}`, `${LONG_STREAMS.day}-${round}`];
    await measure('idle', async () => sleep(RENEWED_MS));
    await measure('film', async () => expectSegments(gate, film));
    await measure('first', async () => expectSegments(gate, day));
    await sleep(RENEWED_MS);
    await measure('reload', async () => expectSegments(gate, day));
  }
  const figuresOf = (name: string, of: readonly Turn[], aim?: Figure['aim']): Figure[] => [
    { name, unit: 'ms of CPU', digits: 1, values: of.map(({ cpu }) => cpu), ...(aim && { aim }) },
    { name: '  the same, elapsed', unit: 'ms', digits: 1, values: of.map(({ wall }) => wall) },
  ];
  const aim = { below: 10, by: 'median' } as const;
  show(`The longest turn of the event loop, ${ROUNDS} playlists each`, [
    ...figuresOf('without requests, for comparison', turns.idle),
    ...figuresOf('a film of 100,000 segments, read and sent', turns.film, aim),
    ...figuresOf('a live window of 24 hours, read and sent', turns.first, aim),
    ...figuresOf('the same, read again and sent', turns.reload, aim),
  ]);
}

async function expectSegments(gate: Gate, stream: string): Promise<void> {
  const reply = await fetch(gate.server.url + pathOf(stream, 'index.m3u8', VIEWER));
  const names = (await reply.text()).match(/^\d+-\w+\.ts\?/gm) ?? [];
  if (names.length < 40_000) throw new Error(`${reply.status}, with ${names.length} segments, for ${stream}`);
}
