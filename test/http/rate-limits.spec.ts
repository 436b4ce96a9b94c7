import { createHash } from 'node:crypto';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { SchedulerRegistry } from '@nestjs/schedule';
import fastify from 'fastify';
import { createApp } from '../../src/app.js';
import { readConfig } from '../../src/config/config.js';
import { Clock } from '../../src/clock.js';
import { RateLimits, RateTally } from '../../src/http/rate-limits.js';
import { Metrics } from '../../src/observability/metrics.js';
import { Availability } from '../../src/sessions/redis/availability.js';
import { connectRedis } from '../../src/sessions/redis/link.js';
import { openRedisStore } from '../../src/sessions/redis/redis-store.js';
import { BY_SECRET, HS256, Issuer } from '../support/issuer.js';
import { ManualClock } from '../support/manual-clock.js';
import { useRedisDatabase } from '../support/redis-database.js';
import { type OwnRedisServer, startOwnRedis } from '../support/redis-server.js';
import { type StoreName, STORES, useService } from '../support/service.js';
import { until } from '../support/until.js';

const JSON_TYPE = { 'content-type': 'application/json' };
const phaseOf = (user_id: string) => ({ user_id, session_id: 'tv', stream_id: 'test-pattern' });

describe.each(STORES)('the limit per user, on %s', (store: StoreName) => {
  const service = useService(store, () => ({ RATE_LIMIT_PER_USER: '20' }));
  const sessionsOf = (user: string) => service.send('get', `/v1/users/${user}/sessions`);
  const askOften = async (user: string, times: number) => {
    for (let at = 0; at < times; at++) await sessionsOf(user);
  };
  beforeEach(() => {
    service.clock.advance(1_000);
  });

  it('allows 20 requests in a second, then answers 429 with Retry-After, and allows requests again in the next second', async () => {
    await askOften('ana', 19);
    const last = await sessionsOf('ana');
    expect([last.status, last.headers]).toMatchObject([
      200,
      { 'ratelimit-limit': '20', 'ratelimit-remaining': '0', 'ratelimit-reset': '1' },
    ]);
    const refused = await sessionsOf('ana');
    expect([refused.status, refused.body, refused.headers]).toMatchObject([
      429,
      { code: 'rate-limited', instance: refused.headers['x-request-id'] },
      { 'content-type': 'application/problem+json', 'retry-after': '1', 'ratelimit-remaining': '0' },
    ]);
    service.clock.advance(1_000);
    expect((await sessionsOf('ana')).status).toBe(200);
  });

  it('delays a refusal, so that a client in a loop asks less often', async () => {
    await askOften('fay', 20);
    const before = performance.now();
    expect((await sessionsOf('fay')).status).toBe(429);
    expect(performance.now() - before).toBeGreaterThan(90);
  });

  it('does not refuse other users', async () => {
    await askOften('ana', 25);
    expect([(await sessionsOf('ana')).status, (await sessionsOf('ben')).status]).toEqual([429, 200]);
  });

  it('counts reads, ends, each session and new sessions separately; a refused request changes nothing', async () => {
    const phase = (session_id?: string) =>
      service.ask({ user_id: 'cem', stream_id: 'test-pattern', ...(session_id ? { session_id } : {}) });
    const read = () => sessionsOf('cem');
    const end = () => service.send('delete', '/v1/users/cem/sessions/none');
    const keep = () => service.send('post', '/v1/users/cem/sessions/tv/keepalive');
    await phase('tv');
    await phase('phone');
    service.clock.advance(1_000);
    for (const [loop, sameBudget] of [
      [read, read],
      [() => phase('tv'), keep],
      [() => phase(), () => phase('made-up')],
    ] as const) {
      for (let asked = 0; asked < 20; asked++) await loop();
      const before = await service.sessions.list('cem');
      const { status, body, headers } = await sameBudget();
      expect([status, body.code, headers['retry-after']]).toEqual([429, 'rate-limited', '1']);
      expect(await service.sessions.list('cem')).toEqual(before);
      expect((await phase('phone')).status).toBe(200);
      expect((await end()).status).toBe(404);
    }
  });

  it('limits requests with made-up session ids, and does not count them against running sessions', async () => {
    const phase = (session_id: string) => service.ask({ ...phaseOf('gil'), session_id });
    for (const id of ['a', 'b', 'c']) expect((await phase(id)).status).toBe(201);
    service.clock.advance(1_000);
    const statuses: number[] = [];
    for (let made = 0; made < 25; made++) statuses.push((await phase(`made-up-${made}`)).status);
    expect(statuses).toEqual([...Array(20).fill(409), ...Array(5).fill(429)]);
    for (const id of ['a', 'b', 'c']) expect((await phase(id)).status).toBe(200);
  });

  it('refuses no renewal and no DELETE while twenty refused clients repeat their requests', async () => {
    const phase = (session_id: string) => service.ask({ ...phaseOf('hal'), session_id });
    for (const id of ['a', 'b', 'c']) await phase(id);
    for (let second = 0; second < 3; second++) {
      service.clock.advance(1_000);
      const loops = Array.from({ length: 20 }, async (_, at) => {
        const statuses = new Set<number>();
        for (let asked = 0; asked < 22; asked++) statuses.add((await phase(`looping-${at}`)).status);
        return statuses;
      });
      const renewals = (async () => {
        const statuses: number[] = [];
        for (const id of ['a', 'b', 'c']) statuses.push((await phase(id)).status);
        return statuses;
      })();
      expect(await renewals).toEqual([200, 200, 200]);
      for (const statuses of await Promise.all(loops)) expect(statuses).toEqual(new Set([409, 429]));
    }
    expect((await service.send('delete', '/v1/users/hal/sessions/a')).status).toBe(204);
  });

  it('refuses no segment and no DELETE while refused players repeat their requests at the gate', async () => {
    const play = async (path: string, session: string) =>
      (await service.send('get', `/v1/play/test-pattern/${path}?user_id=ida&session_id=${session}`)).status;
    for (const session_id of ['a', 'b', 'c']) await service.ask({ ...phaseOf('ida'), session_id });
    for (let second = 0; second < 3; second++) {
      service.clock.advance(1_000);
      let made = 0;
      const loops = [
        () => play('index.m3u8', 'looping'),
        () => play('0/0.ts', 'looping'),
        () => play('index.m3u8', `made-up-${++made}`),
      ].map(async (loop) => {
        const statuses = new Set<number>();
        for (let asked = 0; asked < 22; asked++) statuses.add(await loop());
        return statuses;
      });
      for (const id of ['a', 'b', 'c']) expect(await play('0/0.ts', id)).toBe(302);
      for (const statuses of await Promise.all(loops)) expect(statuses).toEqual(new Set([403, 429]));
      for (const id of ['a', 'b', 'c']) expect(await play('0/0.ts', id)).toBe(302);
    }
    expect((await service.send('delete', '/v1/users/ida/sessions/a')).status).toBe(204);
  });

  it('counts each player separately, so that a player over its limit can still be ended by its user', async () => {
    const url = '/v1/play/test-pattern';
    const play = async (path: string) => service.send('get', `${url}/${path}`);
    for (const id of ['phone', 'tv']) await service.ask({ ...phaseOf('fay'), session_id: id });
    service.clock.advance(1_000);
    for (let asked = 0; asked < 20; asked++) await play('a-none.key?user_id=fay&session_id=phone');
    const before = await service.sessions.list('fay');
    for (const path of ['index.m3u8', 'a-none.key', '0/0.ts']) {
      const { status, body, headers } = await play(`${path}?user_id=fay&session_id=phone`);
      expect([status, body.code, headers['retry-after']]).toEqual([429, 'rate-limited', '1']);
    }
    expect(await service.sessions.list('fay')).toEqual(before);
    expect((await play('0/0.ts?user_id=fay&session_id=tv')).status).toBe(302);
    expect((await service.send('delete', '/v1/users/fay/sessions/phone')).status).toBe(204);
  });

  it('refuses after 400 and 422, and before 409 and 404', async () => {
    for (let asked = 0; asked < 21; asked++) await service.ask(phaseOf('dan'));
    const ask = async (body: object) => (await service.ask({ ...phaseOf('dan'), ...body })).status;
    expect([await ask({ phase: -1 }), await ask({ stream_id: 'none' })]).toEqual([422, 429]);
  });

  it('sends no headers about limits to a viewer who asks as often as viewers do', async () => {
    const reply = await sessionsOf('eve');
    expect(Object.keys(reply.headers).filter((name) => name.startsWith('ratelimit'))).toEqual([]);
  });
});

