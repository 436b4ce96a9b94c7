import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Availability } from '../../src/sessions/redis/availability.js';
import { LAYOUT_KEY, partitionKeys, userKeys } from '../../src/sessions/redis/keys.js';
import { openRedisStore as open } from '../../src/sessions/redis/redis-store.js';
import { ManualClock } from '../support/manual-clock.js';
import { QUIET, connectPatiently, useConnection, useRedisDatabase } from '../support/redis-database.js';
import { startOwnRedis } from '../support/redis-server.js';
import { layoutOf } from '../support/stored-records.js';
import { POLICY, eventsOf, openRedisStore } from '../support/stores.js';
import { filmOf, liveFrom } from '../support/windows.js';

const { url, redis, empty } = useRedisDatabase();
const link = useConnection(() => url);
beforeEach(empty);

const request = (sessionId: string, more: object = {}) => ({
  userId: 'ana',
  sessionId,
  streamId: 'film',
  phase: undefined,
  window: filmOf(100),
  endSessionIds: [],
  quota: POLICY.quota,
  ...more,
});
const valueOf = async (userId: string): Promise<Buffer> =>
  (await redis.hgetBuffer(userKeys(userId).records, userId))!;

describe('the layout that an instance writes', () => {
  /** Starts an instance with this setting; returns the layout that it writes, and its log lines. */
  async function start(STORE_LAYOUT?: '1' | '2'): Promise<{ layout: 1 | 2; lines: string[] }> {
    const lines: string[] = [];
    const log = { log: () => undefined, warn: (line: string) => lines.push(line), error: () => undefined };
    const settings = { policy: POLICY, subscriptions: [], STORE_LAYOUT };
    const { sessions } = open(link(), settings, new ManualClock(), new Availability(log));
    await sessions.onModuleInit();
    await sessions.admit(request('tv'));
    return { layout: layoutOf(await valueOf('ana')), lines };
  }
  const sweepAsTheReleaseBefore = (): Promise<number> => redis.hset(partitionKeys(7).state, 'swept', 1);

  it('is the newest in an empty Redis, where it sets a marker for other instances', async () => {
    expect(await start()).toEqual({ layout: 2, lines: [] });
    expect(await redis.get(LAYOUT_KEY)).toBe('2');
  });

  it('is the older one if a release without a marker has swept, and the log says what to do', async () => {
    await sweepAsTheReleaseBefore();
    const { layout, lines } = await start();
    expect(layout).toBe(1);
    expect(lines).toEqual([expect.stringContaining('Set STORE_LAYOUT=2 when all instances')]);
    expect(await redis.get(LAYOUT_KEY)).toBeNull();
  });

  it('is the newest for all instances that start after one with STORE_LAYOUT=2', async () => {
    await sweepAsTheReleaseBefore();
    expect(await start('2')).toEqual({ layout: 2, lines: [] });
    expect(await start()).toEqual({ layout: 2, lines: [] });
    expect(await start('1')).toEqual({ layout: 1, lines: [] });
    expect(await redis.get(LAYOUT_KEY)).toBe('2');
  });

  it('stays the newest, with a new marker, after Redis lost all its data and an older release swept', async () => {
    const lines: string[] = [];
    const log = { log: () => undefined, warn: (line: string) => lines.push(line), error: () => undefined };
    const settings = { policy: POLICY, subscriptions: [], STORE_LAYOUT: undefined };
    const { sessions } = open(link(), settings, new ManualClock(), new Availability(log));
    await sessions.onModuleInit();
    await empty();
    await sweepAsTheReleaseBefore();
    await sessions.onModuleInit(); // runs each time that a connection is ready
    await sessions.admit(request('tv'));
    expect(layoutOf(await valueOf('ana'))).toBe(2);
    expect(await redis.get(LAYOUT_KEY)).toBe('2');
  });
});

