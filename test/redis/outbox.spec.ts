import { Clock } from '../../src/clock.js';
import { userKeys } from '../../src/sessions/redis/redis-keys.js';
import { type OutboxEntry } from '../../src/sessions/session-events.js';
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
const { log, state, deadLetters } = userKeys('ana');

async function start({ sessions }: Instance, sessionId: string): Promise<void> {
  const request = { userId: 'ana', sessionId, streamId: 'film', phase: 0, phases: 1, endSessionIds: [] };
  const admission = await sessions.admit(request);
  if (admission.outcome === 'admitted') await sessions.confirm(admission.place);
}
const told = (entries: readonly OutboxEntry[]): string[] => entries.map(({ event }) => event.sessionId);
const settle = (instance: Instance, entries: readonly OutboxEntry[]): Promise<void> =>
  instance.outbox.settle(entries.map(({ event }) => event));
/** Events that wait for delivery like any others. */
async function fill(events: number): Promise<void> {
  const pipeline = redis.pipeline();
  for (let n = 0; n < events; n++) pipeline.xadd(log, '*', 'e', `started 1 ana s${n} film 1 1 0 -`);
  await pipeline.exec();
}

describe('the outbox', () => {
  it("gives a partition's events to one instance at a time, so that they are delivered in order", async () => {
    const [one, other] = open();
    for (const session of ['a', 'b', 'c']) await start(one, session);
    const first = await one.outbox.take(32); // one of each partition
    expect(told(first)).toEqual(['a']);
    expect(await other.outbox.take(1_000)).toEqual([]);
    expect(told(await one.outbox.take(64))).toEqual(['b']);
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
    await redis.call('XCLAIM', log, 'callbacks', 'somebody', 0, entry!.event.id, 'IDLE', 19_000, 'JUSTID');
    await one.outbox.stillDelivering();
    expect(await other.outbox.take(100)).toEqual([]);
    await redis.call('XCLAIM', log, 'callbacks', 'somebody', 0, entry!.event.id, 'IDLE', 20_000, 'JUSTID');
    expect(told(await other.outbox.take(100))).toEqual(['a']);
  });

  it('gives again what got lost on its way to the one that asked', async () => {
    const [one] = open();
    await start(one, 'a');
    await start(one, 'b');
    // The script ran for it, but it never heard: of nothing that is not settled may it be given newer events.
    const [, consumer] = [await one.outbox.take(0), (one.outbox as unknown as { consumer: string }).consumer];
    await redis.xreadgroup('GROUP', 'callbacks', consumer, 'COUNT', 1, 'STREAMS', log, '>');
    expect(await one.outbox.take(1_000)).toEqual([]);
    const [[id]] = (await redis.xrange(log, '-', '+', 'COUNT', 1)) as [[string, string[]]];
    await redis.call('XCLAIM', log, 'callbacks', consumer, 0, id, 'IDLE', 20_000, 'JUSTID');
    expect(told(await one.outbox.take(1_000))).toEqual(['a']);
    expect(told(await one.outbox.take(1_000))).toEqual(['b']);
  });

  it('keeps what is not delivered, however old, and forgets what is after a minute', async () => {
    const [one, other] = open();
    for (const n of [1, 2, 3]) await redis.xadd(log, `${n}-0`, 'e', `started 1 ana s${n} film 1 1 0 -`);
    await one.sessions.expireIdle({ maxSessions: 10 });
    await one.outbox.take(0);
    const first = await one.outbox.take(32);
    await other.outbox.take(1_000);
    expect(await redis.xlen(log)).toBe(3);
    await settle(one, first);
    await settle(one, await one.outbox.take(1_000)); // which trims what came before
    expect(await redis.xlen(log)).toBe(2);
    await other.outbox.take(1_000);
    expect(await redis.xlen(log)).toBe(0);
    const { outbox } = openRedisStore(connections[0]!(), POLICY, new Clock(), {
      outbox: false,
      refusals: false,
    });
    expect(await outbox.state()).toMatchObject({ waiting: 0 });
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
    await redis.xtrim(log, 'MAXLEN', 0); // what is delivered stays for watchers for a minute
    expect(await one.sessions.expireIdle({ maxSessions: 10 })).toMatchObject({ expired: 1, more: false });
  });

  it('is bounded, and counts what it lost', async () => {
    const [one] = open();
    await fill(4_096);
    await one.sessions.end('ana', ['nobody'], 'user');
    await start(one, 'a');
    expect(await redis.xlen(log)).toBe(4_096);
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
