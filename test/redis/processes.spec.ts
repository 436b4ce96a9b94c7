import { Redis } from 'ioredis';
import { ManualClock } from '../support/manual-clock.js';
import { type OwnRedisServer, startOwnRedis } from '../support/redis-server.js';
import { connectPatiently, useRedisDatabase } from '../support/redis-database.js';
import { POLICY, eventsOf, openRedisStore } from '../support/stores.js';
import { ReplyValve } from '../support/reply-valve.js';
import { until } from '../support/until.js';
import { type ServiceProcess, endServiceProcesses, startServiceProcess } from '../support/service-process.js';

// Real processes in real time: a machine that stalls for a second has Redis away for them, as it would in production. What
// failed is printed before it is tried again.
jest.retryTimes(2, { logErrorsBeforeRetry: true });

/** Several service processes on one Redis, as in production: real time, real deaths. */

const { url, redis, empty } = useRedisDatabase();
beforeEach(empty);
const start = (environment: Record<string, string> = {}): Promise<ServiceProcess> =>
  startServiceProcess({ REDIS_URL: url, LOG_LEVEL: 'warn', ...environment });
afterEach(endServiceProcesses);

describe('two processes', () => {
  it('admit exactly 3 of the 10 first requests that each of 200 users sends at once', async () => {
    const services = await Promise.all([start(), start()]);
    const users = Array.from({ length: 200 }, (_, n) => `racer-${n}`);
    const replies = await Promise.all(
      users.flatMap((user_id) =>
        Array.from({ length: 10 }, (_, n) => services[n % 2]!.ask({ user_id, stream_id: 'test-pattern' })),
      ),
    );
    const outcomes = users.map((_, at) =>
      replies
        .slice(at * 10, at * 10 + 10)
        .map(({ status }) => status)
        .toSorted(),
    );
    expect(outcomes).toEqual(users.map(() => [201, 201, 201, 409, 409, 409, 409, 409, 409, 409]));
    for (const user of users.slice(0, 20)) {
      const lists = await Promise.all(
        services.map(async (service) => (await fetch(`${service.url}/v1/users/${user}/sessions`)).json()),
      );
      expect((lists[0] as { sessions: unknown[] }).sessions).toHaveLength(3);
      expect(lists[1]).toEqual(lists[0]);
    }
  });

  it('claim each expiry once between them, from the clock alone', async () => {
    const short = { PHASE_SECONDS: '0.2', IDLE_PHASES: '5', LOG_LEVEL: 'info' };
    const services = await Promise.all([start(short), start(short)]);
    const users = Array.from({ length: 60 }, (_, n) => `sleeper-${n}`);
    await Promise.all(
      users.map((user_id, n) => services[n % 2]!.ask({ user_id, stream_id: 'test-pattern' })),
    );
    const claimed = (): number =>
      services
        .flatMap((service) => service.output().split('\n'))
        .filter((line) => line.includes('idle sessions expired'))
        .reduce((sum, line) => sum + (JSON.parse(line) as { expired: number }).expired, 0);
    await until(() => claimed() >= 60);
    for (const service of services) {
      const sweep = await fetch(`${service.url}/internal/expire-idle-sessions`, { method: 'POST' });
      expect(await sweep.json()).toMatchObject({ expired: 0, more: false });
    }
    expect(claimed()).toBe(60);
    expect(await redis.keys('sg:*:[ux]*')).toEqual([]);
  });
});

describe('a process that dies between the decision and the reply', () => {
  it('costs a new session its place for one short lease', async () => {
    const valve = await ReplyValve.open(url);
    try {
      const doomed = await start({ REDIS_URL: valve.url });
      valve.shut();
      const lost = doomed.ask({ user_id: 'orphan', session_id: 'tv', stream_id: 'test-pattern' });
      lost.catch(() => undefined);
      const clock = new ManualClock(Date.now());
      const connection = connectPatiently(url);
      const opened = openRedisStore(connection, POLICY, clock);
      const store = opened.sessions;
      await store.onModuleInit();
      let held = (await store.list('orphan')).sessions;
      await until(async () => (held = (await store.list('orphan')).sessions).length > 0);
      await doomed.end('SIGKILL');
      await expect(lost).rejects.toThrow('fetch failed');

      clock.advanceTo(new Date(held[0]!.startedAt).toISOString());
      clock.advance(POLICY.leaseMs - 1);
      expect((await store.list('orphan')).sessions).toHaveLength(1);
      clock.advance(1);
      expect((await store.list('orphan')).sessions).toEqual([]);
      expect(await store.expireIdle({ maxSessions: 10 })).toMatchObject({ expired: 0 }); // it never began
      expect(await eventsOf(opened, 'orphan')).toEqual([]);
      await connection.close();
    } finally {
      await valve.close();
    }
  });
});

