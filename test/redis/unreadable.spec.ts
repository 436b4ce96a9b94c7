import fc from 'fast-check';
import { Availability } from '../../src/sessions/redis/availability.js';
import { partitionKeys, userKeys } from '../../src/sessions/redis/keys.js';
import { openRedisStore as open } from '../../src/sessions/redis/redis-store.js';
import { type SessionEvent } from '../../src/sessions/session-events.js';
import { ManualClock } from '../support/manual-clock.js';
import { useConnection, useRedisDatabase } from '../support/redis-database.js';
import { POLICY, eventsOf } from '../support/stores.js';
import { filmOf } from '../support/windows.js';

/**
 * Values that this release cannot read, whoever wrote them: they are moved to the quarantine, counted, and block
 * nothing.
 */

const { url, redis, empty } = useRedisDatabase();
const link = useConnection(() => url);
let clock: ManualClock;
let lines: string[];
let store: ReturnType<typeof open>;
beforeEach(async () => {
  await empty();
  clock = new ManualClock();
  lines = [];
  const log = { log: () => undefined, warn: () => undefined, error: (line: string) => lines.push(line) };
  const settings = {
    policy: POLICY,
    subscriptions: [{ receiver: 'default', events: ['session.expired', 'session.started'] }],
    STORE_LAYOUT: '2',
  } as const;
  store = open(link(), settings, clock, new Availability(log));
});

const request = (userId: string, sessionId = 'tv') => ({
  userId,
  sessionId,
  streamId: 'film',
  phase: undefined,
  window: filmOf(100),
  endSessionIds: [],
  quota: POLICY.quota,
});
async function watch(userId: string, sessionId = 'tv'): Promise<void> {
  const admission = await store.sessions.admit(request(userId, sessionId));
  if (admission.outcome !== 'admitted') throw new Error(admission.outcome);
  await store.sessions.confirm(admission.place);
}
const sweep = async (): Promise<number> => (await store.sessions.expireIdle({ maxSessions: 1_000 })).expired;
const bucketOf = (userId: string): string => /\d+$/.exec(userKeys(userId).records)![0];
/** Replaces the records of a user by this value, and makes it due for the sweep at this instant. */
async function spoil(userId: string, value: string | Buffer, dueAt = clock.now()): Promise<void> {
  const { records, index, ofPartition } = userKeys(userId);
  await redis.hset(records, userId, value);
  await redis.zadd(index, dueAt, userId);
  await redis.zadd(ofPartition.buckets, 'LT', dueAt, bucketOf(userId));
}
/** Another user of the same bucket, of the same partition only, or of neither. */
function another(userId: string, where: 'same bucket' | 'same partition' | 'another partition'): string {
  const keys = userKeys(userId);
  for (let n = 0; ; n++) {
    const found = userKeys(`other-${n}`);
    const at =
      found === keys
        ? 'same bucket'
        : found.ofPartition === keys.ofPartition
          ? 'same partition'
          : 'another partition';
    if (at === where) return `other-${n}`;
  }
}
const asideOf = (userId: string): Promise<Record<string, string>> =>
  redis.hgetall(userKeys(userId).ofPartition.aside);
const typesOf = (events: readonly SessionEvent[]): string[] => events.map(({ type }) => type);

