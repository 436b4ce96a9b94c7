import { Availability } from '../../src/sessions/redis/availability.js';
import { userKeys } from '../../src/sessions/redis/keys.js';
import { type Loss } from '../../src/sessions/redis/losses.js';
import { openRedisStore } from '../../src/sessions/redis/redis-store.js';
import { ManualClock } from '../support/manual-clock.js';
import { useConnection, useRedisDatabase } from '../support/redis-database.js';
import { POLICY } from '../support/stores.js';

/** A Redis that lost what it held: the next sweep notices, the log says so once, and a metric counts it. */

const { url, redis, empty } = useRedisDatabase();
const link = useConnection(() => url);
const clock = new ManualClock();
const { state } = userKeys('ana').ofPartition;
let lines: string[];
let counted: [Loss, number][];
let sweep: () => Promise<void>;
beforeEach(async () => {
  await empty();
  [lines, counted] = [[], []];
  const log = (line: string) => lines.push(line);
  const settings = { policy: POLICY, subscriptions: [], STORE_LAYOUT: '2' } as const;
  const availability = new Availability({ log, warn: log, error: log });
  const { sessions } = openRedisStore(link(), settings, clock, availability, (loss, partitions) =>
    counted.push([loss, partitions]),
  );
  sweep = async () => {
    clock.advance(1_000);
    await sessions.expireIdle({ maxSessions: 10 });
  };
  await sweep();
  await sweep();
  expect([lines, counted]).toEqual([[], []]);
});

it('is told of a Redis that came back empty, once', async () => {
  await empty();
  await sweep();
  await sweep();
  expect(counted).toEqual([['empty', 256]]);
  expect(lines).toEqual([
    expect.stringContaining('Redis lost data: 256 of its partitions came back empty, and 0 older'),
  ]);
});

it('is told of one that is as it was some seconds ago, and by how many', async () => {
  const before = await redis.dumpBuffer(state);
  for (let seconds = 0; seconds < 5; seconds++) await sweep();
  await redis.restore(state, 0, before, 'REPLACE');
  await sweep();
  await sweep();
  expect(counted).toEqual([['older', 1]]);
  expect(lines).toEqual([expect.stringContaining('1 older than they were by up to 5.0 s')]);
});

it('is told nothing while paused, when the clock is set back, or of what another instance swept', async () => {
  await redis.hset(state, 'pause', 1, 'pause_since', 1, 'pause_by', '', 'pause_until', '');
  await sweep();
  clock.advance(-3_600_000);
  await sweep();
  await sweep();
  await redis.hset(state, 'swept', clock.now() + 500);
  await sweep();
  expect([lines, counted]).toEqual([[], []]);
});
