import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Redis } from 'ioredis';
import { SCRIPT_KEYS, type ScriptKeys, userKeys } from '../../src/sessions/redis/keys.js';
import { MAX_ENDED_RECORDS, SHORTEST_OUTAGE_MS } from '../../src/sessions/admission.js';
import { LAYOUTS } from '../../src/sessions/redis/layout/layout.js';
import { GROUP } from '../../src/sessions/redis/redis-callback-outbox.js';
import { KEPT_EVENTS } from '../../src/sessions/redis/redis-session-events.js';
import { REST_MS } from '../../src/sessions/redis/redis-session.repository.js';
import { allScripts, assembleScript } from '../../src/sessions/redis/script.js';
import { Clock } from '../../src/clock.js';
import { filmOf } from '../support/windows.js';
import { ManualClock } from '../support/manual-clock.js';
import { startOwnRedis } from '../support/redis-server.js';
import { connectPatiently, useRedisDatabase } from '../support/redis-database.js';
import { ONE_RECEIVER, POLICY, openRedisStore } from '../support/stores.js';

const { url, redis, empty } = useRedisDatabase();
const link = connectPatiently(url);
const { sessions: store } = openRedisStore(link, POLICY, new Clock());
beforeAll(() => store.onModuleInit());
afterAll(() => link.close());
beforeEach(empty);

const FOLDER = join(__dirname, '../../src/sessions/redis');
const readLua = (file: string): string => readFileSync(join(FOLDER, `${file}.lua`), 'utf8');
const request = {
  userId: 'ana',
  sessionId: 'tv',
  streamId: 'film',
  phase: undefined,
  window: filmOf(100),
  quota: POLICY.quota,
  endSessionIds: [],
};

/** The local name of a key in Lua: `outbox_key` for `outbox`, `dead_letters_key` for `deadLetters`. */
const keyLocal = (name: string): string =>
  `${name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}_key`;

describe('the scripts', () => {
  it('are all defined by a pair of files', () => {
    const files = readdirSync(join(FOLDER, 'scripts')).filter((file) => file.endsWith('.lua'));
    expect(files.toSorted()).toEqual(
      allScripts()
        .map(({ name }) => `${name}.lua`)
        .toSorted(),
    );
  });

  it.each(allScripts().flatMap((script) => LAYOUTS.map((layout) => [script.name, layout] as const)))(
    'include %s, which compiles for layout %i',
    async (name, layout) => {
      const constants = { policy: POLICY, subscriptions: ONE_RECEIVER, layout };
      const lua = assembleScript(name, constants);
      const full = assembleScript(name, constants, true);
      for (const text of [lua, full]) {
        expect(text).not.toContain('@include');
        expect(await redis.script('LOAD', text)).toMatch(/^[0-9a-f]{40}$/);
      }
    },
  );

  it.each(allScripts())(
    'include $name, which has the same names in its header, its first lines and its function',
    (script) => {
      const lua = readLua(`scripts/${script.name}`);
      const header = /^(?:--.*\n)+/.exec(lua)![0];
      expect(header).toContain(`-- ${script.name}: `);
      expect(header).toMatch(/^-- Returns /m);

      // KEYS: the first lines name all of them in order, or only the first.
      const keys = SCRIPT_KEYS[script.subject as ScriptKeys['subject']].map(keyLocal);
      const named = /^local ([\w, ]+) = unpack\(KEYS\)$/m.exec(lua)?.[1]?.split(', ');
      expect(named ?? [/^local (\w+) = KEYS\[1\]$/m.exec(lua)?.[1]]).toEqual(named ? keys : [keys[0]]);

      // ARGV: the header, the first lines and the function have the same names in the same order.
      const locals = /^local ([\w, ]+) = unpack\(ARGV\)$/m.exec(lua)?.[1]?.split(', ') ?? [];
      expect(locals).toEqual(script.args);
      const [, block] = /^-- ARGV    ([\s\S]*?)^-- Returns /m.exec(header)!;
      const documented = block!
        .split('\n')
        .map((line) => /^(?:--         )?(?! )(\w+(?:, \w+)*)(?: {2}|$)/.exec(line)?.[1])
        .flatMap((names) => names?.split(', ') ?? []);
      expect(documented).toEqual(script.args);
      expect(lua.match(/ARGV\[\d+\]/)).toBeNull();
    },
  );

  it('have the same constants as the TypeScript source', () => {
    const constants = (file: string): Record<string, string> =>
      Object.fromEntries(
        [...readLua(file).matchAll(/^local ([A-Z_]+) = '?(\w+)/gm)].map(([, constant, value]) => [
          constant,
          value,
        ]),
      );
    expect(constants('shared/ended')).toMatchObject({ MAX_ENDED: String(MAX_ENDED_RECORDS) });
    expect(constants('shared/group')).toMatchObject({ GROUP });
    expect(constants('shared/events')).toMatchObject({ MAX_SEEN: String(KEPT_EVENTS) });
    expect(constants('scripts/expire')).toMatchObject({
      REST: String(REST_MS),
      SHORTEST_OUTAGE: String(SHORTEST_OUTAGE_MS),
    });
  });

  it('are sent again if the server has forgotten them', async () => {
    await store.admit(request);
    await redis.script('FLUSH');
    expect(await store.admit(request)).toMatchObject({ outcome: 'admitted', created: false });
  });

  it('leave no objects in the old generation of the heap, unlike the commands of ioredis', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as (options?: { type: 'minor' }) => void;
    const oldBytes = () =>
      getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space')!.space_used_size;
    /** The bytes in the old generation after a thousand commands, all answered before each garbage collection. */
    const promotedBytes = async (send: () => Promise<unknown>): Promise<number> => {
      const sendMany = async () => Promise.all(Array.from({ length: 100 }, send));
      await sendMany();
      collect();
      const before = oldBytes();
      for (let round = 0; round < 10; round++) {
        await sendMany();
        collect({ type: 'minor' });
      }
      return oldBytes() - before;
    };
    const { records } = userKeys('nobody');
    const ours = await promotedBytes(() => link.hget(records, 'a field that is long enough to be seen'));
    const theirs = await promotedBytes(() => redis.hget(records, 'a field that is long enough to be seen'));
    // If this fails, ioredis has fixed the problem: check whether ShortLivedCommand can be removed.
    expect(theirs).toBeGreaterThan(200_000);
    expect(ours).toBeLessThan(theirs / 4);
    // Code that the engine compiles meanwhile is promoted, too.
    const lists: number[] = [];
    for (let run = 0; run < 3; run++) lists.push(await promotedBytes(() => store.list('nobody')));
    expect(Math.min(...lists)).toBeLessThan(theirs / 4);
  });

  it('need two calls for a first phase, and one for a renewal', async () => {
    // A separate server, because the statistics count the calls of all clients.
    const server = await startOwnRedis();
    const own = connectPatiently(server.url);
    const admin = new Redis(server.url);
    const { sessions: counted } = openRedisStore(own, POLICY, new Clock());
    await counted.onModuleInit();
    const callsOf = async (work: () => Promise<void>): Promise<number> => {
      await admin.config('RESETSTAT');
      await work();
      const stats = await admin.info('commandstats');
      return [...stats.matchAll(/cmdstat_(?:evalsha|eval):calls=(\d+)/g)].reduce(
        (sum, [, n]) => sum + Number(n),
        0,
      );
    };
    const watch = async (sessionId: string): Promise<void> => {
      const admission = await counted.admit({ ...request, sessionId });
      if (admission.outcome !== 'admitted') throw new Error(admission.outcome);
      if (admission.place.reserved) await counted.confirm(admission.place);
    };
    await watch('the first of all sends the scripts whole');
    expect(await callsOf(() => watch('tv'))).toBe(2);
    expect(await callsOf(() => watch('tv'))).toBe(1);
    await own.close();
    await admin.quit();
    await server.stop();
  });
});

