import { hash } from 'node:crypto';
import { type Place, admitted } from '../../src/sessions/session.js';
import { userKeys } from '../../src/sessions/redis/keys.js';
import { type Layout } from '../../src/sessions/redis/layout/layout.js';
import { type RedisLink } from '../../src/sessions/redis/link.js';
import { ScriptRunner, allScripts } from '../../src/sessions/redis/script.js';
import { admit } from '../../src/sessions/redis/scripts/admit.js';
import { confirm } from '../../src/sessions/redis/scripts/confirm.js';
import { count } from '../../src/sessions/redis/scripts/count.js';
import { discard } from '../../src/sessions/redis/scripts/discard.js';
import { elect } from '../../src/sessions/redis/scripts/elect.js';
import { end } from '../../src/sessions/redis/scripts/end.js';
import { expire } from '../../src/sessions/redis/scripts/expire.js';
import { keepRefusal } from '../../src/sessions/redis/scripts/keep-refusal.js';
import { keepAlive } from '../../src/sessions/redis/scripts/keepalive.js';
import { list } from '../../src/sessions/redis/scripts/list.js';
import { noteActivity } from '../../src/sessions/redis/scripts/note-activity.js';
import { pause } from '../../src/sessions/redis/scripts/pause.js';
import { paused } from '../../src/sessions/redis/scripts/paused.js';
import { release } from '../../src/sessions/redis/scripts/release.js';
import { probe } from '../../src/sessions/redis/scripts/probe.js';
import { replay } from '../../src/sessions/redis/scripts/replay.js';
import { settle } from '../../src/sessions/redis/scripts/settle.js';
import { take } from '../../src/sessions/redis/scripts/take.js';
import { withdraw } from '../../src/sessions/redis/scripts/withdraw.js';
import { useConnection, useRedisDatabase } from '../support/redis-database.js';
import { readStoredRecords } from '../support/stored-records.js';
import { TWO_RECEIVERS, POLICY } from '../support/stores.js';
import { filmOf } from '../support/windows.js';

/**
 * Redis does not roll back a script that fails half-way. Here each script runs once for each of its calls of Redis,
 * each time on the same state, and that call fails. Afterwards either nothing must have happened or everything.
 */

const { url, redis, empty } = useRedisDatabase();
const connection = useConnection(() => url);

/** Ana, and Ben in another bucket of the same partition. */
const ANA = 'ana';
const KEYS = userKeys(ANA);
const PARTITION = KEYS.ofPartition;
const BEN = Array.from({ length: 100_000 }, (_, n) => `ben-${n}`).find(
  (user) => userKeys(user).ofPartition === PARTITION && userKeys(user) !== KEYS,
)!;
const NEAR = Array.from({ length: 1_000_000 }, (_, n) => `near-${n}`).find(
  (user) => userKeys(user) === KEYS,
)!;
const START = Date.UTC(2026, 0, 1);
const CALLS = 'test:calls';

interface Runner {
  readonly scripts: ScriptRunner;
  now: number;
}

/** A test case: `prepare` runs without failures, and then the calls of `act` fail one by one. */
interface Case {
  readonly script: string;
  readonly title: string;
  readonly prepare: (runner: Runner) => Promise<unknown>;
  readonly act: (runner: Runner, prepared: unknown) => Promise<unknown>;
  /** True if a second call must change nothing. */
  readonly idempotent?: boolean;
  /**
   * True if the script first puts an unreadable value into quarantine, which is a separate step that may happen alone.
   */
  readonly setsAside?: boolean;
  /** True if the script writes nothing in layout 1, because the release before could not read it. */
  readonly newest?: boolean;
}

/** Lua that replaces `redis`: it counts the calls, and the call with this number fails. */
function failing(call: number): string {
  return (
    `
local real, count_of_calls = redis, 0
local function fails()
  count_of_calls = count_of_calls + 1
  real.call('SET', '${CALLS}', count_of_calls)
  return count_of_calls == ${call}
end
local redis = setmetatable({
  call = function(...) if fails() then error({ err = 'ERR made to fail' }) end return real.call(...) end,
  pcall = function(...) if fails() then return { err = 'ERR made to fail' } end return real.pcall(...) end,
}, { __index = real })
`.replaceAll('\n', ' ') + '\n'
  );
}

