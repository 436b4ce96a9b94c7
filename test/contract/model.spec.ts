import fc from 'fast-check';
import { type Device } from '../../src/sessions/device.js';
import { ALL_SESSIONS, type Policy } from '../../src/sessions/admission.js';
import { type Layout } from '../../src/sessions/redis/layout/layout.js';
import { type RedisLink } from '../../src/sessions/redis/link.js';
import { openFormerStore } from '../support/former-release.js';
import { type Place } from '../../src/sessions/session.js';
import { type SessionEvent } from '../../src/sessions/session-events.js';
import { readStoredRecords } from '../support/stored-records.js';
import { type Quota } from '../../src/sessions/quota.js';
import { ManualClock } from '../support/manual-clock.js';
import { filmOf, liveFrom } from '../support/windows.js';
import { useConnection, useRedisDatabase } from '../support/redis-database.js';
import { POLICY, type Store, eventsOf, openMemoryStore, openRedisStore } from '../support/stores.js';

/**
 * Random histories: whatever happens in whatever order, through either of two processes, the Redis store answers as
 * the rule does. The rule speaks through the embedded store, which runs it as it is; what the rule itself must never
 * do is asserted beside it, from what was seen alone.
 */

const SESSIONS = ['a', 'b', 'c', 'd', 'e'];
const STREAMS = ['film', 'news'];
const USERS = ['ana', 'ben'];
const DEVICES: readonly Device[] = [
  { id: 'tv', name: 'Living-room TV', type: 'tv' },
  { id: 'tv', name: 'Attic "TV" / ü', type: 'phone', shared: true },
  { id: 'tv' },
  { id: 'web', shared: true },
  { id: 'web', shared: false },
];
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
      phase: fc.oneof(
        { weight: 3, arbitrary: fc.option(fc.nat(4), { nil: undefined, freq: 3 }) },
        { weight: 1, arbitrary: fc.constant('same' as const) },
      ),
      window: fc.constantFrom(
        undefined,
        filmOf(4),
        filmOf(4),
        filmOf(4),
        filmOf(1_000),
        liveFrom(2, 3, 4),
        liveFrom(0, 1, 4),
        liveFrom(2, 3, 1_000),
      ),
      end: fc.oneof({ weight: 4, arbitrary: fc.constant<string[]>([]) }, { weight: 1, arbitrary: ids }),
      plan: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined, freq: 2 }),
      device: fc.option(fc.constantFrom(...DEVICES), { nil: undefined, freq: 2 }),
      client: fc.option(fc.constantFrom('here', 'there'), { nil: undefined, freq: 2 }),
      paced: fc.boolean(),
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
      reason: fc.constantFrom('user' as const, 'left' as const),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(...WAITS) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('sweep' as const), process: either }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('keep alive' as const),
      process: either,
      user,
      session: fc.constantFrom(...SESSIONS),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('note activity' as const),
      process: either,
      user,
      session: fc.constantFrom(...SESSIONS),
      agoMs: fc.constantFrom(-1_000, 0, 1, 5_000, 20_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom('pause' as const, 'resume' as const), process: either }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('limit' as const), limit: fc.integer({ min: 1, max: 4 }) }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

// prettier-ignore
const ADMIT_BEN: Step = {
  do: 'admit', process: 0, user: 'ben', session: 'a', stream: 'film', phase: undefined, window: filmOf(4), end: [], plan: undefined,
  device: undefined, client: undefined, paced: false,
};
/** What chance found once is tried always. */
const FOUND: [Step[], number][] = [
  // Back from an outage, with somebody in the index who is not due: there is not more to claim.
  [
    [
      ADMIT_BEN,
      { do: 'sweep', process: 0 },
      { do: 'wait', ms: 60_000 },
      ADMIT_BEN,
      { do: 'sweep', process: 0 },
    ],
    1,
  ],
];

type Open = (policy: Policy, clock: ManualClock) => Pick<Store, 'sessions'>;

