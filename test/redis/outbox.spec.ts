import { Clock } from '../../src/clock.js';
import { userKeys } from '../../src/sessions/redis/keys.js';
import { type OutboxEntry } from '../../src/sessions/session-events.js';
import { filmOf } from '../support/windows.js';
import { ManualClock } from '../support/manual-clock.js';
import { useConnection, useRedisDatabase } from '../support/redis-database.js';
import { POLICY, openRedisStore } from '../support/stores.js';

/** The outbox of several instances on one Redis: who is given what, when one falls silent, and how much may wait. */

const { url, redis, empty } = useRedisDatabase();
const connections = [useConnection(() => url), useConnection(() => url)];
beforeEach(empty);

const open = (clock = new Clock()) =>
  connections.map((connection) => openRedisStore(connection(), POLICY, clock)) as [
    ReturnType<typeof openRedisStore>,
    ReturnType<typeof openRedisStore>,
  ];
type Instance = ReturnType<typeof openRedisStore>;
const { outbox: stream, state, deadLetters } = userKeys('ana').ofPartition;

async function start({ sessions }: Instance, sessionId: string): Promise<void> {
  const request = {
    userId: 'ana',
    sessionId,
    streamId: 'film',
    phase: 0,
    window: filmOf(1),
    endSessionIds: [],
    quota: POLICY.quota,
  };
  const admission = await sessions.admit(request);
  if (admission.outcome === 'admitted') await sessions.confirm(admission.place);
}
const told = (entries: readonly OutboxEntry[]): string[] => entries.map(({ event }) => event.sessionId);
async function settle({ outbox }: Instance, entries: readonly OutboxEntry[]): Promise<void> {
  for (const { event } of entries) await outbox.settle(event);
}
/** Events that wait for delivery like any others. */
async function fill(events: number): Promise<void> {
  const pipeline = redis.pipeline();
  for (let n = 0; n < events; n++) pipeline.xadd(stream, '*', 'e', `started 1 ana s${n} film 1 1 0 1 -`);
  await pipeline.exec();
}

