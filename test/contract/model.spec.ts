import fc from 'fast-check';
import { type Device } from '../../src/sessions/device.js';
import { ALL_SESSIONS, type Policy } from '../../src/sessions/admission.js';
import { type Layout } from '../../src/sessions/redis/layout/layout.js';
import { type RedisLink } from '../../src/sessions/redis/link.js';
import { openFormerStore } from '../support/former-release.js';
import { type Place } from '../../src/sessions/session.js';
import { type SweepResult } from '../../src/sessions/session.repository.js';
import { type SessionEvent } from '../../src/sessions/session-events.js';
import { readStoredRecords } from '../support/stored-records.js';
import { type Quota } from '../../src/sessions/quota.js';
import { ManualClock } from '../support/manual-clock.js';
import { filmOf, liveFrom } from '../support/windows.js';
import { useConnection, useRedisDatabase } from '../support/redis-database.js';
import { POLICY, type Store, eventsOf, openMemoryStore, openRedisStore } from '../support/stores.js';

/**
 * Random histories: for any operations in any order, through either of two processes, the Redis store must answer like
 * the embedded store, which runs the rule itself. The invariants of the rule are also asserted, from the answers alone.
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
/** Durations around each limit of the rule, in milliseconds. */
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
/** Histories that once failed; each run tries them. */
const REGRESSIONS: [Step[], number][] = [
  // After an outage, with a user in the index who is not due: the sweep must not report more to claim.
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
  // An expired session whose expiry was not claimed yet, because the plan was greater then: it has no place to come back to.
  [
    [
      ADMIT_BEN,
      { do: 'arrive', process: 0, which: 0 },
      { do: 'wait', ms: 60_000 },
      { ...ADMIT_BEN, session: 'b', plan: 2 },
      ADMIT_BEN,
    ],
    1,
  ],
  // A keepalive before the first phase has arrived: its connection breaks after that.
  [
    [
      ADMIT_BEN,
      { do: 'keep alive', process: 0, user: 'ben', session: 'a' },
      { do: 'abort', process: 0, which: 0 },
    ],
    1,
  ],
  // Each process keeps the refusals that it gave.
  [[ADMIT_BEN, { ...ADMIT_BEN, session: 'b' }, { ...ADMIT_BEN, session: 'b', process: 1 }], 1],
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
  const openingFormer: Open = (policy, clock) => {
    const sessions = former.open(policy, clock);
    const { sessions: current } = opening(0, 1)(policy, clock);
    const formerKeepAlive = sessions.keepAlive.bind(sessions);
    // Release 0.1.0 answers the keepalive of a reservation with more than its lease.
    sessions.keepAlive = async (userId, sessionId) => {
      const reserves = (await readRecords()).some(
        (one) => one.userId === userId && one.status === 'reserved',
      );
      return reserves ? current.keepAlive(userId, sessionId) : formerKeepAlive(userId, sessionId);
    };
    return { sessions };
  };

  it('answers like the rule for any history', async () => {
    expect.hasAssertions();
    await expectAsTheRule([opening(0, 2), opening(1, 2)], true);
  }, 240_000);

  it('answers like the rule while one process writes the newer layout and the other one the older', async () => {
    expect.hasAssertions();
    await expectAsTheRule([opening(0, 2), opening(1, 1)]);
  }, 240_000);

  it('answers like the rule while it shares Redis with the previous release', async () => {
    expect.hasAssertions();
    await expectAsTheRule([opening(0, 1), openingFormer]);
  }, 240_000);

  /**
   * `whole`: no process writes the older layout, which lacks some fields. Otherwise the histories are simplified to
   * players that do not fetch ahead and to phases without a duration, and the missing fields are not compared.
   */
  async function expectAsTheRule(open: readonly [Open, Open], whole = false): Promise<void> {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 4 }),
        async (history, limit) => {
          await empty();
          const clock = new ManualClock();
          // All stores share this object, so that a step can change the limit.
          const policy = { ...POLICY, quota: { maxSessions: limit } };
          const rule = openMemoryStore(policy, clock);
          const expected = new Map<string, SessionEvent[]>(USERS.map((userId) => [userId, []]));
          for (const [userId, events] of expected)
            await rule.events.watch(userId, undefined, (event) => events.push(event));
          const stores = open.map((one) => one(policy, clock));
          const simple = whole ? history : history.flatMap(simplify);
          const refusing = await play(simple, policy, clock, rule, stores, whole);
          await expectIndexed();
          const { admitted, expired, ended, undone, unreadable } = await stores[0]!.sessions.ledger();
          expect(admitted - expired - ended - undone).toBe((await readRecords()).filter(isHeld).length);
          expect(unreadable).toBe(0);

          // Without further requests everything expires, and no key is left.
          await Promise.all([rule, stores[0]!].map(({ sessions }) => sessions.resumeExpiry()));
          clock.advance(2 * POLICY.expireAfterMs);
          await sweepBoth(rule, stores[0]!);
          clock.advance(POLICY.idleAfterMs); // the sweep before came after an outage, which gives a grace of X
          await sweepBoth(rule, stores[0]!);
          expect(await redis.keys('sg:*:[ux]*')).toEqual([]);
          expect(await stores[0]!.sessions.ledger()).toEqual(await rule.sessions.ledger());
          const reader = openRedisStore(connections[0](), policy, clock);
          for (const [userId, events] of expected)
            // Each process keeps some of the refusals that it gave; the rule is one process.
            expectSameHistory(events, await eventsOf(reader, userId), {
              whole,
              refusals: whole && (refusing.get(userId)?.size ?? 0) < 2,
            });
          reader.events.onApplicationShutdown();
        },
      ),
      { numRuns: Number(process.env.MODEL_RUNS ?? 100), examples: REGRESSIONS },
    );
  }

  /** The sweep uses only the index to find users: each user must be in it, no later than its earliest record is due. */
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

