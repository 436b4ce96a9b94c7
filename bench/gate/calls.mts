import { type Figure, show } from '../figures.mts';
import { type RedisUnderTest, countCommands } from '../redis.mts';
import { namesIn } from './playlist.mts';
import {
  type Gate,
  type Judge,
  expectOf,
  isDenied,
  isPlaylist,
  leadsTo,
  pathOf,
  startGate,
  startWatching,
} from './service.mts';

const WINDOWS = 25;
/** A window takes a few hundredths of a second, so that few windows meet the sweep of each second. */
const REQUESTS = 50;
const STREAM = 'long';
const LIMIT = 3;

/** Measures the calls to Redis per request of the gate. */
export async function measureCalls(server: RedisUnderTest): Promise<void> {
  await using gate = await startGate({ REDIS_URL: server.url });
  const viewer = { userId: 'ana', sessionId: 'tv' };
  const { body } = await startWatching(gate, STREAM, viewer);
  const { key } = namesIn(body);
  const segment = 'segment-00001.ts';
  // The second segment belongs to the first phase, like the first segment.
  const samePhase = { unit: '', digits: 2, aim: { below: 1.01, by: 'median' } } as const;
  const figures: Figure[] = [];
  const count = async (name: string, path: string, judge: Judge, figure: Omit<Figure, 'name' | 'values'>) => {
    figures.push({ name, ...figure, values: await callsARequest(gate, server, path, judge) });
  };
  await count(
    'a segment of the same phase',
    pathOf(STREAM, '1.ts', viewer),
    leadsTo(gate, `${STREAM}/${segment}`),
    samePhase,
  );
  await count('the playlist', pathOf(STREAM, 'index.m3u8', viewer), isPlaylist(viewer), samePhase);
  await count('the key', pathOf(STREAM, key, viewer), leadsTo(gate, `${STREAM}/keys/first.key`), samePhase);

  const denied = { unit: '', digits: 2, aim: { below: 0.01, by: 'median' } } as const;
  for (let screen = 1; screen < LIMIT; screen++)
    await startWatching(gate, STREAM, { userId: 'ana', sessionId: `screen-${screen}` });
  const oneTooMany = pathOf(STREAM, '1.ts', { userId: 'ana', sessionId: 'one-too-many' });
  await count(
    'a segment, over and over, for who is refused',
    oneTooMany,
    isDenied('session-limit-reached'),
    denied,
  );
  await fetch(`${gate.server.url}/v1/users/ana/sessions/tv`, { method: 'DELETE' });
  await count(
    'a segment, over and over, for who was ended',
    pathOf(STREAM, '1.ts', viewer),
    isDenied('session-ended'),
    denied,
  );
  show(`Calls to Redis a request of the gate, ${WINDOWS} windows of ${REQUESTS} requests`, figures);
}

async function callsARequest(
  gate: Gate,
  server: RedisUnderTest,
  path: string,
  judge: Judge,
): Promise<number[]> {
  const values: number[] = [];
  await expectOf(gate, path, judge);
  for (let window = 0; window < WINDOWS; window++) {
    const commands = await countCommands(server, async () => {
      for (let request = 0; request < REQUESTS; request++) await expectOf(gate, path, judge);
    });
    values.push(commands / REQUESTS);
  }
  return values;
}