interface Snapshot {
  /** The state that must be the one before or the one after the script. */
  readonly settled: Record<string, unknown>;
  /**
   * The unacknowledged entries of the outbox by consumer. An entry that is deleted first is removed by the next claim.
   */
  readonly pending: unknown;
  readonly records: readonly {
    user: string;
    index: number | undefined;
    bucket: number | undefined;
    dueAt: number;
  }[];
}

async function snapshot(): Promise<Snapshot> {
  const { state, ring, outbox, deadLetters, aside, buckets } = PARTITION;
  const settled: Record<string, unknown> = {};
  const records = [];
  for (const keys of [KEYS, userKeys(BEN)]) {
    const values = (await redis.type(keys.records)) === 'hash' ? await redis.hgetallBuffer(keys.records) : {};
    for (const [user, value] of Object.entries(values)) {
      settled[`records of ${user}`] = value.toString('hex');
      if (value.toString() === UNREADABLE) continue;
      const [, bucket] = /(\d+)$/.exec(keys.records)!;
      const [index, ofBucket] = [await redis.zscore(keys.index, user), await redis.zscore(buckets, bucket!)];
      for (const { dueAt } of readStoredRecords(value))
        records.push({ user, dueAt, index: scoreOf(index), bucket: scoreOf(ofBucket) });
    }
  }
  const counts = await redis.hgetall(state);
  for (const [field, value] of Object.entries(counts))
    if (value !== '0' && !field.startsWith('lost')) settled[field] = value;
  const texts = async (stream: string): Promise<string[]> =>
    (await redis.xrevrange(stream, '+', '-', 'COUNT', 9)).map(([, fields]) => fields.join(' '));
  settled.ring = await texts(ring);
  settled.outbox = await texts(outbox);
  settled.deadLetters = await texts(deadLetters);
  settled.outboxOfCrm = await texts(`${outbox}:crm`);
  // A stream is trimmed after the step, so that only the sum of its entries and the lost ones must be the same.
  const [waiting, dead, lost] = [
    await redis.xlen(outbox),
    await redis.xlen(deadLetters),
    Number(counts.lost ?? 0),
  ];
  settled.everything = waiting + dead + lost;
  settled.everythingOfCrm = (await redis.xlen(`${outbox}:crm`)) + Number(counts['lost:crm'] ?? 0);
  settled.aside = Object.fromEntries(
    Object.entries(await redis.hgetall(aside)).map(([field, raw]) => [field.replace(/\d+-\d+/, 'id'), raw]),
  );
  settled.count = Number(await redis.get('sg:r:key'));
  settled.reporter = await redis.get('sg:reporter');
  const pending = await redis.xpending(outbox, 'callbacks').catch(() => [0]);
  return { settled, records, pending: [pending[0], pending[3]] };
}

function scoreOf(score: string | null): number | undefined {
  return score === null ? undefined : Number(score);
}

/** The sweep uses only the indexes to find users: each record must be in them, no later than it is due. */
function expectIndexed({ records }: Snapshot, now: number): void {
  for (const { user, index, bucket, dueAt } of records)
    for (const score of [index, bucket])
      expect([user, score ?? Infinity]).toEqual([
        user,
        Math.min(score ?? Infinity, Math.max(dueAt, now - 1e9)),
      ]);
}

function withoutAside({ settled }: Snapshot): Record<string, unknown> {
  return { ...settled, aside: {}, unreadable: undefined, [`records of ${ANA}`]: undefined };
}

const UNREADABLE = 'xxxxx';

const request = (sessionId: string, more: object = {}) => ({
  userId: ANA,
  sessionId,
  streamId: 'film',
  phase: undefined,
  window: filmOf(100),
  endSessionIds: [],
  quota: POLICY.quota,
  ...more,
});

async function place({ scripts, now }: Runner, sessionId: string, more: object = {}): Promise<Place> {
  const asked = request(sessionId, more);
  const answer = await admit(scripts, userKeys(asked.userId), now, asked);
  if (answer.outcome !== 'admitted') throw new Error(answer.outcome);
  const admission = admitted(asked.userId, POLICY, now, answer);
  if (admission.outcome !== 'admitted') throw new Error(admission.outcome);
  return admission.place;
}

async function watch(runner: Runner, sessionId: string, more: object = {}): Promise<Place> {
  const taken = await place(runner, sessionId, more);
  await confirm(runner.scripts, userKeys(taken.userId), runner.now, taken);
  return taken;
}

async function spoil(user: string, due: number): Promise<void> {
  const { records, index } = userKeys(user);
  await redis.hset(records, user, UNREADABLE);
  await redis.zadd(index, due, user);
  await redis.zadd(PARTITION.buckets, 'LT', due, /(\d+)$/.exec(records)![1]!);
}