describe('a value that cannot be read', () => {
  it('is moved to the quarantine by the sweep, which claims and reports other expiries exactly once', async () => {
    await watch('ana');
    clock.advance(POLICY.expireAfterMs);
    const beside = another('ana', 'same bucket');
    await spoil(beside, 'xxxxx', clock.now() + 1);
    clock.advance(1);
    expect(await sweep()).toBe(1);
    for (let again = 0; again < 3; again++) {
      clock.advance(1_000);
      expect(await sweep()).toBe(0);
    }
    expect(typesOf(await eventsOf(store, 'ana'))).toEqual(['session.started', 'session.expired']);
    expect(await redis.xlen(userKeys('ana').ofPartition.outbox)).toBe(2);
    expect(await store.sessions.ledger()).toMatchObject({ admitted: 1, expired: 1, unreadable: 1 });
    expect(await asideOf(beside)).toEqual({ [beside]: 'xxxxx' });
    expect(await redis.keys('sg:*:[ux]*')).toEqual([]);
    expect(lines).toEqual([expect.stringContaining('cannot read')]);
  });

  it('is logged once, also by an instance that did not move it', async () => {
    await sweep();
    const beside = userKeys('ana').ofPartition.state;
    await redis.hincrby(beside, 'unreadable', 1);
    await sweep();
    await redis.hincrby(beside, 'unreadable', 1);
    await sweep();
    expect(lines).toHaveLength(1);
  });

  it('reads like a user without sessions, and is moved with the next change', async () => {
    await spoil('ana', 'xxxxx');
    expect(await store.sessions.list('ana')).toEqual({ quota: undefined, sessions: [] });
    expect(await redis.hget(userKeys('ana').records, 'ana')).toBe('xxxxx');
    await watch('ana');
    expect((await store.sessions.list('ana')).sessions).toMatchObject([{ sessionId: 'tv' }]);
    expect(await asideOf('ana')).toEqual({ ana: 'xxxxx' });
    expect(await store.sessions.ledger()).toMatchObject({ admitted: 1, unreadable: 1 });
  });

  it.each(['admit', 'confirm', 'withdraw', 'keepAlive', 'end'] as const)(
    'does not make %s fail',
    async (verb) => {
      const admission = await store.sessions.admit(request('ana'));
      if (admission.outcome !== 'admitted') throw new Error(admission.outcome);
      const whole = (await redis.hgetBuffer(userKeys('ana').records, 'ana'))!;
      const call = {
        admit: () => store.sessions.admit(request('ana')),
        confirm: () => store.sessions.confirm(admission.place),
        withdraw: () => store.sessions.withdraw(admission.place),
        keepAlive: () => store.sessions.keepAlive('ana', 'tv'),
        end: () => store.sessions.end('ana', 'all', 'user'),
      }[verb];
      // Cut short at each byte (one byte alone is a valid value without records), of a later layout, and of another
      // program.
      const cut = Array.from({ length: whole.length - 2 }, (_, at) => whole.subarray(0, at + 2));
      const bad = [...cut, Buffer.from([3, ...whole.subarray(1)]), Buffer.from(''), Buffer.from('xxxxx')];
      for (const [n, value] of bad.entries()) {
        await spoil('ana', value);
        await call();
        expect(await store.sessions.ledger()).toMatchObject({ unreadable: n + 1 });
        expect(await redis.hgetBuffer(userKeys('ana').records, 'ana')).not.toEqual(value);
      }
    },
  );

  it('may have any bytes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 80 }),
        fc.constantFrom(0, 2, 0x12, 0x30),
        async (bytes, first) => {
          await spoil('ana', Buffer.from([first, ...bytes]));
          await store.sessions.list('ana');
          await store.sessions.keepAlive('ana', 'tv');
          expect((await store.sessions.expireIdle({ maxSessions: 10 })).expired).toBeLessThan(10);
          await store.sessions.admit(request('ana'));
          await redis.hdel(userKeys('ana').records, 'ana');
        },
      ),
      { numRuns: 200 },
    );
  });

  it('is kept in the quarantine up to a maximum number and length', async () => {
    const { partition } = userKeys('ana').ofPartition;
    let made = 0;
    for (let n = 0; made < 70; n++) {
      const { ofPartition } = userKeys(`user-${n}`);
      if (ofPartition.partition !== partition) continue;
      await spoil(`user-${n}`, 'x'.repeat(10_000));
      made++;
    }
    await sweep();
    const aside = await redis.hgetall(partitionKeys(partition).aside);
    expect(Object.keys(aside)).toHaveLength(64);
    expect(Math.max(...Object.values(aside).map((value) => value.length))).toBe(4_096);
    expect(await store.sessions.ledger()).toMatchObject({ unreadable: 70 });
    expect(await redis.keys('sg:*:[ux]*')).toEqual([]);
  });
});

