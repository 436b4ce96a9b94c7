import { type SessionEvent } from '../../src/sessions/session-events.js';
import { Clock } from '../../src/clock.js';
import { userKeys } from '../../src/sessions/redis/keys.js';
import { KEPT_EVENTS } from '../../src/sessions/redis/redis-session-events.js';
import { connectRedis } from '../../src/sessions/redis/link.js';
import { QUIET, useConnection, useRedisDatabase } from '../support/redis-database.js';
import { ReplyValve } from '../support/reply-valve.js';
import { filmOf } from '../support/windows.js';
import { POLICY, openRedisStore } from '../support/stores.js';
import { until } from '../support/until.js';

/** Live events between processes that share only Redis, and whose connections may break. */

const { url, redis, empty } = useRedisDatabase();
const connections = [useConnection(() => url), useConnection(() => url)];
beforeEach(empty);

const open = () => connections.map((connection) => openRedisStore(connection(), POLICY, new Clock()));
const request = (sessionId: string) => ({
  userId: 'ana',
  sessionId,
  streamId: 'film',
  phase: undefined,
  window: filmOf(100),
  quota: POLICY.quota,
  endSessionIds: [],
});

/** Closes the connections of the subscribers of this suite only, because other suites use the same server. */
async function cutSubscribers(): Promise<number> {
  const here = new RegExp(`^id=(\\d+) .* db=${process.env.JEST_WORKER_ID} sub=[1-9]`, 'gm');
  const clients = [...((await redis.client('LIST')) as string).matchAll(here)];
  for (const [, id] of clients) await redis.client('KILL', 'ID', id!);
  return clients.length;
}

describe('an event of one process', () => {
  it('reaches a listener of another process', async () => {
    const [one, other] = open();
    const seen: SessionEvent[] = [];
    await other!.events.watch('ana', undefined, (event) => seen.push(event));
    const admission = await one!.sessions.admit(request('tv'));
    if (admission.outcome !== 'admitted') throw new Error(admission.outcome);
    await one!.sessions.confirm(admission.place);
    await one!.sessions.end('ana', ['tv'], 'operator');
    await until(() => seen.length === 2);
    expect(seen.map(({ type }) => type)).toEqual(['session.started', 'session.ended']);
  });

  it('reaches the listener exactly once, even if the connection breaks repeatedly', async () => {
    const [one, other] = open();
    const seen: string[] = [];
    await other!.events.watch('ana', undefined, ({ sessionId }) => seen.push(sessionId));
    const ended = Array.from({ length: 60 }, (_, n) => `session-${n}`);
    let cut = 0;
    for (const [n, sessionId] of ended.entries()) {
      if (n % 20 === 10) cut += await cutSubscribers();
      await one!.sessions.admit(request(sessionId));
      await one!.sessions.end('ana', [sessionId], 'user');
    }
    await until(() => seen.length >= ended.length);
    expect(seen).toEqual(ended);
    expect(cut).toBeGreaterThan(0);
  });

  it('does not reach a listener in another database of the same server', async () => {
    const [one, other] = open();
    const [seen, later]: string[][] = [[], []];
    await other!.events.watch('ana', undefined, ({ id }) => seen!.push(id));
    // A message from another database makes the listener read its own database, which has no new event.
    await redis.publish('sg:u:ana', '1-1');
    const { stop } = await one!.events.watch('ana', undefined, ({ id }) => later!.push(id));
    await one!.sessions.admit(request('tv'));
    await one!.sessions.end('ana', ['tv'], 'user');
    await until(() => seen!.length > 0 && later!.length > 0);
    expect(seen).toEqual(later);
    expect(seen).toHaveLength(1);
    stop();
  });

  it('is found by the next refresh if its message was lost', async () => {
    const [one, other] = open();
    const seen: string[] = [];
    await other!.events.watch('ana', undefined, ({ sessionId }) => seen.push(sessionId));
    await other!.events.refresh(); // after this the first refresh has finished
    // The event is stored, but no message is sent.
    await redis.xadd(userKeys('ana').ofPartition.ring, '*', 'e', 'ended 1 ana tv film 1 1 0 1 user');
    expect(seen).toEqual([]);
    await other!.events.refresh();
    expect(seen).toEqual(['tv']);
    // The position to resume from also advances with events of other users of the partition.
    const id = await redis.xadd(
      userKeys('ana').ofPartition.ring,
      '*',
      'e',
      'ended 1 ben tv film 1 1 0 1 user',
    );
    await other!.events.refresh();
    expect([other!.events.position('ana'), seen]).toEqual([id, ['tv']]);
    await one!.sessions.admit(request('phone'));
    await one!.sessions.end('ana', ['phone'], 'user');
    await until(() => seen.length === 2);
  });

  it('arrives live after the connection of the subscriber went silent, because each refresh pings it', async () => {
    const [one] = open();
    const valve = await ReplyValve.open(url);
    const connection = connectRedis({ REDIS_URL: valve.url }, QUIET, 3_000);
    const other = openRedisStore(connection, POLICY, new Clock());
    const works = (): Promise<boolean> =>
      other.sessions.ping().then(
        () => true,
        () => false,
      );
    await until(works);
    const seen: string[] = [];
    await other.events.watch('ana', undefined, ({ sessionId }) => seen.push(sessionId));
    valve.loseHost();
    // Commands detect the lost host by their time-outs. The subscriber sends no commands, so that it cannot detect it.
    await until(works, 30_000);
    await other.events.refresh();
    await one!.sessions.admit(request('tv'));
    await one!.sessions.end('ana', ['tv'], 'user');
    try {
      await until(() => seen.length === 1);
      expect(seen).toEqual(['tv']);
    } finally {
      await connection.close();
      await valve.close();
    }
  });

  it('is reported as possibly missed if it is no longer in the ring', async () => {
    const [one] = open();
    const { position, stop } = await one!.events.watch('ana', undefined, () => undefined);
    stop();
    for (let n = 0; n < KEPT_EVENTS; n++)
      await redis.xadd(
        userKeys('ana').ofPartition.ring,
        'MAXLEN',
        KEPT_EVENTS,
        '*',
        'e',
        `ended 1 ben s${n} film 1 1 0 1 user`,
      );
    const late = await one!.events.watch('ana', position, () => undefined);
    expect(late).toMatchObject({ missed: [], complete: false });
    late.stop();
    const recent = await one!.events.watch('ana', late.position, () => undefined);
    expect(recent.complete).toBe(true);
    recent.stop();
  });
});
