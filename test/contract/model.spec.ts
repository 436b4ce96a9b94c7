import fc from 'fast-check';
import { ALL_SESSIONS } from '../../src/sessions/admission.js';
import { MemorySessionRepository } from '../../src/sessions/memory/memory-session.repository.js';
import { RedisSessionRepository } from '../../src/sessions/redis/redis-session.repository.js';
import { type Place, type Session } from '../../src/sessions/session.js';
import { type SessionRepository } from '../../src/sessions/session.repository.js';
import { ManualClock } from '../support/manual-clock.js';
import { QUIET, useConnection, useRedisDatabase } from '../support/redis-database.js';
import { POLICY } from './session-repository.contract.js';

/**
 * Random histories: whatever happens in whatever order, through either of two processes, the Redis store answers as
 * the rule does. The rule speaks through the embedded store, which runs it as it is; what the rule itself must never
 * do is asserted beside it, from what was seen alone.
 */

const SESSIONS = ['a', 'b', 'c', 'd', 'e'];
const STREAMS = ['film', 'news'];
const USERS = ['ana', 'ben'];
/** Around every border of the rule. */
const WAITS = [0, 1, 100, 4_999, 5_000, 9_999, 10_000, 20_000, 29_999, 30_000, 60_000];

const either = fc.nat(1);
const user = fc.constantFrom(...USERS);
const ids = fc.subarray(SESSIONS, { maxLength: 3 });
const step = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('admit' as const),
      process: either,
      user,
      session: fc.constantFrom(...SESSIONS),
      stream: fc.constantFrom(...STREAMS),
      phase: fc.option(fc.nat(4), { nil: undefined, freq: 3 }),
      phases: fc.constantFrom(0, 4, 4, 4, 1_000),
      end: fc.oneof({ weight: 4, arbitrary: fc.constant<string[]>([]) }, { weight: 1, arbitrary: ids }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('arrive' as const), process: either, which: fc.nat(9) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('abort' as const), process: either, which: fc.nat(9) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('end' as const),
      process: either,
      user,
      ids: fc.oneof(ids, fc.constant(ALL_SESSIONS)),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(...WAITS) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('sweep' as const), process: either }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

describe('the Redis store', () => {
  const { url, redis, empty } = useRedisDatabase();
  const connections = [0, 1].map(() => useConnection(() => url));

  it('answers as the rule does, whatever happens', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 4 }),
        async (history, limit) => {
          const policy = { ...POLICY, limit };
          await empty();
          const clock = new ManualClock();
          const rule = new MemorySessionRepository(policy, clock);
          const stores = connections.map(
            (connection) => new RedisSessionRepository(connection(), policy, clock, QUIET),
          );
          await play(history, limit, clock, rule, stores);
          await expectIndexed();

          // Left alone, everything is forgotten, and nothing stays behind.
          clock.advance(2 * POLICY.expireAfterMs);
          await sweepBoth(rule, stores[0]!);
          expect(await redis.keys('*')).toEqual([]);
        },
      ),
      { numRuns: Number(process.env.MODEL_RUNS ?? 300) },
    );
  });

  /** The sweep finds users by the index alone: each must be in it, no later than its earliest record is due. */
  async function expectIndexed(): Promise<void> {
    for (const key of await redis.keys('sg:*:u:*')) {
      const [partition, userId] = key.split(':u:') as [string, string];
      const records = Object.values(await redis.hgetallBuffer(key));
      const score = await redis.zscore(`${partition}:x`, userId);
      expect(Number(score ?? Infinity)).toBeLessThanOrEqual(Math.min(...records.map(dueAt)));
    }
  }
});

/** As record.lua lays a record out: status, when started, last activity. */
function dueAt(record: Buffer): number {
  const reserved = String.fromCharCode(record[0]!) === 'R';
  return record.readUIntBE(7, 6) + (reserved ? POLICY.leaseMs : POLICY.expireAfterMs);
}

async function play(
  history: readonly Step[],
  limit: number,
  clock: ManualClock,
  rule: SessionRepository,
  stores: readonly SessionRepository[],
): Promise<void> {
  const inFlight: Place[] = [];
  const expiries = new Set<string>();
  const reportOnce = (expired: readonly Session[]): void => {
    for (const { userId, sessionId, startedAt, expiresAt } of expired) {
      const life = `${userId}/${sessionId}/${startedAt}`;
      expect(expiries).not.toContain(life);
      expiries.add(life);
      expect(expiresAt).toBeLessThanOrEqual(clock.now());
    }
  };
  for (const one of history) {
    switch (one.do) {
      case 'wait':
        clock.advance(one.ms);
        break;
      case 'sweep':
        reportOnce(await sweepBoth(rule, stores[one.process]!));
        break;
      case 'admit': {
        const request = {
          userId: one.user,
          sessionId: one.session,
          streamId: one.stream,
          phase: one.phase,
          phases: one.phases,
          endSessionIds: one.end,
        };
        const before = await rule.list(one.user);
        const expected = await rule.admit(request);
        expect(await stores[one.process]!.admit(request)).toEqual(expected);
        // From what was seen alone: who holds a place is never refused for want of one, and who does not is only
        // refused where all others hold as many as there are.
        const others = before.filter(({ sessionId }) => sessionId !== one.session);
        const holds = others.length < before.length;
        if (expected.outcome === 'limit-reached') expect([holds, others.length]).toEqual([false, limit]);
        if (expected.outcome === 'admitted') {
          expect(expected.live).toBeLessThanOrEqual(limit);
          expect(expected.created).toBe(!holds);
          inFlight.push(expected.place);
          reportOnce(expected.expired);
        }
        break;
      }
      case 'arrive':
      case 'abort': {
        const [place] = inFlight.splice(one.which % Math.max(1, inFlight.length), 1);
        if (place === undefined) break;
        const verb = one.do === 'arrive' ? 'confirm' : 'withdraw';
        if (verb === 'confirm' && !place.reserved) break;
        await Promise.all([rule[verb](place), stores[one.process]![verb](place)]);
        break;
      }
      case 'end': {
        const expected = await rule.end(one.user, one.ids, 'user');
        const ended = await stores[one.process]!.end(one.user, one.ids, 'user');
        expect({ ...ended, endedBefore: ended.endedBefore.toSorted() }).toEqual({
          ...expected,
          endedBefore: expected.endedBefore.toSorted(),
        });
        break;
      }
    }
    for (const userId of USERS) {
      const expected = await rule.list(userId);
      expect(expected.length).toBeLessThanOrEqual(limit);
      expect(await stores[0]!.list(userId)).toEqual(expected);
    }
  }
}

/** Both must claim the same. */
async function sweepBoth(rule: SessionRepository, store: SessionRepository): Promise<readonly Session[]> {
  const [expected, claimed] = await Promise.all(
    [rule, store].map((one) => one.expireIdle({ maxSessions: 1_000 })),
  );
  const order = (sessions: readonly Session[]): Session[] =>
    sessions.toSorted((a, b) => (`${a.userId}/${a.sessionId}` < `${b.userId}/${b.sessionId}` ? -1 : 1));
  expect(order(claimed!.expired)).toEqual(order(expected!.expired));
  return claimed!.expired;
}