async function fill(stream: string, entries: number): Promise<void> {
  const pipeline = redis.pipeline();
  for (let n = 0; n < entries; n++) pipeline.xadd(stream, '*', 'e', `started 1 ana s${n} film 1 1 0 1 -`);
  await pipeline.exec();
}

const TAKE = { consumer: 'one', known: 0, room: 10, silence: 20_000 };
const taking = ({ scripts }: Runner, more: object = {}) => take(scripts, PARTITION, { ...TAKE, ...more });
const firstOf = async (stream: string): Promise<string> =>
  ((await redis.xrange(stream, '-', '+', 'COUNT', 1)) as [[string, string[]]])[0][0];
const nothing = async (): Promise<void> => undefined;

const CASES: readonly Case[] = [
  {
    script: 'admit',
    title: 'a new session',
    prepare: nothing,
    act: (runner) => admit(runner.scripts, KEYS, runner.now, request('tv')),
  },
  {
    script: 'admit',
    title:
      'a new session that replaces one, claims an overdue one, and comes back after its reservation lapsed',
    prepare: async (runner) => {
      await watch(runner, 'overdue');
      await place(runner, 'lapsed');
      await place(runner, 'tv');
      runner.now += POLICY.expireAfterMs;
      await watch(runner, 'a');
      await watch(runner, 'b');
    },
    act: (runner) =>
      admit(
        runner.scripts,
        KEYS,
        runner.now,
        request('tv', { endSessionIds: ['a'], quota: { maxSessions: 2 } }),
      ),
  },
  {
    script: 'admit',
    title: 'a renewal',
    prepare: (runner) => watch(runner, 'tv'),
    act: (runner) => admit(runner.scripts, KEYS, runner.now, request('tv')),
  },
  {
    script: 'admit',
    title: 'a move to another stream',
    prepare: (runner) => watch(runner, 'tv'),
    act: (runner) => admit(runner.scripts, KEYS, runner.now, request('tv', { streamId: 'news' })),
  },
  {
    script: 'admit',
    title: 'a refusal',
    prepare: (runner) => watch(runner, 'tv', { quota: { maxSessions: 1 } }),
    act: (runner) => admit(runner.scripts, KEYS, runner.now, request('phone', { quota: { maxSessions: 1 } })),
  },
  {
    script: 'admit',
    title: 'a new session of a user whose records cannot be read',
    prepare: () => spoil(ANA, START),
    act: (runner) => admit(runner.scripts, KEYS, runner.now, request('tv')),
    setsAside: true,
  },
  {
    script: 'admit',
    title: 'a new session while too many events wait',
    prepare: async (runner) => {
      await watch(runner, 'tv');
      await fill(PARTITION.outbox, 4_096);
    },
    act: (runner) => admit(runner.scripts, KEYS, runner.now, request('phone', { endSessionIds: ['tv'] })),
  },
  {
    script: 'confirm',
    title: 'a first phase that arrived',
    prepare: (runner) => place(runner, 'tv'),
    act: (runner, taken) => confirm(runner.scripts, KEYS, runner.now, taken as Place),
    idempotent: true,
  },
  {
    script: 'withdraw',
    title: 'a new session',
    prepare: (runner) => place(runner, 'tv'),
    act: (runner, taken) => withdraw(runner.scripts, KEYS, runner.now, taken as Place),
    idempotent: true,
  },
  {
    script: 'withdraw',
    title: 'a move',
    prepare: async (runner) => {
      await watch(runner, 'tv');
      runner.now += 1_000;
      return place(runner, 'tv', { streamId: 'news' });
    },
    act: (runner, taken) => withdraw(runner.scripts, KEYS, runner.now, taken as Place),
    idempotent: true,
  },
  {
    script: 'keep-refusal',
    title: 'a refusal that is kept for support',
    newest: true,
    prepare: (runner) => watch(runner, 'tv'),
    act: (runner) => keepRefusal(runner.scripts, KEYS, runner.now, { ...request('phone'), holders: [] }),
  },
  {
    script: 'keepalive',
    title: 'a paused player',
    prepare: async (runner) => {
      await watch(runner, 'tv');
      runner.now += 1_000;
    },
    act: (runner) => keepAlive(runner.scripts, KEYS, runner.now, { userId: ANA, sessionId: 'tv' }),
  },
  {
    script: 'note-activity',
    title: 'an activity',
    prepare: async (runner) => {
      await watch(runner, 'tv');
      runner.now += 1_000;
    },
    act: (runner) =>
      noteActivity(runner.scripts, KEYS, runner.now, { userId: ANA, sessionId: 'tv', at: runner.now }),
    idempotent: true,
  },
  {
    script: 'admit',
    title: 'a new session of a device that has another one',
    prepare: (runner) => watch(runner, 'old', { device: { id: 'tv' } }),
    act: (runner) => admit(runner.scripts, KEYS, runner.now, request('new', { device: { id: 'tv' } })),
  },
  {
    script: 'admit',
    title: 'a session that is due earlier than before, because the clock was set back',
    prepare: async (runner) => {
      for (let phase = 0; phase < 5; phase++) await watch(runner, 'tv', { phase });
      // Sets the score in the index to the end of what is left to play.
      await expire(runner.scripts, PARTITION, START + POLICY.leaseMs, 20);
      runner.now -= 5_000;
    },
    act: (runner) => admit(runner.scripts, KEYS, runner.now, request('tv', { phase: 'same' })),
  },
  {
    script: 'list',
    title: 'the sessions of a user',
    prepare: (runner) => watch(runner, 'tv'),
    act: (runner) => list(runner.scripts, KEYS, runner.now, ANA),
    idempotent: true,
  },
  {
    script: 'end',
    title: 'all sessions of a user',
    prepare: async (runner) => {
      await watch(runner, 'tv');
      await place(runner, 'phone');
    },
    act: (runner) =>
      end(runner.scripts, KEYS, runner.now, { userId: ANA, sessionIds: 'all', reason: 'user' }),
    idempotent: true,
  },
  {
    script: 'expire',
    title: 'sessions of several users and buckets, some of which stay, and a value that cannot be read',
    prepare: async (runner) => {
      await watch(runner, 'tv');
      await watch(runner, 'phone');
      await place(runner, 'lapsed');
      await watch(runner, 'tv', { userId: BEN });
      await watch(runner, 'tv', { userId: NEAR });
      runner.now += 10_000;
      await watch(runner, 'phone');
      await watch(runner, 'tv', { userId: NEAR });
      runner.now += POLICY.expireAfterMs - 10_000;
      const { records, index } = KEYS;
      await redis.hset(records, 'spoiled', UNREADABLE);
      await redis.zadd(index, runner.now, 'spoiled');
    },
    act: (runner) => expire(runner.scripts, PARTITION, runner.now, 20),
    idempotent: true,
  },
  {
    script: 'pause',
    title: 'the sweeps of a partition',
    prepare: nothing,
    act: (runner) => pause(runner.scripts, PARTITION, runner.now, { by: 'ops', until: undefined }),
    idempotent: true,
  },
  {
    script: 'paused',
    title: 'the pause of a partition',
    prepare: (runner) => pause(runner.scripts, PARTITION, runner.now, { by: 'ops', until: undefined }),
    act: (runner) => paused(runner.scripts, PARTITION, runner.now),
    idempotent: true,
  },
  {
    script: 'take',
    title: 'the first events of an outbox',
    prepare: (runner) => watch(runner, 'tv'),
    act: (runner) => taking(runner),
  },
  {
    script: 'take',
    title: 'the events of a silent instance',
    prepare: async (runner) => {
      await watch(runner, 'tv');
      await watch(runner, 'phone');
      for (const [[id]] of await taking(runner, { consumer: 'dead' }))
        await redis.xclaim(PARTITION.outbox, 'callbacks', 'dead', 0, id, 'IDLE', 90_000, 'JUSTID');
    },
    act: (runner) => taking(runner),
  },
  {
    script: 'settle',
    title: 'a delivered event',
    prepare: async (runner) => {
      await watch(runner, 'tv');
      return (await taking(runner))[0]![0][0];
    },
    act: (runner, entry) =>
      settle(runner.scripts, PARTITION, {
        entry: entry as string,
        failure: undefined,
        tries: 0,
        maxLetters: 400,
      }),
    idempotent: true,
  },
  {
    script: 'settle',
    title: 'an event that becomes a dead letter while there are too many',
    prepare: async (runner) => {
      await watch(runner, 'tv');
      await fill(PARTITION.deadLetters, 9);
      return (await taking(runner))[0]![0][0];
    },
    act: (runner, entry) =>
      settle(runner.scripts, PARTITION, { entry: entry as string, failure: 'no', tries: 20, maxLetters: 9 }),
    idempotent: true,
  },
  {
    script: 'release',
    title: 'the events that an instance has not settled',
    prepare: async (runner) => {
      await watch(runner, 'tv');
      await watch(runner, 'phone');
      await taking(runner);
    },
    act: (runner) => release(runner.scripts, PARTITION, { consumer: 'one', silence: 20_000 }),
    idempotent: true,
  },
  {
    script: 'replay',
    title: 'two dead letters',
    prepare: async () => {
      await fill(PARTITION.deadLetters, 2);
      return (await redis.xrange(PARTITION.deadLetters, '-', '+')).map(([id]) => id);
    },
    act: (runner, ids) => replay(runner.scripts, PARTITION, ids as string[]),
    idempotent: true,
  },
  {
    script: 'discard',
    title: 'an event that cannot be read',
    prepare: async (runner) => {
      await redis.xadd(PARTITION.outbox, '*', 'e', 'nonsense');
      await taking(runner);
      return firstOf(PARTITION.outbox);
    },
    act: (runner, entry) => discard(runner.scripts, PARTITION, { stream: 'outbox', entry: entry as string }),
    idempotent: true,
  },
  {
    script: 'probe',
    title: 'a look at what requests need',
    prepare: nothing,
    act: (runner) => probe(runner.scripts, PARTITION, false),
    idempotent: true,
  },
  {
    script: 'count',
    title: 'requests of a second',
    prepare: nothing,
    act: (runner) => count(runner.scripts, 'key', { more: 3, keepMs: 60_000 }),
  },
  {
    script: 'elect',
    title: 'the instance that reports the metrics of the system',
    prepare: nothing,
    act: (runner) => elect(runner.scripts, 'instance', 60_000),
    idempotent: true,
  },
];