describe('a request in the instant in which Redis is back', () => {
  const device = { id: 'tv', name: 'Living room' };

  /** Starts an instance without STORE_LAYOUT on this Redis, before or after Redis is killed. */
  async function admitAtReturn({ startsFirst }: { readonly startsFirst: boolean }): Promise<Buffer> {
    await using cleanUp = new AsyncDisposableStack();
    const server = await startOwnRedis(['--appendonly', 'yes', '--appendfsync', 'always']);
    cleanUp.defer(() => server.stop());
    const connect = async () => {
      const opened = connectPatiently(server.url);
      cleanUp.defer(() => opened.close());
      await opened.attempted();
      return opened;
    };
    const settings = { policy: POLICY, subscriptions: [], STORE_LAYOUT: undefined };
    const start = async () => {
      const own = await connect();
      const { sessions } = open(own, settings, new ManualClock(), QUIET);
      await sessions.onModuleInit();
      return { sessions, link: own };
    };
    const other = await connect();
    const admin = new Redis(server.url, { retryStrategy: () => 50 });
    cleanUp.defer(() => admin.disconnect());
    admin.on('error', () => undefined);

    // There is data of an older release, until the operator says that no instance of that release runs.
    await admin.hset(partitionKeys(7).state, 'swept', 1);
    const early = startsFirst ? await start() : undefined;
    await admin.set(LAYOUT_KEY, '2');
    await openRedisStore(other, POLICY, new ManualClock()).sessions.admit(request('tv', { device }));
    await server.kill();
    const instance = early ?? (await start());
    const admitted = new Promise((resolve) => {
      instance.link.onReady(() => resolve(instance.sessions.admit(request('tv'))));
    });
    await server.restart();
    expect(await admitted).toMatchObject({ outcome: 'admitted', created: false, session: { device } });
    return (await admin.hgetBuffer(userKeys('ana').records, 'ana'))!;
  }

  it.each([
    ['where the instance was started while Redis was away', false],
    ['where others have begun to write the newest layout since the instance was started', true],
  ])('leaves the record in the newest layout, %s', async (_, startsFirst) => {
    const value = await admitAtReturn({ startsFirst });
    expect(layoutOf(value)).toBe(2);
    expect(value.toString('latin1')).toContain('Living room');
  });
});

describe('the layouts', () => {
  it('are recognised by the first byte; the newer one takes 6 bytes more per session and 1 per user', async () => {
    const sizes = [];
    for (const layout of [1, 2] as const) {
      const { sessions } = openRedisStore(link(), POLICY, new ManualClock(), { layout });
      await empty();
      for (const id of ['a', 'b']) await sessions.admit(request(id));
      const value = await valueOf('ana');
      expect(layoutOf(value)).toBe(layout);
      sizes.push(value.length);
    }
    expect(sizes[1]! - sizes[0]!).toBe(2 * 6 + 1);
  });

  it('store devices, clients, limits and phases of 16 digits, if the newer one is used', async () => {
    const clock = new ManualClock();
    const store = openRedisStore(link(), POLICY, clock);
    const newest = 2 ** 53 - 2;
    const device = { id: 'tv', name: 'ü "quoted" \\ and / and 😀'.repeat(3), type: 'tv', shared: true };
    const window = liveFrom(newest - 10, newest - 1, newest + 1);
    await store.sessions.admit(
      request('a', { window, device, client: 'a client', quota: { maxSessions: 1_000 } }),
    );
    await store.sessions.admit(request('b', { window }));
    expect(await store.sessions.list('ana')).toMatchObject({
      quota: { maxSessions: 1_000 },
      sessions: [
        { phase: newest - 1, device },
        { phase: newest - 1, device: undefined },
      ],
    });
    await store.sessions.end('ana', ['a'], 'user');
    const [ended] = await eventsOf(store, 'ana');
    expect(ended!.session).toMatchObject({ phase: newest - 1, device });
  });

  it('keep the subject of a user when the records change', async () => {
    const { sessions } = openRedisStore(link(), POLICY, new ManualClock());
    await sessions.admit(request('a'));
    const value = await valueOf('ana');
    const subject = Buffer.from('auth0|Ána');
    const named = Buffer.concat([Buffer.from([0x12, subject.length]), subject, value.subarray(1)]);
    await redis.hset(userKeys('ana').records, 'ana', named);
    await sessions.admit(request('a'));
    await sessions.admit(request('b'));
    const changed = await valueOf('ana');
    expect(changed.subarray(0, 2 + subject.length)).toEqual(named.subarray(0, 2 + subject.length));
    expect((await sessions.list('ana')).sessions.map(({ sessionId }) => sessionId)).toEqual(['a', 'b']);
  });

  it('document the size of a record correctly', () => {
    const fixed = (layout: number): number =>
      [
        ...readFileSync(
          join(__dirname, `../../src/sessions/redis/layout/layout-${layout}.lua`),
          'utf8',
        ).matchAll(/^-- {3}(\d) {2}/gm),
      ].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
    expect(fixed(1)).toBe(20);
    // Without the byte of the layout and the high bits of a long phase, which are not in each record.
    expect(fixed(2) - 1 - 3).toBe(26);
  });
});