/** A replacer for JSON that omits the fields that the older layout lacks. */
function withoutNewFields(key: string, value: unknown): unknown {
  return ['playsUntil', 'ahead', 'run', 'device', 'replacedBy', 'quota'].includes(key) ? undefined : value;
}

/** The step without what the older layout cannot store: fetching ahead, devices and clients. */
function simplify(one: Step): Step[] {
  if (one.do === 'note activity') return [];
  if (one.do !== 'admit') return [one];
  const window = one.window && { ...one.window, phaseMs: 0, lastPhaseMs: 0 };
  const phase = one.phase === 'same' ? undefined : one.phase;
  return [{ ...one, window, phase, device: undefined, client: undefined, paced: false }];
}

const isHeld = ({ status }: { status: string }): boolean => status !== 'ended';

/** Returns which processes refused requests of each user. */
async function play(
  history: readonly Step[],
  policy: { quota: Quota },
  clock: ManualClock,
  { sessions: rule }: Pick<Store, 'sessions'>,
  processes: readonly Pick<Store, 'sessions'>[],
  whole: boolean,
): Promise<ReadonlyMap<string, ReadonlySet<number>>> {
  const refusing = new Map(USERS.map((name) => [name, new Set<number>()]));
  const stores = processes.map(({ sessions }) => sessions);
  /** The part of an answer that every layout can store. */
  const comparable = (answer: unknown): unknown =>
    whole ? answer : JSON.parse(JSON.stringify(answer, withoutNewFields));
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
        expect(comparable(await stores[one.process]!.keepAlive(one.user, one.session))).toEqual(
          comparable(expected),
        );
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
        expect(comparable(await stores[one.process]!.admit(request))).toEqual(comparable(expected));
        // By the answers alone: a session with a place is never refused because of the limit, and a session without one
        // only if the other sessions hold all places.
        const others = before.filter(({ sessionId }) => sessionId !== one.session);
        const holds = others.length < before.length;
        if (expected.outcome === 'limit-reached') {
          refusing.get(one.user)!.add(one.process);
          expect([holds, others.length >= limit]).toEqual([false, true]);
        }
        if (expected.outcome === 'admitted') {
          // Sessions that held a place before the limit was lowered keep it.
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
        expect(comparable({ ...ended, endedBefore: ended.endedBefore.toSorted() })).toEqual(
          comparable({ ...expected, endedBefore: expected.endedBefore.toSorted() }),
        );
        break;
      }
    }
    for (const userId of USERS) {
      const expected = await rule.list(userId);
      expect(expected.sessions.length).toBeLessThanOrEqual(4);
      for (const store of stores) {
        const { quota, sessions } = await store.list(userId);
        expect(comparable(sessions)).toEqual(comparable(expected.sessions));
        if (whole) expect(quota).toEqual(expected.quota);
      }
    }
  }
  return refusing;
}

/** Both must claim the same number, each as late as the other; the claimed sessions are compared at the end. */
async function sweepBoth(rule: Pick<Store, 'sessions'>, store: Pick<Store, 'sessions'>): Promise<void> {
  const [expected, claimed] = await Promise.all(
    [rule, store].map(({ sessions }) => sessions.expireIdle({ maxSessions: 1_000 })),
  );
  const { latenessMs: due, ...figures } = expected!;
  // The release before does not tell the lateness.
  const { latenessMs: claimedLate, ...claimedFigures } = claimed as Partial<SweepResult>;
  expect(claimedFigures).toEqual(figures);
  if (claimedLate !== undefined) expect(claimedLate.toSorted()).toEqual(due.toSorted());
}

/** Both stores must report the same events, and at most one end for each session. */
function expectSameHistory(
  expected: readonly SessionEvent[],
  actual: readonly SessionEvent[],
  { whole, refusals }: { readonly whole: boolean; readonly refusals: boolean },
): void {
  // An instance that writes the layout before keeps no refusals: the release before could not read them.
  const texts = (events: readonly SessionEvent[]): string[] =>
    events
      .filter(({ type }) => refusals || type !== 'session.refused')
      .map((event) => JSON.stringify({ ...event, id: undefined }, whole ? undefined : withoutNewFields))
      .toSorted();
  expect(texts(actual)).toEqual(texts(expected));
  const ends = actual.filter(({ type }) => type === 'session.expired' || type === 'session.ended');
  const lives = ends.map(({ sessionId, session }) => `${sessionId} ${session!.startedAt}`);
  expect(new Set(lives).size).toBe(lives.length);
}