describe('the requests of services and operators', () => {
  const service = useService('the embedded store', () => ({
    ...BY_SECRET,
    RATE_LIMIT_PER_USER: '20',
    API_TOKENS: `console:sessions:read,sessions:end:${createHash('sha256').update('of-a-console').digest('hex')}`,
  }));

  it('are not limited per user, and do not count against the limit of the user', async () => {
    const read = async (token: string) =>
      (await service.send('get', '/v1/users/ana/sessions', { authorization: `Bearer ${token}` })).status;
    const statuses = new Set<number>();
    for (let asked = 0; asked < 40; asked++) statuses.add(await read('of-a-console'));
    expect(statuses).toEqual(new Set([200]));
    const own = await new Issuer(() => service.clock.now()).token(HS256);
    for (let asked = 0; asked < 20; asked++) expect(await read(own)).toBe(200);
    expect([await read(own), await read('of-a-console')]).toEqual([429, 200]);
  });
});

describe('the limit per address', () => {
  const service = useService('the embedded store', () => ({
    RATE_LIMIT_PER_ADDRESS: '20',
    TRUSTED_PROXIES: '127.0.0.1',
    INTERNAL_API_TOKEN: 'a-token-of-the-test',
  }));
  beforeEach(() => {
    service.clock.advance(1_000);
  });
  const from = async (address: string, path = '/v1/streams') =>
    (await service.send('get', path, { 'x-forwarded-for': address })).status;
  const askOften = async (address: string, times: number, path?: string) => {
    for (let at = 0; at < times; at++) await from(address, path);
  };

  it('is that of a proxy, whose name of the scheme has no case', async () => {
    const body = { user_id: 'ana', stream_id: 'test-pattern' };
    const reply = await service.send('post', '/v1/phases', { 'x-forwarded-proto': 'HTTPS' }, body);
    expect([reply.status, reply.body.playback_url]).toEqual([201, expect.stringMatching(/^https:/)]);
  });

  it('counts all requests of one address, including requests for unknown paths, and none of another address', async () => {
    await askOften('192.0.2.1', 20, '/nothing');
    expect([await from('192.0.2.1'), await from('192.0.2.1', '/nothing'), await from('192.0.2.2')]).toEqual([
      429, 429, 200,
    ]);
  });

  it('ignores the port in X-Forwarded-For, and counts all clients without a valid address as one', async () => {
    for (let port = 0; port < 10; port++) await from(`192.0.2.1:${port}`);
    await askOften('192.0.2.1', 10);
    expect([await from('192.0.2.1:99'), await from('192.0.2.2:99')]).toEqual([429, 200]);
    for (let port = 0; port < 20; port++) await from(`[2001:db8:0:7::${port}]:${port}`);
    expect([await from('2001:db8:0:7::ffff'), await from('[2001:db8:0:8::1]:1')]).toEqual([429, 200]);
    for (let made = 0; made < 20; made++) await from(`made-up-${made}`);
    expect([await from('unknown'), await from('192.0.2.3')]).toEqual([429, 200]);
  });

  it('delays errors to callers that it cannot identify, once their address has used a tenth of it', async () => {
    const shortest = async (path?: string): Promise<number> => {
      const times: number[] = [];
      for (let asked = 0; asked < 3; asked++) {
        const before = performance.now();
        await from('192.0.2.1', path);
        times.push(performance.now() - before);
      }
      return Math.min(...times);
    };
    expect(await shortest('/nothing')).toBeLessThan(90);
    expect(await shortest('/nothing')).toBeGreaterThan(90);
    expect(await shortest()).toBeLessThan(90);
    expect(await shortest('/internal/expiry')).toBeLessThan(90);
  });

  it('is checked before the body is read', async () => {
    await askOften('192.0.2.1', 20);
    const reply = await service.app.inject({
      method: 'POST',
      url: '/v1/phases',
      headers: { ...JSON_TYPE, 'x-forwarded-for': '192.0.2.1' },
      remoteAddress: '127.0.0.1',
      body: '{',
    });
    expect(reply.statusCode).toBe(429);
  });

  it('counts a /64 network of IPv6 as one address, because one host can use all its addresses', async () => {
    for (let at = 0; at < 20; at++) await from(`2001:db8:0:7::${at.toString(16)}`);
    expect([await from('2001:db8:0:7:ffff::1'), await from('2001:db8:0:8::1')]).toEqual([429, 200]);
  });

  it('does not apply to probes, monitoring and operators', async () => {
    await askOften('192.0.2.1', 21);
    for (const path of ['/health/live', '/health/ready', '/metrics'])
      expect([path, await from('192.0.2.1', path)]).toEqual([path, 200]);
    expect(await from('192.0.2.1', '/internal/expiry')).toBe(401);
    expect(await from('192.0.2.1', '/health/nothing')).toBe(429);
  });

  it('counts the refused requests in a metric', async () => {
    const refused = async () =>
      Number(
        /^streamgate_rate_limited_total\{limit="address"\} (\d+)$/m.exec(
          (await service.send('get', '/metrics')).text,
        )?.[1],
      );
    const before = await refused();
    await askOften('192.0.2.1', 23);
    expect((await refused()) - before).toBe(3);
  });
});