describe('when Redis is away', () => {
  let server: OwnRedisServer;
  beforeAll(async () => {
    server = await startOwnRedis();
  });
  afterAll(() => server.stop());
  const body = { user_id: 'ana', session_id: 'tv', stream_id: 'test-pattern' };

  // After a failover the address leads elsewhere, and what is open to the host that was lost swallows everything.
  it('gives up a connection on which nothing comes back, for one to the Redis that is there by now', async () => {
    const valve = await ReplyValve.open(server.url);
    try {
      const service = await start({ REDIS_URL: valve.url });
      await until(async () => (await fetch(`${service.url}/health/ready`)).ok);
      valve.loseHost();
      await until(async () => (await fetch(`${service.url}/health/ready`)).status === 503);
      await until(async () => (await fetch(`${service.url}/health/ready`)).ok, 10_000);
      expect((await service.ask({ ...body, user_id: 'ben' })).status).toBe(201);
    } finally {
      await valve.close();
    }
  });

  it('refuses honestly while it is down, and goes on by itself when it is back', async () => {
    const service = await start({ REDIS_URL: server.url });
    expect((await service.ask(body)).status).toBe(201);

    await server.kill();
    await until(async () => (await fetch(`${service.url}/health/ready`)).status === 503);
    const refused = await service.ask(body);
    expect([refused.status, refused.body.code]).toEqual([503, 'store-unavailable']);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(JSON.stringify(refused.body)).not.toMatch(/redis|ECONN|127\.0\.0\.1|stack/i);
    expect((await fetch(`${service.url}/health/live`)).status).toBe(200);
    for (const method of ['GET', 'DELETE'])
      expect((await fetch(`${service.url}/v1/users/ana/sessions`, { method })).status).toBe(503);

    await server.restart();
    await until(async () => (await fetch(`${service.url}/health/ready`)).ok);
    expect((await service.ask(body)).status).toBe(201); // forgotten by a store that keeps nothing on disk
    const told = service
      .output()
      .split('\n')
      .filter((line) => /503 until it is back/.test(line));
    expect(told).toHaveLength(1);
  });

  it('fails what was under way as soon as the connection is lost, also where there is another at once', async () => {
    const valve = await ReplyValve.open(server.url);
    const link = connectPatiently(valve.url);
    try {
      await link.attempted();
      valve.loseHost();
      const asked = link.ping();
      const started = performance.now();
      valve.cut();
      await expect(asked).rejects.toThrow('Redis did not answer');
      // Its time-out is fifteen seconds.
      expect(performance.now() - started).toBeLessThan(5_000);
    } finally {
      await link.close();
      await valve.close();
    }
  });

  it('does not wait for one that hangs', async () => {
    const service = await start({ REDIS_URL: server.url });
    server.pause();
    try {
      const started = performance.now();
      expect((await service.ask(body)).status).toBe(503);
      expect(performance.now() - started).toBeLessThan(4_000);
    } finally {
      server.resume();
    }
    await until(async () => (await service.ask(body)).status < 300);
  });

  it('starts without it, and says that it is not ready', async () => {
    await server.kill();
    const service = await start({ REDIS_URL: server.url });
    const ready = await fetch(`${service.url}/health/ready`);
    expect([ready.status, (await ready.json()) as object]).toMatchObject([503, { code: 'not-ready' }]);
    await server.restart();
    await until(async () => (await fetch(`${service.url}/health/ready`)).ok);
  });

  it('needs the right password', async () => {
    const locked = await startOwnRedis(['--requirepass', 'correct horse']);
    const wrong = await start({ REDIS_URL: locked.url, REDIS_PASSWORD: 'battery staple' });
    expect((await wrong.ask(body)).status).toBe(503);
    expect(wrong.output()).not.toContain('battery');
    const right = await start({ REDIS_URL: locked.url, REDIS_PASSWORD: 'correct horse' });
    expect((await right.ask(body)).status).toBe(201);
    await locked.stop();
  });

  it('passes on nothing of what Redis refuses, and says it in the log', async () => {
    const full = await startOwnRedis(['--maxmemory', '1', '--maxmemory-policy', 'noeviction']);
    const service = await start({ REDIS_URL: full.url });
    const refused = await service.ask(body);
    expect([refused.status, refused.body.code]).toEqual([503, 'store-unavailable']);
    expect(JSON.stringify(refused.body)).not.toMatch(/OOM|maxmemory/);
    await until(() => service.output().includes('OOM'));
    await full.stop();
  });

  it('lets a full one drain: sessions are listed, ended and expired all the same', async () => {
    const filling = await startOwnRedis();
    const service = await start({ REDIS_URL: filling.url, PHASE_SECONDS: '0.2', IDLE_PHASES: '5' });
    expect((await service.ask(body)).status).toBe(201);
    expect((await service.ask({ ...body, session_id: 'phone' })).status).toBe(201);
    const admin = new Redis(filling.url);
    await admin.config('SET', 'maxmemory', '1');
    const sessions = `${service.url}/v1/users/ana/sessions`;
    expect((await fetch(sessions)).status).toBe(200);
    expect((await fetch(`${sessions}/phone`, { method: 'DELETE' })).status).toBe(204);
    await until(async () => (await admin.keys('sg:*:[ux]*')).length === 0);
    await admin.quit();
    await filling.stop();
  });

  it('says once that one hangs, and once that it is back', async () => {
    const service = await start({ REDIS_URL: server.url, LOG_LEVEL: 'info' });
    server.pause();
    try {
      for (let n = 0; n < 2; n++) expect((await service.ask(body)).status).toBe(503);
    } finally {
      server.resume();
    }
    await until(async () => (await service.ask(body)).status < 300);
    const lines = (): string[] =>
      service
        .output()
        .split('\n')
        .filter((line) => line.includes('"context":"Redis"'));
    await until(() => lines().length > 1);
    expect(lines().map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([
      expect.stringContaining('Redis is unavailable'),
      'Redis is back',
    ]);
  });
});