describe('a lowered limit', () => {
  it('lets running sessions continue, and reports when enough of them will have expired for a new one', async () => {
    const clock = new ManualClock();
    const { sessions: timed } = openRedisStore(link, POLICY, clock);
    const lowered = { ...request, quota: { maxSessions: 2 } };
    for (const sessionId of ['a', 'b', 'c']) {
      await timed.admit({ ...request, sessionId });
      clock.advance(1_000);
    }
    expect(await timed.admit({ ...lowered, sessionId: 'a' })).toMatchObject({ outcome: 'admitted', live: 3 });
    // b is silent for 2 s, c for 1 s: after b expires there are still two sessions, after c expires there is a place.
    expect(await timed.admit({ ...lowered, sessionId: 'd' })).toMatchObject({
      outcome: 'limit-reached',
      retryAt: clock.now() - 1_000 + POLICY.expireAfterMs,
    });
  });
});

describe('the clock', () => {
  it('is that of the server, even if the clock of the instance is wrong', async () => {
    const wrong = new (class extends Clock {
      override now(): number {
        return 0;
      }
    })();
    const admission = await openRedisStore(link, POLICY, wrong).sessions.admit(request);
    const [seconds] = await redis.time();
    if (admission.outcome !== 'admitted') throw new Error(admission.outcome);
    expect(Math.abs(admission.session.startedAt - Number(seconds) * 1_000)).toBeLessThan(5_000);
  });
});

describe('the keys', () => {
  it('have small indexes in the compact encoding, even for ids of 36 characters', async () => {
    const id = (n: number): string => `0199a0b0-0000-7000-8000-${String(n).padStart(12, '0')}`;
    const { index } = userKeys(id(0));
    const neighbours = Array.from({ length: 100_000 }, (_, n) => id(n)).filter(
      (user) => userKeys(user).index === index,
    );
    expect(neighbours.length).toBeGreaterThan(1);
    for (const userId of neighbours) await store.admit({ ...request, userId, sessionId: userId });
    expect(await redis.zcard(index)).toBe(neighbours.length);
    expect(await redis.object('ENCODING', index)).toMatch(/^(listpack|ziplist)$/);
  });

  it('are deleted if a first phase did not arrive', async () => {
    const admission = await store.admit(request);
    expect(await redis.keys('sg:*:[ux]*')).toHaveLength(3);
    if (admission.outcome === 'admitted') await store.withdraw(admission.place);
    expect(await redis.keys('sg:*:[ux]*')).toEqual([]);
  });

  it('are deleted after a session has expired', async () => {
    const clock = new ManualClock();
    const { sessions: timed } = openRedisStore(link, POLICY, clock);
    await timed.admit(request);
    clock.advance(POLICY.leaseMs);
    expect(await timed.expireIdle({ maxSessions: 10 })).toMatchObject({ expired: 0, more: false });
    expect(await redis.keys('sg:*:[ux]*')).toEqual([]);
  });
});
