import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { ManualClock } from '../support/manual-clock.js';
import { type OwnRedisServer, freePort, startOwnRedis } from '../support/redis-server.js';
import { connectPatiently, useRedisDatabase } from '../support/redis-database.js';
import { POLICY, eventsOf, openRedisStore } from '../support/stores.js';
import { ReplyValve } from '../support/reply-valve.js';
import { until } from '../support/until.js';
import { type ServiceProcess, endServiceProcesses, startServiceProcess } from '../support/service-process.js';

// Real processes in real time: if the machine stalls for a second, Redis is unavailable for them, as in production.
// Jest prints a failure before it tries again.
jest.retryTimes(2, { logErrorsBeforeRetry: true });

/** Several service processes on one Redis, as in production: in real time, and really killed. */

const { url, redis, empty } = useRedisDatabase();
beforeEach(empty);
const start = (environment: Record<string, string> = {}): Promise<ServiceProcess> =>
  startServiceProcess({ REDIS_URL: url, LOG_LEVEL: 'warn', ...environment });
afterEach(endServiceProcesses);

describe('two processes', () => {
  it('admit exactly 3 of the 10 first requests that each of 100 users sends at once', async () => {
    const services = await Promise.all([start(), start()]);
    const users = Array.from({ length: 100 }, (_, n) => `racer-${n}`);
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

  it('claim each expiry exactly once with their own timers', async () => {
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

describe('a process that is killed between the decision and the reply', () => {
  it('leaves the place of a new session taken only until its lease lapses', async () => {
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
      expect(await store.expireIdle({ maxSessions: 10 })).toMatchObject({ expired: 0 }); // the session never began
      expect(await eventsOf(opened, 'orphan')).toEqual([]);
      await connection.close();
    } finally {
      await valve.close();
    }
  });
});

describe('the service, if Redis fails,', () => {
  let server: OwnRedisServer;
  beforeAll(async () => {
    server = await startOwnRedis();
  });
  afterAll(() => server.stop());
  const body = { user_id: 'ana', session_id: 'tv', stream_id: 'test-pattern' };

  // After a failover the address leads to another host, and open connections to the lost host never get a reply.
  it('replaces a connection on which no reply arrives by a new one', async () => {
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

  it('answers 503 while Redis is down, and recovers by itself', async () => {
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
    expect((await service.ask(body)).status).toBe(201); // a new session, because this Redis stores nothing on disk
    const outages = service
      .output()
      .split('\n')
      .filter((line) => /503 until it is back/.test(line));
    expect(outages).toHaveLength(1);
  });

  it('continues a known session while Redis is down, if the policy is open, and starts no other', async () => {
    // Another user in each try of this test.
    const known = { ...body, user_id: randomUUID() };
    const service = await start({
      REDIS_URL: server.url,
      STORE_DOWN_POLICY: 'open',
      PHASE_SECONDS: '20',
      IDLE_PHASES: '10',
    });
    const readiness = async (): Promise<unknown> => (await fetch(`${service.url}/health/ready`)).json();
    await until(async () => ((await readiness()) as { status: unknown }).status === 'ok');
    expect((await service.ask(known)).status).toBe(201);
    await until(async () => (await service.ask({ ...known, phase: 0 })).status === 200);

    await server.kill();
    await until(async () => ((await readiness()) as { status: unknown }).status === 'degraded');
    const continued = await service.ask({ ...known, phase: 0 });
    expect([continued.status, continued.body.degraded]).toEqual([200, true]);
    expect((await service.ask({ ...known, session_id: 'phone' })).status).toBe(503);

    await server.restart();
    await until(async () => (await service.ask({ ...known, session_id: 'phone' })).status === 201);
    const again = await service.ask({ ...known, phase: 0 });
    expect([again.status, again.body.degraded]).toEqual([201, undefined]); // this Redis stores nothing on disk
  });

  it('fails pending commands as soon as the connection is lost, even if it can reconnect at once', async () => {
    const valve = await ReplyValve.open(server.url);
    const link = connectPatiently(valve.url);
    try {
      await link.attempted();
      valve.loseHost();
      const asked = link.get('any');
      const started = performance.now();
      valve.cut();
      await expect(asked).rejects.toThrow('Redis did not answer');
      // The time-out of a command would be 15 s.
      expect(performance.now() - started).toBeLessThan(5_000);
    } finally {
      await link.close();
      await valve.close();
    }
  });

  it('answers 503 without a long wait if Redis hangs', async () => {
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

  it('starts without Redis, and reports that it is not ready', async () => {
    await server.kill();
    const service = await start({ REDIS_URL: server.url });
    const ready = await fetch(`${service.url}/health/ready`);
    expect([ready.status, (await ready.json()) as object]).toMatchObject([503, { code: 'not-ready' }]);
    await server.restart();
    await until(async () => (await fetch(`${service.url}/health/ready`)).ok);
  });

  it('works only with the right password', async () => {
    const locked = await startOwnRedis(['--requirepass', 'correct horse']);
    const wrong = await start({ REDIS_URL: locked.url, REDIS_PASSWORD: 'battery staple' });
    expect((await wrong.ask(body)).status).toBe(503);
    expect(wrong.output()).not.toContain('battery');
    const right = await start({ REDIS_URL: locked.url, REDIS_PASSWORD: 'correct horse' });
    expect((await right.ask(body)).status).toBe(201);
    await locked.stop();
  });

  it('logs the errors of Redis, and does not show them to clients', async () => {
    const full = await startOwnRedis(['--maxmemory', '1', '--maxmemory-policy', 'noeviction']);
    const service = await start({ REDIS_URL: full.url });
    const refused = await service.ask(body);
    expect([refused.status, refused.body.code]).toEqual([503, 'store-unavailable']);
    expect(JSON.stringify(refused.body)).not.toMatch(/OOM|maxmemory/);
    await until(() => service.output().includes('OOM'));
    await full.stop();
  });

  it('still lists, ends and expires sessions if Redis is full', async () => {
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

  it('renews every session of a full Redis in a storm of newcomers, and takes no more memory for it', async () => {
    const filling = await startOwnRedis(['--maxmemory-policy', 'noeviction']);
    // Every event waits for a receiver that is away.
    const service = await start({
      REDIS_URL: filling.url,
      CALLBACK_URL: `http://127.0.0.1:${await freePort()}`,
      CALLBACK_SECRET: `whsec_${Buffer.from('a secret of these tests').toString('base64')}`,
      CALLBACK_EVENTS: 'session.started,session.ended,session.expired,session.refused',
    });
    const admin = new Redis(filling.url);
    const usedBytes = async (): Promise<number> =>
      Number(/^used_memory:(\d+)/m.exec(await admin.info('memory'))![1]);
    const USERS = 40;
    const places = Array.from({ length: USERS }, (_, user) =>
      ['a', 'b', 'c'].map((session_id) => ({ ...body, user_id: `user-${user}`, session_id, phase: 0 })),
    ).flat();
    for (const place of places) expect((await service.ask(place)).status).toBe(201);
    await sleep(500); // until they are confirmed

    await admin.config('SET', 'maxmemory', '1mb');
    const over = new AbortController();
    let newcomers = 0;
    const storm = Array.from({ length: 12 }, async (_, at) => {
      for (let n = 0; !over.signal.aborted; n++) {
        const user_id = n % 2 === 0 ? `user-${n % USERS}` : `stranger-${at}-${n}`;
        const { status } = await service.ask({ ...body, user_id, session_id: `new-${at}-${n}` });
        expect(status).toBe(503);
        newcomers++;
      }
    });
    const renewals: Record<number, number> = {};
    const renewAll = async (): Promise<void> => {
      for (const place of places) {
        const { status } = await service.ask(place);
        renewals[status] = (renewals[status] ?? 0) + 1;
      }
    };
    await renewAll();
    const before = await usedBytes();
    for (let round = 0; round < 5; round++) await renewAll();
    const grown = (await usedBytes()) - before;
    over.abort();
    await Promise.all(storm);
    expect(renewals).toEqual({ 200: 6 * places.length });
    expect(newcomers).toBeGreaterThan(places.length);
    // The buffers of connections come and go.
    expect(grown).toBeLessThan(200_000);
    await admin.quit();
    await filling.stop();
  });

  it('logs once that Redis hangs, and once that it is back', async () => {
    const service = await start({ REDIS_URL: server.url, LOG_LEVEL: 'info' });
    server.pause();
    try {
      for (let n = 0; n < 2; n++) expect((await service.ask(body)).status).toBe(503);
      await until(() => service.output().includes('Redis is unavailable'));
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