describe.each([1, 2] as const)('a script that writes layout %i', (layout: Layout) => {
  const runnerOn = (link: RedisLink): Runner => ({
    scripts: new ScriptRunner(link, { policy: POLICY, subscriptions: TWO_RECEIVERS, layout }),
    now: START,
  });
  /** A link on which the call with this number fails in each script; 0 for no failure. */
  const failingAt = (call: number): RedisLink => {
    const link = Object.create(connection()) as { -readonly [K in keyof RedisLink]: RedisLink[K] };
    link.run = async (asked) => {
      const lua = asked.lua.replace(/^#!lua.*\n/, `#!lua\n${failing(call)}`);
      return connection().run({ ...asked, lua, sha: hash('sha1', lua) });
    };
    return link;
  };

  const cases = CASES.filter(({ newest = false }) => layout === 2 || !newest);
  it.each(cases)('$script: $title', async ({ prepare, act, idempotent, setsAside }: Case) => {
    const run = async (
      call: number,
    ): Promise<{ failed: boolean; before: Snapshot; now: number; prepared: unknown }> => {
      await empty();
      const whole = runnerOn(connection());
      const prepared = await prepare(whole);
      const before = await snapshot();
      const injected = { ...runnerOn(failingAt(call)), now: whole.now };
      const failed = await act(injected, prepared).then(
        () => false,
        (error: Error) => {
          expect(error.message).toContain('made to fail');
          return true;
        },
      );
      return { failed, before, now: whole.now, prepared };
    };
    expect((await run(0)).failed).toBe(false);
    const after = await snapshot();
    const calls = Number(await redis.get(CALLS));
    expect(calls).toBeGreaterThan(0);
    for (let call = 1; call <= calls; call++) {
      const { failed, before, now, prepared } = await run(call);
      const found = await snapshot();
      const halfWay = failed && setsAside && found.settled.unreadable === '1';
      const seen = halfWay ? withoutAside(found) : found.settled;
      const expected = failed ? (halfWay ? withoutAside(before) : before.settled) : after.settled;
      expect({ call, ...seen }).toEqual({ call, ...expected });
      expectIndexed(found, now);
      // A second run without a failure must lead to the right state, without duplicates.
      if (!failed && !idempotent) continue;
      await act({ ...runnerOn(connection()), now }, prepared);
      const again = await snapshot();
      expect({ call, ...again.settled, pending: again.pending }).toEqual({
        call,
        ...after.settled,
        pending: after.pending,
      });
      expectIndexed(again, now);
    }
  });
});

it('there is a case for each script', () => {
  expect([...new Set(CASES.map(({ script }) => script))].toSorted()).toEqual(
    allScripts()
      .map(({ name }) => name)
      .toSorted(),
  );
});
