import { Clock } from '../../src/clock.js';
import { userKeys } from '../../src/sessions/redis/keys.js';
import { type OutboxEntry } from '../../src/sessions/session-events.js';
import { filmOf } from '../support/windows.js';
import { ManualClock } from '../support/manual-clock.js';
import { useConnection, useRedisDatabase } from '../support/redis-database.js';
import { POLICY, TWO_RECEIVERS, openRedisStore } from '../support/stores.js';

/** The outbox of several instances on one Redis: which instance gets which events, silent instances, and the bounds. */

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
const sessionIdsOf = (entries: readonly OutboxEntry[]): string[] =>
  entries.map(({ event }) => event.sessionId);
async function settle({ outbox }: Instance, entries: readonly OutboxEntry[]): Promise<void> {
  for (const { event } of entries) await outbox.settle(event);
}
/** Adds this number of events to the outbox. */
async function fill(events: number, outbox = stream): Promise<void> {
  const pipeline = redis.pipeline();
  for (let n = 0; n < events; n++) pipeline.xadd(outbox, '*', 'e', `started 1 ana s${n} film 1 1 0 1 -`);
  await pipeline.exec();
}

describe('the outbox', () => {
  it("gives a partition's events to one instance at a time, so that they are delivered in order", async () => {
    const [one, other] = open();
    for (const session of ['a', 'b', 'c']) await start(one, session);
    const first = await one.outbox.take(32); // gets one event of each partition
    expect(sessionIdsOf(first)).toEqual(['a']);
    expect(await other.outbox.take(1_000)).toEqual([]);
    expect(sessionIdsOf(await one.outbox.take(32))).toEqual(['b']);
    await settle(one, first);
    expect(await other.outbox.take(1_000)).toEqual([]); // b is not settled yet
    await one.outbox.release();
    expect(sessionIdsOf(await other.outbox.take(1_000))).toEqual(['b']);
    expect(sessionIdsOf(await other.outbox.take(1_000))).toEqual(['c']);
  });

  it('gives released events to another instance at once, with the number of tries', async () => {
    const [one, other] = open();
    await start(one, 'a');
    const [entry] = await one.outbox.take(100);
    expect(entry!.tries).toBe(0);
    await one.outbox.failed(entry!.event, 7);
    expect(await other.outbox.take(100)).toEqual([]);
    await one.outbox.release();
    expect(await other.outbox.take(100)).toEqual([{ event: entry!.event, tries: 7 }]);
  });

  it('gives the events of a silent instance to another one, but not those of an instance that reports progress', async () => {
    const [one, other] = open();
    await start(one, 'a');
    const [entry] = await one.outbox.take(100);
    await redis.call('XCLAIM', stream, 'callbacks', 'somebody', 0, entry!.event.id, 'IDLE', 19_000, 'JUSTID');
    await one.outbox.stillDelivering();
    expect(await other.outbox.take(100)).toEqual([]);
    await redis.call('XCLAIM', stream, 'callbacks', 'somebody', 0, entry!.event.id, 'IDLE', 20_000, 'JUSTID');
    expect(sessionIdsOf(await other.outbox.take(100))).toEqual(['a']);
  });

  it('gives all events of a silent instance to one other instance, and newer events only after they are settled', async () => {
    const [one, other] = open();
    const third = openRedisStore(connections[0]!(), POLICY, new Clock());
    for (const session of ['a', 'b', 'c', 'd']) await start(one, session);
    const had = (await one.outbox.take(96)).map(({ event }) => event);
    expect(had.map(({ sessionId }) => sessionId)).toEqual(['a', 'b', 'c']);
    const silent = (ids: readonly string[]) =>
      redis.call('XCLAIM', stream, 'callbacks', 'the dead', 0, ...ids, 'IDLE', 20_000, 'JUSTID');
    await silent([had[1]!.id]);
    expect(await other.outbox.take(1_000)).toEqual([]); // only one of its events has been silent for long enough
    await silent(had.map(({ id }) => id));
    expect(await other.outbox.take(0)).toEqual([]);
    const successor = await other.outbox.take(32);
    expect(sessionIdsOf(successor)).toEqual(['a', 'b', 'c']);
    expect(successor.map(({ tries }) => tries)).toEqual([1, 1, 1]); // these events may have caused the crash
    expect(await third.outbox.take(1_000)).toEqual([]);
    expect(await one.outbox.take(1_000)).toEqual([]); // the silent instance returns, and gets nothing
    await settle(other, successor);
    expect(sessionIdsOf(await third.outbox.take(1_000))).toEqual(['d']);
    const consumers = (await redis.xinfo('CONSUMERS', stream, 'callbacks')) as unknown[][];
    expect(consumers.map(([, name]) => name)).not.toContain('the dead');
  });

  it('gives events again if the reply to the instance was lost', async () => {
    const [one] = open();
    await start(one, 'a');
    await start(one, 'b');
    // The script has run, but its reply was lost. The instance must get no newer events before these are settled.
    const { consumer } = one.outbox as unknown as { consumer: string };
    await redis.xgroup('CREATE', stream, 'callbacks', '0');
    await redis.xreadgroup('GROUP', 'callbacks', consumer, 'COUNT', 1, 'STREAMS', stream, '>');
    expect(await one.outbox.take(1_000)).toEqual([]);
    const [[id]] = (await redis.xrange(stream, '-', '+', 'COUNT', 1)) as [[string, string[]]];
    await redis.call('XCLAIM', stream, 'callbacks', consumer, 0, id, 'IDLE', 20_000, 'JUSTID');
    const [lost] = await one.outbox.take(1_000);
    expect(lost!.event.sessionId).toBe('a');
    await settle(one, [lost!]);
    expect(sessionIdsOf(await one.outbox.take(1_000))).toEqual(['b']);
  });

  it('loses no event of other partitions if one partition fails', async () => {
    const [one] = open();
    await start(one, 'a');
    const broken = userKeys('ben').ofPartition.outbox;
    await redis.set(broken, 'not a stream');
    const taken: OutboxEntry[] = [];
    for (let n = 0; n < 20; n++) taken.push(...(await one.outbox.take(1_000).catch(() => [])));
    expect(sessionIdsOf(taken)).toEqual(['a']);
  });

  it('removes the consumers of instances that have stopped', async () => {
    for (let n = 0; n < 5; n++) {
      const instance = openRedisStore(connections[0]!(), POLICY, new Clock());
      await start(instance, `session-${n}`);
      await settle(instance, await instance.outbox.take(1_000));
      await instance.outbox.release();
    }
    expect(await redis.xinfo('CONSUMERS', stream, 'callbacks')).toEqual([]);
  });

  it('makes sweeps wait while too many events wait, without losing an expiry', async () => {
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

  it('has a maximum size, and counts lost events', async () => {
    const [one] = open();
    await fill(4_096);
    await start(one, 'a');
    expect(await redis.xlen(stream)).toBe(4_096);
    expect(await redis.hget(state, 'lost')).toBe('1');
    expect(await one.outbox.state()).toMatchObject({ waiting: 4_096, lost: 1 });
  });

  it('keeps a maximum number of dead letters, and counts lost ones', async () => {
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

describe('the outboxes of two receivers', () => {
  const ofCrm = `${stream}:crm`;
  const openTwo = (clock = new Clock()) => {
    const store = openRedisStore(connections[0]!(), POLICY, clock, { subscriptions: TWO_RECEIVERS });
    return { ...store, crm: store.outboxes.of('crm') };
  };

  it('contain each event once for each receiver, and one that is not emptied delays no other', async () => {
    const { crm, ...store } = openTwo();
    for (const session of ['a', 'b']) await start(store, session);
    const [first] = await store.outbox.take(32);
    await settle(store, [first!]);
    expect(sessionIdsOf(await store.outbox.take(32))).toEqual(['b']);
    expect([(await store.outbox.state()).waiting, (await crm.state()).waiting]).toEqual([1, 2]);
    const ofOther = await crm.take(32);
    expect(ofOther.map(({ event }) => event)).toMatchObject([{ sessionId: 'a', at: first!.event.at }]);
  });

  it('have dead letters and bounds of their own', async () => {
    const { crm, ...store } = openTwo();
    await fill(4_096, ofCrm);
    await start(store, 'a');
    expect(await crm.state()).toMatchObject({ waiting: 4_096, lost: 1 });
    expect(await store.outbox.state()).toMatchObject({ waiting: 1, lost: 0 });
    const [entry] = await store.outbox.take(32);
    await store.outbox.bury(entry!.event, 20, 'nobody listens');
    expect([await store.outbox.deadLetters(9), await crm.deadLetters(9)]).toMatchObject([
      [{ tries: 20 }],
      [],
    ]);
    expect(await crm.replay(undefined)).toEqual({ replayed: 0, more: false });
    expect(await store.outbox.replay(undefined)).toEqual({ replayed: 1, more: false });
  });

  it('make sweeps wait only if all of them are too full', async () => {
    const clock = new ManualClock();
    const store = openTwo(clock);
    const sweep = async () => {
      clock.advance(POLICY.expireAfterMs);
      return store.sessions.expireIdle({ maxSessions: 10 });
    };
    await start(store, 'a');
    await fill(3_072, ofCrm);
    expect(await sweep()).toMatchObject({ expired: 1 });
    await start(store, 'b');
    await fill(3_072);
    expect(await sweep()).toMatchObject({ expired: 0, more: true });
  });
});