describe('the Redis store', () => {
  const { url, redis, empty } = useRedisDatabase();
  const connections = [0, 1].map(() => useConnection(() => url)) as [() => RedisLink, () => RedisLink];
  let former: Awaited<ReturnType<typeof openFormerStore>>;
  beforeAll(async () => {
    former = await openFormerStore(url);
  });
  afterAll(() => former.close());
  const opening =
    (at: 0 | 1, layout: Layout): Open =>
    (policy, clock) =>
      openRedisStore(connections[at](), policy, clock, { layout });
  const openingFormer: Open = (policy, clock) => ({ sessions: former.open(policy, clock) });

  it('answers as the rule does, whatever happens', async () => {
    expect.hasAssertions();
    await expectAsTheRule([opening(0, 2), opening(1, 2)], true);
  }, 240_000);

  it('answers as the rule does while one process writes the newer layout and the other the older', async () => {
    expect.hasAssertions();
    await expectAsTheRule([opening(0, 2), opening(1, 1)]);
  }, 240_000);

  it('answers as the rule does beside the release before, each reading what the other wrote', async () => {
    expect.hasAssertions();
    await expectAsTheRule([opening(0, 1), openingFormer]);
  }, 240_000);

  /**
   * `whole`: no process writes the older layout, which has no place for some of what the rule knows. Otherwise the
   * histories are of players that take no more than they play, from streams whose phases have no length, and what the
   * older layout cannot hold is not compared.
   */
  async function expectAsTheRule(open: readonly [Open, Open], whole = false): Promise<void> {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 4 }),
        async (history, limit) => {
          await empty();
          const clock = new ManualClock();
          // One object for all, so that the limit can change while they run.
          const policy = { ...POLICY, quota: { maxSessions: limit } };
          const rule = openMemoryStore(policy, clock);
          const expected = new Map<string, SessionEvent[]>(USERS.map((userId) => [userId, []]));
          for (const [userId, events] of expected)
            await rule.events.watch(userId, undefined, (event) => events.push(event));
          const stores = open.map((one) => one(policy, clock));
          await play(whole ? history : history.flatMap(simplify), policy, clock, rule, stores, whole);
          await expectIndexed();
          const { admitted, expired, ended, undone, unreadable } = await stores[0]!.sessions.ledger();
          expect(admitted - expired - ended - undone).toBe((await readRecords()).filter(isHeld).length);
          expect(unreadable).toBe(0);

          // Left alone, everything is forgotten, and nothing stays behind.
          await Promise.all([rule, stores[0]!].map(({ sessions }) => sessions.resumeExpiry()));
          clock.advance(2 * POLICY.expireAfterMs);
          await sweepBoth(rule, stores[0]!);
          clock.advance(POLICY.idleAfterMs); // that one came after an outage
          await sweepBoth(rule, stores[0]!);
          expect(await redis.keys('sg:*:[ux]*')).toEqual([]);
          expect(await stores[0]!.sessions.ledger()).toEqual(await rule.sessions.ledger());
          const reader = openRedisStore(connections[0](), policy, clock);
          for (const [userId, events] of expected)
            expectSameHistory(events, await eventsOf(reader, userId), whole);
          reader.events.onApplicationShutdown();
        },
      ),
      { numRuns: Number(process.env.MODEL_RUNS ?? 100), examples: FOUND },
    );
  }

  /** The sweep finds users by the index alone: each must be in it, no later than its earliest record is due. */
  async function expectIndexed(): Promise<void> {
    for (const { index, userId, dueAt } of await readRecords()) {
      const [, buckets, bucket] = /^(.*:x):(\d+)$/.exec(index)!;
      for (const score of [await redis.zscore(index, userId), await redis.zscore(buckets!, bucket!)])
        expect(Number(score ?? Infinity)).toBeLessThanOrEqual(dueAt);
    }
  }

  async function readRecords(): Promise<{ status: string; dueAt: number; index: string; userId: string }[]> {
    const found = [];
    for (const key of await redis.keys('sg:*:u:*'))
      for (const [userId, value] of Object.entries(await redis.hgetallBuffer(key)))
        for (const record of readStoredRecords(value))
          found.push({ ...record, index: key.replace(':u:', ':x:'), userId });
    return found;
  }
});

/** What the older layout does not hold, as a replacer for JSON. */
function withoutNews(key: string, value: unknown): unknown {
  return ['playsUntil', 'ahead', 'run', 'device', 'replacedBy', 'quota'].includes(key) ? undefined : value;
}

/** A step of a player that takes no more than it plays. */
function simplify(one: Step): Step[] {
  if (one.do === 'note activity') return [];
  if (one.do !== 'admit') return [one];
  const window = one.window && { ...one.window, phaseMs: 0, lastPhaseMs: 0 };
  const phase = one.phase === 'same' ? undefined : one.phase;
  return [{ ...one, window, phase, device: undefined, client: undefined, paced: false }];
}

const isHeld = ({ status }: { status: string }): boolean => status !== 'ended';

