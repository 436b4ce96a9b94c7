import { type SessionEvent } from '../../src/sessions/session-events.js';
import { Clock } from '../../src/clock.js';
import { useConnection, useRedisDatabase } from '../support/redis-database.js';
import { POLICY, openRedisStore } from '../support/stores.js';
import { until } from '../support/until.js';

/** Live events between processes that share nothing but Redis, which may lose their connections. */

const { url, redis, empty } = useRedisDatabase();
const connections = [useConnection(() => url), useConnection(() => url)];
beforeEach(empty);

const open = () => connections.map((connection) => openRedisStore(connection(), POLICY, new Clock()));
const request = (sessionId: string) => ({
  userId: 'ana',
  sessionId,
  streamId: 'film',
  phase: undefined,
  phases: 100,
  endSessionIds: [],
});

describe('what one process does', () => {
  it('is told by another', async () => {
    const [one, other] = open();
    const seen: SessionEvent[] = [];
    await other!.events.watch('ana', (event) => seen.push(event));
    const admission = await one!.sessions.admit(request('tv'));
    if (admission.outcome !== 'admitted') throw new Error(admission.outcome);
    await one!.sessions.confirm(admission.place);
    await one!.sessions.end('ana', ['tv'], 'operator');
    await until(() => seen.length === 2);
    expect(seen.map(({ type }) => type)).toEqual(['session.started', 'session.ended']);
  });

  it('is told once, and all of it, though the connection that tells it is lost again and again', async () => {
    const [one, other] = open();
    const seen: string[] = [];
    await other!.events.watch('ana', ({ sessionId }) => seen.push(sessionId));
    const ended = Array.from({ length: 60 }, (_, n) => `session-${n}`);
    for (const [n, sessionId] of ended.entries()) {
      if (n % 20 === 10) await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await one!.sessions.admit(request(sessionId));
      await one!.sessions.end('ana', [sessionId], 'user');
    }
    await until(() => seen.length >= ended.length);
    expect(seen).toEqual(ended);
  });

  it('is not told to a watcher in another database of the same server', async () => {
    const [one, other] = open();
    const [seen, later]: string[][] = [[], []];
    await other!.events.watch('ana', ({ id }) => seen!.push(id));
    // A message of the neighbour names an entry of its own log, which is none of this one's.
    await redis.publish('sg:u:ana', '1-1');
    const leave = await one!.events.watch('ana', ({ id }) => later!.push(id));
    await one!.sessions.admit(request('tv'));
    await one!.sessions.end('ana', ['tv'], 'user');
    await until(() => seen!.length > 0 && later!.length > 0);
    expect(seen).toEqual(later);
    expect(seen).toHaveLength(1);
    leave();
  });
});