describe('a key of a wrong type', () => {
  it.each(['records', 'index'] as const)(
    'in the place of the %s of a bucket does not block other buckets',
    async (which) => {
      const other = another('ana', 'same partition');
      await watch('ana');
      await watch(other);
      const key = userKeys('ana')[which];
      await redis.del(key);
      await redis.set(key, 'foreign');
      clock.advance(POLICY.expireAfterMs);
      expect(await sweep()).toBe(1);
      expect(typesOf(await eventsOf(store, other))).toEqual(['session.started', 'session.expired']);
      expect(await sweep()).toBe(0);
      expect(await redis.get(key)).toBe('foreign');
    },
  );

  it('in the place of the state of a partition does not block other partitions, and is logged once', async () => {
    const other = another('ana', 'another partition');
    await watch('ana');
    await watch(other);
    const { state } = userKeys('ana').ofPartition;
    await redis.del(state);
    await redis.set(state, 'foreign');
    clock.advance(POLICY.expireAfterMs);
    let expired = 0;
    for (let n = 0; n < 3; n++) expired += await sweep();
    expect(expired).toBe(1);
    expect(lines).toEqual([expect.stringContaining('wrong type')]);
  });
});

describe('an event that cannot be read', () => {
  const BAD = [
    ['e', 'nonsense'],
    ['e2', '{"type":"started"'],
    ['e2', 'null'],
    ['e2', '{"type":"started","user":"ana"}'],
    ['e9', '{}'],
  ] as const;

  it('is moved from the outbox to the quarantine, and the other events of its partition are delivered', async () => {
    const { outbox, aside } = userKeys('ana').ofPartition;
    for (const [field, text] of BAD) await redis.xadd(outbox, '*', field, text);
    await watch('ana');
    const taken = [];
    for (let n = 0; n < 10 && taken.length === 0; n++)
      taken.push(...(await store.outboxes.of('default').take(1_000)));
    expect(typesOf(taken.map(({ event }) => event))).toEqual(['session.started']);
    for (const { event } of taken) await store.outboxes.of('default').settle(event);
    expect(await store.outboxes.of('default').state()).toMatchObject({ waiting: 0, lost: 0 });
    expect(await redis.hlen(aside)).toBe(BAD.length);
    expect(await store.sessions.ledger()).toMatchObject({ unreadable: BAD.length });
    expect((await redis.xpending(outbox, 'callbacks'))[0]).toBe(0);
    expect(lines).toHaveLength(1);
  });

  it('is not listed as a dead letter, and not replayed', async () => {
    const { deadLetters } = userKeys('ana').ofPartition;
    await redis.xadd(deadLetters, '*', 'e', 'nonsense', 'tries', 1, 'failure', 'none');
    await redis.xadd(deadLetters, '*', 'e', 'ended 1 ana tv film 1 1 0 1 user', 'tries', 2, 'failure', 'no');
    expect(await store.outboxes.of('default').deadLetters(10)).toMatchObject([{ tries: 2, failure: 'no' }]);
    expect(await store.outboxes.of('default').replay(undefined)).toEqual({ replayed: 1, more: false });
    expect(await store.outboxes.of('default').state()).toMatchObject({ waiting: 1, deadLetters: 0 });
    expect(await store.sessions.ledger()).toMatchObject({ unreadable: 1 });
  });

  it('is skipped for listeners', async () => {
    await redis.xadd(userKeys('ana').ofPartition.ring, '*', 'e', 'nonsense');
    await watch('ana');
    expect(typesOf(await eventsOf(store, 'ana'))).toEqual(['session.started']);
  });
});