async function play(
  history: readonly Step[],
  policy: { quota: Quota },
  clock: ManualClock,
  { sessions: rule }: Pick<Store, 'sessions'>,
  processes: readonly Pick<Store, 'sessions'>[],
  whole: boolean,
): Promise<void> {
  const stores = processes.map(({ sessions }) => sessions);
  /** Of an answer, what every layout holds. */
  const seen = (answer: unknown): unknown =>
    whole ? answer : JSON.parse(JSON.stringify(answer, withoutNews));
  const inFlight: Place[] = [];
  for (const one of history) {
    switch (one.do) {
      case 'wait':
        clock.advance(one.ms);
        break;
      case 'sweep':
        await sweepBoth({ sessions: rule }, processes[one.process]!);
        break;
      case 'keep alive': {
        const expected = await rule.keepAlive(one.user, one.session);
        expect(seen(await stores[one.process]!.keepAlive(one.user, one.session))).toEqual(seen(expected));
        break;
      }
      case 'note activity': {
        const at = clock.now() - one.agoMs;
        const expected = await rule.noteActivity(one.user, one.session, at);
        expect(await stores[one.process]!.noteActivity(one.user, one.session, at)).toEqual(expected);
        break;
      }
      case 'pause': {
        const pause = { by: 'ops', until: one.process === 0 ? undefined : clock.now() + 20_000 };
        expect(await stores[one.process]!.pauseExpiry(pause)).toEqual(await rule.pauseExpiry(pause));
        break;
      }
      case 'limit':
        policy.quota = { maxSessions: one.limit };
        break;
      case 'resume':
        await Promise.all([rule, stores[one.process]!].map((store) => store.resumeExpiry()));
        break;
      case 'admit': {
        const request = {
          userId: one.user,
          sessionId: one.session,
          streamId: one.stream,
          phase: one.phase,
          window: one.window,
          endSessionIds: one.end,
          quota: { maxSessions: one.plan ?? policy.quota.maxSessions },
          device: one.device,
          client: one.client,
          paced: one.paced,
        };
        const limit = request.quota.maxSessions;
        const before = (await rule.list(one.user)).sessions;
        const expected = await rule.admit(request);
        expect(seen(await stores[one.process]!.admit(request))).toEqual(seen(expected));
        // From what was seen alone: who holds a place is never refused for want of one, and who does not is only
        // refused where all others hold as many as there are.
        const others = before.filter(({ sessionId }) => sessionId !== one.session);
        const holds = others.length < before.length;
        if (expected.outcome === 'limit-reached')
          expect([holds, others.length >= limit]).toEqual([false, true]);
        if (expected.outcome === 'admitted') {
          // Those who held a place when the limit was lowered keep it.
          expect(expected.live).toBeLessThanOrEqual(Math.max(limit, before.length));
          expect(expected.created).toBe(!holds);
          inFlight.push(expected.place);
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
        const expected = await rule.end(one.user, one.ids, one.reason);
        const ended = await stores[one.process]!.end(one.user, one.ids, one.reason);
        expect(seen({ ...ended, endedBefore: ended.endedBefore.toSorted() })).toEqual(
          seen({ ...expected, endedBefore: expected.endedBefore.toSorted() }),
        );
        break;
      }
    }
    for (const userId of USERS) {
      const expected = await rule.list(userId);
      expect(expected.sessions.length).toBeLessThanOrEqual(4);
      for (const store of stores) {
        const { quota, sessions } = await store.list(userId);
        expect(seen(sessions)).toEqual(seen(expected.sessions));
        if (whole) expect(quota).toEqual(expected.quota);
      }
    }
  }
}

/** Both must claim as much; what they claim is compared at the end. */
async function sweepBoth(rule: Pick<Store, 'sessions'>, store: Pick<Store, 'sessions'>): Promise<void> {
  const [expected, claimed] = await Promise.all(
    [rule, store].map(({ sessions }) => sessions.expireIdle({ maxSessions: 1_000 })),
  );
  expect(claimed).toEqual(expected);
}

/** Both told the same, and each life of a session came to no more than one end. */
function expectSameHistory(
  expected: readonly SessionEvent[],
  told: readonly SessionEvent[],
  whole: boolean,
): void {
  const words = (events: readonly SessionEvent[]): string[] =>
    events
      .map((event) => JSON.stringify({ ...event, id: undefined }, whole ? undefined : withoutNews))
      .toSorted();
  expect(words(told)).toEqual(words(expected));
  const ends = told.filter(({ type }) => type === 'session.expired' || type === 'session.ended');
  const lives = ends.map(({ sessionId, session }) => `${sessionId} ${session!.startedAt}`);
  expect(new Set(lives).size).toBe(lives.length);
}
