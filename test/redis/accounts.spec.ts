import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Clock } from '../../src/clock.js';
import { readConfig } from '../../src/config/config.js';
import { Availability } from '../../src/sessions/redis/availability.js';
import { RIGHTS } from '../../src/sessions/redis/faults.js';
import { type RedisLink, connectRedis } from '../../src/sessions/redis/link.js';
import { type RedisStore, openRedisStore } from '../../src/sessions/redis/redis-store.js';
import { ScriptRunner } from '../../src/sessions/redis/script.js';
import { probe } from '../../src/sessions/redis/scripts/probe.js';
import { CallbackReceiver } from '../support/callback-receiver.js';
import { userKeys } from '../../src/sessions/redis/keys.js';
import { isAway } from '../../src/sessions/session.repository.js';
import { type AdmissionRequest } from '../../src/sessions/session.js';
import { POLICY } from '../support/stores.js';
import { layoutOf } from '../support/stored-records.js';
import { filmOf } from '../support/windows.js';
import { type OwnRedisServer, startOwnRedis } from '../support/redis-server.js';
import { endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { until } from '../support/until.js';

/** Servers and ACL users as operators have them: what readiness and the log make of each. */
const GUIDE = readFileSync(join(__dirname, '../../docs/integrations.md'), 'utf8');

const open: RedisLink[] = [];
const servers: OwnRedisServer[] = [];
const admins: Redis[] = [];
afterEach(async () => {
  await endServiceProcesses();
  await Promise.all(open.splice(0).map((link) => link.close()));
});
afterAll(async () => {
  for (const admin of admins) admin.disconnect();
  await Promise.all(servers.map((server) => server.stop()));
});

async function start(options: readonly string[] = []): Promise<{ server: OwnRedisServer; admin: Redis }> {
  const server = await startOwnRedis(options);
  servers.push(server);
  const admin = new Redis(server.url);
  admins.push(admin);
  return { server, admin };
}

/** A store as a service opens it, and the lines of its log. */
async function connect(
  environment: Record<string, string>,
): Promise<RedisStore & { readonly lines: string[] }> {
  const lines: string[] = [];
  const log = (line: string): void => void lines.push(line);
  const config = readConfig(environment);
  const availability = new Availability({ log, warn: log, error: log }, 0, 100);
  const link = connectRedis(config.redisEndpoint, availability, 15_000);
  open.push(link);
  const store = openRedisStore(link, config, new Clock(), availability);
  await store.sessions.onModuleInit();
  return { ...store, lines };
}

const isReady = async ({ sessions }: RedisStore): Promise<boolean> =>
  sessions.check().then(
    () => true,
    () => false,
  );

describe('the credentials of Redis', () => {
  let server: OwnRedisServer;
  let admin: Redis;
  beforeAll(async () => {
    ({ server, admin } = await start());
    await admin.call('ACL', 'SETUSER', 'app', 'on', '>pass word', ...RIGHTS.split(' '));
    await admin.call('ACL', 'SETUSER', 'default', '>default password');
  });
  const at = (credentials: string): string => server.url.replace('//', `//${credentials}`);

  it.each([
    ['app:pass%20word@', {}],
    ['app@', { REDIS_PASSWORD: 'pass word' }],
    ['app:@', { REDIS_PASSWORD: 'pass word' }],
    ['', { REDIS_USERNAME: 'app', REDIS_PASSWORD: 'pass word' }],
    [':pass%20word@', { REDIS_USERNAME: 'app' }],
    ['app:pass%20word@', { REDIS_USERNAME: 'app', REDIS_PASSWORD: 'pass word' }],
    ['', { REDIS_PASSWORD: 'default password' }],
  ])('are taken from redis://%s and %j', async (credentials, variables) => {
    const store = await connect({ REDIS_URL: at(credentials), ...variables });
    expect([await isReady(store), store.lines]).toEqual([true, []]);
  });

  it.each([
    ['app@', { REDIS_PASSWORD: 'another' }, 'WRONGPASS', 'REDIS_USERNAME'],
    ['nobody@', { REDIS_PASSWORD: 'pass word' }, 'WRONGPASS', 'REDIS_USERNAME'],
    ['', {}, 'NOAUTH', 'REDIS_PASSWORD'],
  ])(
    'that are wrong are said by name, once: redis://%s and %j',
    async (credentials, variables, name, advice) => {
      const store = await connect({ REDIS_URL: at(credentials), ...variables });
      for (let n = 0; n < 3; n++) expect(await isReady(store)).toBe(false);
      expect(store.lines).toEqual([
        expect.stringMatching(new RegExp(`^Redis is unavailable \\(${name}\\); .*${advice}`)),
      ]);
      expect(store.lines[0]).not.toMatch(/another|pass word/);
    },
  );

  it('are named by each later reason too', async () => {
    const later = await start();
    const store = await connect({ REDIS_URL: later.server.url });
    expect(await isReady(store)).toBe(true);
    await later.server.kill();
    await until(() => store.lines.length === 1);
    await later.server.restart();
    await later.admin.call('ACL', 'SETUSER', 'default', '>secret');
    await later.admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await until(() => store.lines.some((line) => line.includes('NOAUTH')));
    expect(store.lines.filter((line) => line.includes('NOAUTH'))).toHaveLength(1);
  });
});

describe('readiness', () => {
  it.each([
    ['channels', `on >p ~sg:* resetchannels +@all`, /NOPERM.*PUBLISH sg:u:.*&sg:\*/],
    ['EVALSHA', `on >p ~sg:* &* +@all -evalsha`, /NOPERM.*evalsha/i],
    ['EVAL', `on >p ~sg:* &* +@all -eval`, /NOPERM.*eval/i],
    ['a command of a script', `on >p ~sg:* &* +@all -xadd`, /NOPERM.*XADD sg:/],
    ['a command outside scripts', `on >p ~sg:* &* +@all -get`, /NOPERM.*get/i],
    ['keys', `on >p ~other:* &* +@all`, /NOPERM.*keys/],
  ])('is false for a user without rights on %s, and the log says which', async (_, rights, said) => {
    const { server, admin } = await start();
    await admin.call('ACL', 'SETUSER', 'app', ...rights.split(' '));
    const store = await connect({ REDIS_URL: server.url, REDIS_USERNAME: 'app', REDIS_PASSWORD: 'p' });
    expect(await isReady(store)).toBe(false);
    await isReady(store);
    expect(store.lines).toEqual([expect.stringMatching(said)]);
    await admin.call('ACL', 'SETUSER', 'app', ...RIGHTS.split(' '));
    await until(() => isReady(store));
    expect(store.lines.slice(1)).toEqual(['Redis does all that requests need again']);
  });

  it('is false without the database of REDIS_URL, and nothing goes to database 0 instead', async () => {
    const { server, admin } = await start(['--databases', '2']);
    const store = await connect({ REDIS_URL: new URL('/3', server.url).href });
    expect(await isReady(store)).toBe(false);
    expect(isAway(await store.sessions.list('ana').catch((error: unknown) => error))).toBe(true);
    expect(store.lines).toEqual([expect.stringMatching(/\(DATABASE\).*no database of the number/)]);
    expect(await admin.dbsize()).toBe(0);
  });

  it('is false on a replica, and the log says its role', async () => {
    const [primary, replica] = [await start(), await start()];
    await replica.admin.replicaof('127.0.0.1', Number(new URL(primary.server.url).port));
    const store = await connect({ REDIS_URL: replica.server.url });
    await until(() => store.lines.length > 0);
    expect(await isReady(store)).toBe(false);
    expect(store.lines).toEqual([expect.stringMatching(/\(READONLY\).*replica.*primary/)]);
    await replica.admin.replicaof('NO', 'ONE');
    await until(() => isReady(store));
  });

  it('is false on a node that does not own all slots, and the log says so', async () => {
    const { server, admin } = await start([
      '--cluster-enabled',
      'yes',
      '--cluster-require-full-coverage',
      'no',
    ]);
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', '0', '9000');
    await until(async () => (await admin.cluster('INFO')).includes('cluster_state:ok'));
    const store = await connect({ REDIS_URL: server.url, STORE_LAYOUT: '1' });
    expect(await isReady(store)).toBe(false);
    expect(store.lines).toEqual([expect.stringMatching(/\(CLUSTERDOWN\).*slots have no node/)]);
  });

  it('leaves nothing behind, and a look of many callers is one', async () => {
    const { server, admin } = await start();
    const store = await connect({ REDIS_URL: server.url, STORE_LAYOUT: '1' });
    await isReady(store);
    await admin.config('RESETSTAT');
    await Promise.all(Array.from({ length: 50 }, () => store.sessions.check()));
    const stats = await admin.info('commandstats');
    expect(Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)![1])).toBe(2);
    expect(await admin.keys('*')).toEqual([]);
  });
});