describe.each([
  ['no proxy', {}],
  ['another proxy', { TRUSTED_PROXIES: '10.0.0.0/8,2001:db8::/32' }],
])('a service that trusts %s', (_, environment) => {
  const service = useService('the embedded store', () => ({ RATE_LIMIT_PER_ADDRESS: '20', ...environment }));

  it('ignores X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host of a client', async () => {
    for (let at = 0; at < 20; at++)
      await service.send('get', '/v1/streams', { 'x-forwarded-for': `192.0.2.${at}` });
    expect((await service.send('get', '/v1/streams', { 'x-forwarded-for': '192.0.2.99' })).status).toBe(429);
    service.clock.advance(1_000);
    const { headers } = await service.send('get', '/v1/play/test-pattern/index.m3u8?user_id=ana', {
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'evil.example',
    });
    expect(headers.location).toMatch(/^http:\/\/127\.0\.0\.1:\d+\//);
  });
});

describe('a service behind a trusted proxy', () => {
  const service = useService('the embedded store', () => ({
    RATE_LIMIT_PER_ADDRESS: '20',
    TRUSTED_PROXIES: '127.0.0.0/8, 10.0.0.1',
  }));

  it('builds its URLs from the protocol and host that the client used', async () => {
    const { body } = await service.send(
      'post',
      '/v1/phases',
      { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'play.example' },
      phaseOf('ana'),
    );
    expect(body.playback_url).toMatch(/^https:\/\/play\.example\/v1\/play\//);
    expect(body.phase.segments[0].url).toMatch(/^https:\/\/play\.example\/media\//);
  });

  it('answers 400 for a protocol other than http and https', async () => {
    const reply = await service.send(
      'post',
      '/v1/phases',
      { 'x-forwarded-proto': 'javascript' },
      phaseOf('eve'),
    );
    expect([reply.status, reply.body.code]).toEqual([400, 'malformed-request']);
    expect((await service.sessions.list('eve')).sessions).toEqual([]);
  });

  it('takes the client address that the last proxy added, and ignores what the client itself sent', async () => {
    // Each proxy appends an address. Only the client can have written what is left of the first untrusted address.
    const from = async (forwarded: string) =>
      (await service.send('get', '/v1/streams', { 'x-forwarded-for': forwarded })).status;
    service.clock.advance(1_000);
    for (let at = 0; at < 20; at++) await from(`198.51.100.${at}, 192.0.2.1, 10.0.0.1`);
    expect([await from('198.51.100.99, 192.0.2.1'), await from('192.0.2.2')]).toEqual([429, 200]);
  });
});

describe('instances on one Redis', () => {
  const clock = new ManualClock();
  let instances: NestFastifyApplication[];
  // Before the database is emptied, because a service that stops writes its last.
  afterAll(() => Promise.all(instances.map((app) => app.close())));
  const database = useRedisDatabase();
  beforeAll(async () => {
    const config = readConfig({ LOG_LEVEL: 'silent', REDIS_URL: database.url, RATE_LIMIT_PER_USER: '100' });
    instances = await Promise.all([createApp(config, clock), createApp(config, clock)]);
    for (const app of instances) await app.get(SchedulerRegistry).getCronJob('expire-idle-sessions').stop();
  });
  const ask = async (instance: number, user: string) =>
    (await instances[instance]!.inject(`/v1/users/${user}/sessions`)).statusCode;

  it('share one limit per user, which is exceeded by at most a tenth for each instance', async () => {
    let answered = 0;
    for (let at = 0; at < 200; at++) if ((await ask(at % 2, 'ana')) === 200) answered++;
    expect(answered).toBeGreaterThanOrEqual(100);
    expect(answered).toBeLessThanOrEqual(120);
    clock.advance(1_000);
    expect([await ask(0, 'ana'), await ask(1, 'ana')]).toEqual([200, 200]);
  });

  it('store a count for two seconds at most', async () => {
    let left = -2;
    // On a busy machine the count may have expired before it is looked at.
    await until(async () => {
      clock.advance(1_000);
      for (let at = 0; at < 50; at++) await ask(0, 'ben');
      const [key] = await database.redis.keys('sg:r:user:ben:*');
      left = key === undefined ? -2 : await database.redis.pttl(key);
      return left !== -2;
    });
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(2_000);
  });

  it('do not ask Redis about a user with few requests', async () => {
    clock.advance(1_000);
    for (let at = 0; at < 20; at++) expect(await ask(at % 2, 'cem')).toBe(200);
    expect(await database.redis.keys(`sg:r:*:${clock.now() / 1_000}`)).toEqual([]);
  });
});

describe('an instance that shares its counts', () => {
  class RecordingTally extends RateTally {
    sum = 0;
    override async add(_key: string, count: number): Promise<number> {
      this.sum += count;
      return this.sum;
    }
  }

  it('reports requests up to the limit, and not the requests that it refuses', async () => {
    const tally = new RecordingTally();
    const config = readConfig({ RATE_LIMIT_PER_ADDRESS: '20' });
    const server = fastify();
    await new RateLimits(config, new ManualClock(), tally).register(server, new Metrics());
    server.get('/', () => 'answered');
    const ask = async (): Promise<number> => (await server.inject('/')).statusCode;
    for (let at = 1; at < 20; at++) expect(await ask()).toBe(200);
    expect(tally.sum).toBeGreaterThanOrEqual(18); // off by a tenth at most
    const replies = await Promise.all(Array.from({ length: 60 }, ask));
    expect(replies.filter((status) => status === 200).length).toBeLessThanOrEqual(1);
    expect(tally.sum).toBeLessThanOrEqual(20);
    await server.close();
  });
});

describe('the rate limit while Redis does not answer', () => {
  let redis: OwnRedisServer;
  let app: NestFastifyApplication;
  beforeAll(async () => {
    redis = await startOwnRedis();
    const config = readConfig({ LOG_LEVEL: 'silent', REDIS_URL: redis.url, RATE_LIMIT_PER_ADDRESS: '100' });
    app = await createApp(config, new ManualClock());
  });
  afterAll(async () => {
    redis.resume();
    await app.close();
    await redis.stop();
  });

  it('delays no request, and refuses only by the count of its own instance', async () => {
    await app.inject('/v1/streams');
    redis.pause();
    const statuses: number[] = [];
    let longestMs = 0;
    for (let at = 1; at <= 100; at++) {
      const before = performance.now();
      statuses.push((await app.inject('/v1/streams')).statusCode);
      longestMs = Math.max(longestMs, performance.now() - before);
    }
    expect(longestMs).toBeLessThan(900); // a call to Redis is given up after a second
    expect(statuses).toEqual([...Array.from({ length: 99 }, () => 200), 429]);
  });

  it('logs the outage once', async () => {
    const lines: string[] = [];
    const log = { log: () => undefined, error: () => undefined, warn: (line: string) => lines.push(line) };
    const availability = new Availability(log);
    const link = connectRedis({ url: redis.url }, availability);
    const { tally } = openRedisStore(link, readConfig({ REDIS_URL: redis.url }), new Clock(), availability);
    expect([await tally.add('ana', 1), await tally.add('ana', 1)]).toEqual([undefined, undefined]);
    expect(lines).toEqual([expect.stringContaining('Rates are counted by this instance alone')]);
    redis.resume();
    await until(async () => (await tally.add('ana', 5)) !== undefined);
    expect(await tally.add('ana', 2)).toBe(7);
    await link.close();
  });
});