describe('the outbox', () => {
  it("gives a partition's events to one instance at a time, so that they are delivered in order", async () => {
    const [one, other] = open();
    for (const session of ['a', 'b', 'c']) await start(one, session);
    const first = await one.outbox.take(32); // one of each partition
    expect(told(first)).toEqual(['a']);
    expect(await other.outbox.take(1_000)).toEqual([]);
    expect(told(await one.outbox.take(32))).toEqual(['b']);
    await settle(one, first);
    expect(await other.outbox.take(1_000)).toEqual([]); // b is still on its way
    await one.outbox.release();
    expect(told(await other.outbox.take(1_000))).toEqual(['b']);
    expect(told(await other.outbox.take(1_000))).toEqual(['c']);
  });

  it('gives what was given back to another at once, and says how often it was tried', async () => {
    const [one, other] = open();
    await start(one, 'a');
    const [entry] = await one.outbox.take(100);
    expect(entry!.tries).toBe(0);
    await one.outbox.failed(entry!.event, 7);
    expect(await other.outbox.take(100)).toEqual([]);
    await one.outbox.release();
    expect(await other.outbox.take(100)).toEqual([{ event: entry!.event, tries: 7 }]);
  });

  it('gives what a silent instance had to another, and not what one still speaks of', async () => {
    const [one, other] = open();
    await start(one, 'a');
    const [entry] = await one.outbox.take(100);
    await redis.call('XCLAIM', stream, 'callbacks', 'somebody', 0, entry!.event.id, 'IDLE', 19_000, 'JUSTID');
    await one.outbox.stillDelivering();
    expect(await other.outbox.take(100)).toEqual([]);
    await redis.call('XCLAIM', stream, 'callbacks', 'somebody', 0, entry!.event.id, 'IDLE', 20_000, 'JUSTID');
    expect(told(await other.outbox.take(100))).toEqual(['a']);
  });

  it('gives all that a silent instance had to one other, and the newer events to nobody before that is settled', async () => {
    const [one, other] = open();
    const third = openRedisStore(connections[0]!(), POLICY, new Clock());
    for (const session of ['a', 'b', 'c', 'd']) await start(one, session);
    const had = (await one.outbox.take(96)).map(({ event }) => event);
    expect(had.map(({ sessionId }) => sessionId)).toEqual(['a', 'b', 'c']);
    const silent = (ids: readonly string[]) =>
      redis.call('XCLAIM', stream, 'callbacks', 'the dead', 0, ...ids, 'IDLE', 20_000, 'JUSTID');
    await silent([had[1]!.id]);
    expect(await other.outbox.take(1_000)).toEqual([]); // not before all of it is silent
    await silent(had.map(({ id }) => id));
    expect(await other.outbox.take(0)).toEqual([]);
    const heir = await other.outbox.take(32);
    expect(told(heir)).toEqual(['a', 'b', 'c']);
    expect(heir.map(({ tries }) => tries)).toEqual([1, 1, 1]); // it may have been their fault
    expect(await third.outbox.take(1_000)).toEqual([]);
    expect(await one.outbox.take(1_000)).toEqual([]); // back from the dead, with less than it thinks
    await settle(other, heir);
    expect(told(await third.outbox.take(1_000))).toEqual(['d']);
    const consumers = (await redis.xinfo('CONSUMERS', stream, 'callbacks')) as unknown[][];
    expect(consumers.map(([, name]) => name)).not.toContain('the dead');
  });

  it('gives again what got lost on its way to the one that asked', async () => {
    const [one] = open();
    await start(one, 'a');
    await start(one, 'b');
    // The script ran for it, but it never heard: of nothing that is not settled may it be given newer events.
    const { consumer } = one.outbox as unknown as { consumer: string };
    await redis.xgroup('CREATE', stream, 'callbacks', '0');
    await redis.xreadgroup('GROUP', 'callbacks', consumer, 'COUNT', 1, 'STREAMS', stream, '>');
    expect(await one.outbox.take(1_000)).toEqual([]);
    const [[id]] = (await redis.xrange(stream, '-', '+', 'COUNT', 1)) as [[string, string[]]];
    await redis.call('XCLAIM', stream, 'callbacks', consumer, 0, id, 'IDLE', 20_000, 'JUSTID');
    const [lost] = await one.outbox.take(1_000);
    expect(lost!.event.sessionId).toBe('a');
    await settle(one, [lost!]);
    expect(told(await one.outbox.take(1_000))).toEqual(['b']);
  });

  it('loses nothing that was given, where a part of the question fails', async () => {
    const [one] = open();
    await start(one, 'a');
    const broken = userKeys('ben').ofPartition.outbox;
    await redis.set(broken, 'not a stream');
    const taken: OutboxEntry[] = [];
    for (let n = 0; n < 20; n++) taken.push(...(await one.outbox.take(1_000).catch(() => [])));
    expect(told(taken)).toEqual(['a']);
  });

  it('forgets the consumers that are gone', async () => {
    for (let n = 0; n < 5; n++) {
      const instance = openRedisStore(connections[0]!(), POLICY, new Clock());
      await start(instance, `session-${n}`);
      await settle(instance, await instance.outbox.take(1_000));
      await instance.outbox.release();
    }
    expect(await redis.xinfo('CONSUMERS', stream, 'callbacks')).toEqual([]);
  });

  it('lets sweeps wait where too much waits already, and loses no expiry by it', async () => {
    const clock = new ManualClock();
    const [one] = open(clock);
    await start(one, 'a');
    await fill(3_072);
    clock.advance(POLICY.expireAfterMs);
    expect(await one.sessions.expireIdle({ maxSessions: 10 })).toMatchObject({ expired: 0, more: true });
    for (let some = await one.outbox.take(1_024); some.length > 0; some = await one.outbox.take(1_024))
      await settle(one, some);
    expect(await one.sessions.expireIdle({ maxSessions: 10 })).toMatchObject({ expired: 1, more: false });
  });

  it('is bounded, and counts what it lost', async () => {
    const [one] = open();
    await fill(4_096);
    await start(one, 'a');
    expect(await redis.xlen(stream)).toBe(4_096);
    expect(await redis.hget(state, 'lost')).toBe('1');
    expect(await one.outbox.state()).toMatchObject({ waiting: 4_096, lost: 1 });
  });

  it('keeps a bounded number of dead letters, and counts what it lost of them', async () => {
    const [one] = open();
    await fill(401);
    let buried = 0;
    for (let some = await one.outbox.take(1_024); some.length > 0; some = await one.outbox.take(1_024))
      for (const { event } of some) {
        await one.outbox.bury(event, 20, 'nobody listens');
        buried++;
      }
    expect(buried).toBe(401);
    expect(await redis.xlen(deadLetters)).toBe(400);
    expect(await redis.hget(state, 'lost')).toBe('1');
  });
});