describe('a full Redis', () => {
  it('goes on with those who watch and takes no new ones, says so once, and its memory does not grow', async () => {
    const { server, admin } = await start(['--maxmemory-policy', 'noeviction']);
    const store = await connect({ REDIS_URL: server.url });
    const { sessions } = store;
    const ask = (userId: string, streamId = 'film'): AdmissionRequest => ({
      userId,
      sessionId: 'tv',
      streamId,
      phase: 0,
      window: filmOf(10_000),
      quota: POLICY.quota,
      endSessionIds: [],
    });
    const users = Array.from({ length: 100 }, (_, n) => `user-${n}`);
    const watch = async (userId: string, streamId?: string): Promise<string> => {
      const admission = await sessions.admit(ask(userId, streamId));
      if (admission.outcome === 'admitted' && admission.place.reserved)
        await sessions.confirm(admission.place);
      return admission.outcome;
    };
    for (const user of users) expect(await watch(user)).toBe('admitted');
    const usedMemory = async (): Promise<number> =>
      Number(/^used_memory_dataset:(\d+)/m.exec(await admin.info('memory'))![1]);
    await admin.config('SET', 'maxmemory', '1');
    const before = await usedMemory();
    for (let round = 0; round < 5; round++) {
      for (const user of users) expect(await watch(user)).toBe('admitted');
      expect(await watch(`user-${round}`, `film-${round}`)).toBe('admitted');
      await expect(watch('another-one')).rejects.toThrow('OOM');
      await expect(sessions.admit({ ...ask('user-1'), sessionId: 'phone' })).rejects.toThrow('OOM');
    }
    expect((await usedMemory()) - before).toBeLessThan(100_000);
    expect(await isReady(store)).toBe(false);
    // Operators need the metrics of a full Redis.
    expect(await store.reporter.elect()).toBe(true);
    expect(store.lines).toEqual([expect.stringMatching(/\(OOM .*Redis is full: raise maxmemory/)]);
    // One that starts now keeps writing what the others write.
    const other = await connect({ REDIS_URL: server.url });
    expect((await other.sessions.admit(ask('user-3'))).outcome).toBe('admitted');
    expect(layoutOf((await admin.hgetallBuffer(userKeys('user-3').records))['user-3']!)).toBe(2);
    expect(await sessions.end('user-1', ['tv'], 'user')).toMatchObject({ ended: [{ sessionId: 'tv' }] });
    await admin.config('SET', 'maxmemory', '0');
    expect(await watch('a-new-one')).toBe('admitted');
    expect(await isReady(store)).toBe(true);
    expect(store.lines.slice(1)).toEqual(['Redis does all that requests need again']);
  });
});

describe('an eviction policy', () => {
  it.each([
    ['allkeys-lru', '100mb', true],
    ['allkeys-lru', '0', false],
    ['volatile-lru', '100mb', false],
    ['noeviction', '100mb', false],
  ])('%s with maxmemory %s can drop sessions: %s', async (policy, maxmemory, evicts) => {
    const { server } = await start(['--maxmemory-policy', policy, '--maxmemory', maxmemory]);
    const store = await connect({ REDIS_URL: server.url });
    expect(await store.sessions.mayEvict()).toBe(evicts);
    await until(() => store.lines.length === (evicts ? 1 : 0));
    expect(store.lines.join()).toMatch(evicts ? /maxmemory-policy to noeviction/ : /^$/);
  });
});

describe('the ACL user of the guide', () => {
  it('may do all that the service does, and nothing that Redis would report', async () => {
    const [line] = /^ACL SETUSER streamgate .*$/m.exec(GUIDE)!;
    expect(line).toContain(RIGHTS);
    const { server, admin } = await start();
    await admin.call('ACL', ...line.split(' ').slice(1));
    const receiver = new CallbackReceiver();
    await receiver.start();
    const service = await startServiceProcess({
      REDIS_URL: server.url.replace('//', '//streamgate@'),
      REDIS_PASSWORD: 'PASSWORD',
      PHASE_SECONDS: '1',
      CALLBACK_URL: receiver.url,
      CALLBACK_EVENTS: 'session.started,session.moved,session.ended,session.expired,session.refused',
    });
    const ask = (body: object) => service.ask({ user_id: 'ana', stream_id: 'test-pattern', ...body });
    const call = async (method: string, path: string): Promise<number> =>
      (await fetch(`${service.url}${path}`, { method })).status;
    const events = new AbortController();
    expect((await fetch(`${service.url}/v1/users/ana/events`, { signal: events.signal })).status).toBe(200);
    for (const session_id of ['a', 'b', 'c']) expect((await ask({ session_id })).status).toBe(201);
    expect((await ask({ session_id: 'd' })).status).toBe(409);
    expect((await ask({ session_id: 'a', stream_id: 'colour-bars' })).status).toBe(200);
    expect((await ask({ session_id: 'd', end_session_ids: ['a'] })).status).toBe(201);
    expect(await call('POST', '/v1/users/ana/sessions/b/keepalive')).toBe(200);
    expect(await call('GET', '/v1/users/ana/sessions')).toBe(200);
    expect(await call('DELETE', '/v1/users/ana/sessions/c')).toBe(204);
    for (const path of ['expiry/pause', 'expiry/resume', 'expire-idle-sessions'])
      expect(await call('POST', `/internal/${path}`)).toBe(200);
    expect(await call('GET', '/internal/callbacks')).toBe(200);
    expect(await call('GET', '/internal/audit')).toBe(200);
    await until(() => receiver.deliveries.some(({ event }) => event.type === 'session.expired'));
    expect(await (await fetch(`${service.url}/metrics`)).text()).toContain('streamgate_store_up 1');
    expect(await call('GET', '/health/ready')).toBe(200);
    events.abort();
    await service.end();
    expect(service.output()).not.toContain('NOPERM');
    expect(await admin.call('ACL', 'LOG')).toEqual([]);
    await receiver.stop();
  });
});

describe('the probe of readiness', () => {
  /** The commands of scripts, and those that the service sends by itself. A single server has no sharded messages. */
  const commandsOf = async (admin: Redis): Promise<string[]> => {
    const folder = join(__dirname, '../../src/sessions/redis');
    const lua = readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.lua') && !file.endsWith('probe.lua'))
      .map((file) => readFileSync(join(folder, file), 'utf8'))
      .join('\n');
    const known = new Set((await admin.call('COMMAND', 'LIST')) as string[]);
    const quoted = [...lua.matchAll(/'([A-Z]+)'/g)].map(([, word]) => word!);
    const own = ['EVAL', 'EVALSHA', 'SUBSCRIBE', 'UNSUBSCRIBE', 'XCLAIM', 'XLEN', 'XRANGE', 'HGET'].concat(
      'ZRANGE',
      'ZREMRANGEBYRANK',
      'ZREMRANGEBYSCORE',
    );
    return [...new Set([...quoted, ...own])]
      .filter((word) => known.has(word.toLowerCase()) && word !== 'SPUBLISH')
      .toSorted();
  };

  it('names each command that the service runs and its ACL user may not', async () => {
    const { server, admin } = await start();
    const commands = await commandsOf(admin);
    expect(commands).toEqual(expect.arrayContaining(['HSET', 'PUBLISH', 'XACK', 'XREADGROUP', 'ZADD']));
    await admin.call('ACL', 'SETUSER', 'app', 'on', 'nopass', '~*', '&*', '+@all');
    const quiet = new Availability({ log: jest.fn(), warn: jest.fn(), error: jest.fn() });
    const link = connectRedis({ url: server.url, username: 'app', password: 'any' }, quiet, 15_000);
    open.push(link);
    await link.attempted();
    const scripts = new ScriptRunner(link, { policy: POLICY, subscriptions: [], layout: 2 });
    const missing = async (): Promise<readonly string[]> =>
      probe(scripts, userKeys('ana').ofPartition, false).catch((error: Error) => [error.message]);
    expect(await missing()).toEqual([]);
    const unnoticed: string[] = [];
    for (const command of commands) {
      await admin.call('ACL', 'SETUSER', 'app', `-${command}`);
      const named = await missing();
      if (!named.some((text) => text.startsWith(command) || text.startsWith('NOPERM')))
        unnoticed.push(command);
      await admin.call('ACL', 'SETUSER', 'app', `+${command}`);
    }
    expect(unnoticed).toEqual([]);
  });
});
