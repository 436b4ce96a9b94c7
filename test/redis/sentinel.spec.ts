import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { Clock } from '../../src/clock.js';
import { Availability } from '../../src/sessions/redis/availability.js';
import { userKeys } from '../../src/sessions/redis/keys.js';
import { connectRedis } from '../../src/sessions/redis/link.js';
import { type RedisStore } from '../../src/sessions/redis/redis-store.js';
import { type OwnRedisServer, freePort, startOwnRedis, startOwnSentinel } from '../support/redis-server.js';
import { MASTER, startSentinels } from '../support/sentinels.js';
import { endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { POLICY, openRedisStore } from '../support/stores.js';
import { until } from '../support/until.js';
import { filmOf } from '../support/windows.js';

/** Three real Sentinels, a primary and a replica: the service follows the primary. */

const PASSWORD = 'password-of-Sentinels';
const USER = 'ana';

/** Runs after each test, the latest first. */
const atEnd: (() => unknown)[] = [];
afterEach(async () => {
  await endServiceProcesses();
  for (const end of atEnd.splice(0).toReversed()) await end();
});

interface Node {
  readonly server: OwnRedisServer;
  readonly admin: Redis;
  readonly name: string;
}

async function startNode(options: readonly string[] = []): Promise<Node> {
  const server = await startOwnRedis(['--repl-diskless-sync-delay', '0', ...options]);
  atEnd.push(() => server.stop());
  const admin = new Redis(server.url, { retryStrategy: () => 200 });
  admin.on('error', () => undefined);
  atEnd.push(() => admin.disconnect());
  return { server, admin, name: new URL(server.url).host };
}

async function startGroup() {
  const primary = await startNode();
  const replica = await startNode(['--replicaof', '127.0.0.1', new URL(primary.server.url).port]);
  await until(async () => (await primary.admin.info('replication')).includes('state=online'));
  const sentinels = await startSentinels(primary.server.url, PASSWORD);
  atEnd.push(() => sentinels.stop());
  return { primary, replica, sentinels };
}

/** A store that finds its primary by these Sentinels, its server, and the lines of its log. */
async function open(addresses: string, { password = PASSWORD, patienceMs = 0 } = {}) {
  const lines: string[] = [];
  const log = (line: string) => lines.push(line);
  const link = connectRedis(
    { url: 'redis://unused', sentinels: { addresses: addresses.split(','), master: MASTER, password } },
    new Availability({ log, warn: log, error: log }, patienceMs, 100),
    5_000,
  );
  atEnd.push(() => link.close());
  await link.attempted();
  const store = openRedisStore(link, { ...POLICY, expireAfterMs: 600_000, leaseMs: 600_000 }, new Clock());
  return { ...store, primary: () => link.holderOf('any'), lines };
}

async function begin({ sessions }: RedisStore, sessionId: string, userId = USER): Promise<boolean> {
  const window = filmOf(1_000);
  const request = { userId, sessionId, streamId: 'film', phase: undefined, window };
  try {
    const admission = await sessions.admit({ ...request, quota: POLICY.quota, endSessionIds: [] });
    if (admission.outcome === 'admitted') await sessions.confirm(admission.place);
    return admission.outcome === 'admitted';
  } catch {
    return false;
  }
}

/** Answers what the service asks Sentinels, as the test says. */
class FakeSentinel {
  held = 0;
  private waiting: Promise<void> | undefined;
  private release: () => void = () => undefined;
  private readonly sockets = new Set<Socket>();
  private readonly listeners = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private primary: { readonly epoch: number; readonly port: number },
  ) {
    server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('data', (data) => void this.answer(socket, data.toString()));
    });
  }

  static async start(primary: FakeSentinel['primary']): Promise<FakeSentinel> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FakeSentinel(server, primary);
  }

  get address(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  hold(): void {
    ({ promise: this.waiting, resolve: this.release } = Promise.withResolvers<void>());
  }

  letGo(): void {
    this.release();
  }

  tell(primary: FakeSentinel['primary']): void {
    this.primary = primary;
    for (const socket of this.listeners) socket.write(listOf('message', '+switch-master', ''));
  }

  stop(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }

  private async answer(socket: Socket, commands: string): Promise<void> {
    const { primary } = this;
    const replies = [
      ...commands.matchAll(/\r\n(AUTH|CLIENT|SUBSCRIBE|GET-MASTER-ADDR-BY-NAME|MASTER)\r\n/gi),
    ].map(([, command]) => {
      switch (command!.toUpperCase()) {
        case 'SUBSCRIBE':
          this.listeners.add(socket);
          return `*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n`;
        case 'GET-MASTER-ADDR-BY-NAME':
          return listOf('127.0.0.1', String(primary.port));
        case 'MASTER':
          return listOf('config-epoch', String(primary.epoch));
        default:
          return '+OK\r\n';
      }
    });
    if (this.waiting && commands.includes(MASTER)) {
      this.held++;
      await this.waiting;
    }
    socket.write(replies.join(''));
  }
}

function listOf(...texts: string[]): string {
  return `*${texts.length}\r\n${texts.map((text) => `$${text.length}\r\n${text}\r\n`).join('')}`;
}

const holds = async ({ admin }: Node): Promise<string> =>
  (await admin.hgetBuffer(userKeys(USER).records, USER))?.toString('latin1') ?? '';

describe('a failover', () => {
  it('that an operator starts is followed at once: nothing is written to the former primary any more', async () => {
    const { primary, replica, sentinels } = await startGroup();
    const store = await open(sentinels.addresses);
    expect([store.primary(), await begin(store, 'before')]).toEqual([primary.name, true]);
    const seen: string[] = [];
    await store.events.watch(USER, undefined, ({ sessionId }) => seen.push(sessionId));
    await until(async () => (await holds(replica)).includes('before'));

    await sentinels.admins[0]!.call('SENTINEL', 'FAILOVER', MASTER);
    await until(() => store.primary() === replica.name);
    await until(() => begin(store, 'after'));
    expect([(await holds(replica)).includes('after'), (await holds(primary)).includes('after')]).toEqual([
      true,
      false,
    ]);
    expect((await store.sessions.list(USER)).sessions.map(({ sessionId }) => sessionId)).toEqual([
      'before',
      'after',
    ]);
    await until(() => seen.includes('after'));
    await until(async () =>
      ((await replica.admin.call('PUBSUB', 'CHANNELS')) as string[]).includes(`sg:u:${USER}`),
    );
    // Meanwhile the former primary does not know that it is none. Sentinel tells it ten seconds later.
    expect(await primary.admin.info('replication')).toContain('role:master');
    expect(store.lines).toContain(`Redis has a new primary: ${replica.name}, after ${primary.name}`);
  });

  it('that an operator starts is followed when it is announced: then nothing is refused or lost any more', async () => {
    const { replica, sentinels } = await startGroup();
    const store = await open(sentinels.addresses);
    const asked: { readonly userId: string; readonly at: number; readonly admitted: boolean }[] = [];
    const over = new AbortController();
    const load = (async () => {
      while (!over.signal.aborted) {
        const userId = `user-${asked.length}`;
        asked.push({ userId, at: performance.now(), admitted: await begin(store, 'tv', userId) });
        await sleep(5);
      }
    })();
    await until(() => asked.length > 20);
    const [asks, listens] = sentinels.admins;
    const announced = new Promise<number>((resolve) =>
      listens!.once('message', () => resolve(performance.now())),
    );
    await listens!.subscribe('+switch-master');
    const commandedAt = performance.now();
    await asks!.call('SENTINEL', 'FAILOVER', MASTER);
    const announcedAt = await announced;
    await until(() => asked.at(-1)!.admitted && asked.at(-1)!.at > announcedAt + 6_000);
    over.abort();
    await load;

    const refused = asked.filter(({ admitted }) => !admitted);
    expect(asked.some(({ at }) => at > commandedAt && at < announcedAt)).toBe(true);
    // The connections to the new primary take a moment, and seconds on a busy machine.
    expect(refused.every(({ at }) => at > commandedAt && at < announcedAt + 5_000)).toBe(true);
    const lost = [];
    for (const one of asked.filter(({ admitted }) => admitted))
      if ((await store.sessions.list(one.userId)).sessions.length === 0) lost.push(one.at);
    // A moment later, because the message may reach the test before it reaches the store.
    expect(lost.every((at) => at > commandedAt && at < announcedAt + 1_500)).toBe(true);
    expect(store.primary()).toBe(replica.name);
  });

  it('because the primary was killed is followed, and the former primary is left alone when it is back', async () => {
    const { primary, replica, sentinels } = await startGroup();
    const store = await open(sentinels.addresses);
    expect(await begin(store, 'before')).toBe(true);
    const seen: string[] = [];
    await store.events.watch(USER, undefined, ({ sessionId }) => seen.push(sessionId));
    await until(async () => (await holds(replica)).includes('before'));

    await primary.server.kill();
    await until(() => begin(store, 'after'));
    expect(store.primary()).toBe(replica.name);
    await until(() => seen.includes('after'));
    await primary.server.restart();
    await until(async () => (await primary.admin.info('replication').catch(() => '')).includes('role:slave'));
    expect([await begin(store, 'later'), store.primary()]).toEqual([true, replica.name]);

    // A Sentinel that was cut off names the former primary, with an older epoch.
    await primary.server.kill();
    const stale = await startOwnSentinel([
      `sentinel monitor ${MASTER} ${primary.name.replace(':', ' ')} 2`,
      `requirepass ${PASSWORD}`,
    ]);
    atEnd.push(() => stale.stop());
    const addresses = sentinels.addresses.split(',');
    for (let n = 0; n < 6; n++) {
      const stales =
        n % 2 === 0 ? [...addresses, new URL(stale.url).host] : [new URL(stale.url).host, ...addresses];
      expect((await open(stales.join(','))).primary()).toBe(replica.name);
    }
  });
});

describe('the log', () => {
  it('says each of two outages once, and its end once, under load', async () => {
    const { primary, replica, sentinels } = await startGroup();
    const service = await startServiceProcess({
      REDIS_URL: 'redis://unused',
      REDIS_SENTINELS: sentinels.addresses,
      REDIS_SENTINEL_MASTER: MASTER,
      REDIS_SENTINEL_PASSWORD: PASSWORD,
    });
    let admitted = 0;
    const over = new AbortController();
    const load = Array.from({ length: 8 }, async (_, viewer) => {
      for (let n = 0; !over.signal.aborted; n++) {
        const { status } = await service.ask({ user_id: `${viewer}-${n}`, stream_id: 'test-pattern' });
        if (status === 201) admitted++;
        await sleep(20);
      }
    });
    const lines = (): string[] =>
      [...service.output().matchAll(/"msg":"Redis (is unavailable|is back|has a new primary: [\d.:]+)/g)].map(
        ([, line]) => line!,
      );
    await until(() => admitted > 50);
    for (const [gone, next] of [
      [primary, replica],
      [replica, primary],
    ] as const) {
      const before = lines();
      await gone.server.kill();
      await until(() => lines().length === before.length + 3);
      await gone.server.restart();
      await until(async () => (await gone.admin.info('replication').catch(() => '')).includes('status:up'));
      // An outage ends after three seconds without a failure.
      await sleep(4_000);
      expect(lines().slice(before.length)).toEqual([
        'is unavailable',
        `has a new primary: ${next.name}`,
        'is back',
      ]);
    }
    over.abort();
    await Promise.all(load);
  }, 180_000);

  it('has nothing of requests that the former primary never answers', async () => {
    const { primary, replica, sentinels } = await startGroup();
    const store = await open(sentinels.addresses, { patienceMs: 60_000 });
    expect(await begin(store, 'before')).toBe(true);
    primary.server.pause();
    atEnd.push(() => primary.server.resume());
    const unanswered = begin(store, 'unanswered');
    await until(() => store.primary() === replica.name);
    await until(() => begin(store, 'after'));
    const lines = [...store.lines];
    expect([await unanswered, await begin(store, 'later')]).toEqual([false, true]);
    expect(store.lines).toEqual(lines);
  });
});

describe('the Sentinels', () => {
  it('may be away while the primary is not, one by one or all', async () => {
    const { sentinels, primary } = await startGroup();
    await sentinels.servers[0]!.kill();
    const store = await open(sentinels.addresses);
    expect([await begin(store, 'a'), store.primary()]).toEqual([true, primary.name]);
    await Promise.all(sentinels.servers.map((server) => server.kill()));
    await primary.admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await until(() => begin(store, 'b'));
  });

  it('may be set up anew for another primary, and then count failovers from 0', async () => {
    const { replica, sentinels } = await startGroup();
    const store = await open(sentinels.addresses);
    await sentinels.admins[0]!.call('SENTINEL', 'FAILOVER', MASTER);
    await until(() => store.primary() === replica.name);
    const other = await startNode();
    const [host, port] = other.name.split(':');
    for (const admin of sentinels.admins) {
      await admin.call('SENTINEL', 'REMOVE', MASTER);
      await admin.call('SENTINEL', 'MONITOR', MASTER, host!, port!, 2);
    }
    await replica.server.kill();
    await until(() => store.primary() === other.name, 60_000);
    await until(() => begin(store, 'moved'));
    expect(await holds(other)).toContain('moved');
  }, 120_000);

  it('are not taken for new ones if one of them answers late, after a failover that another one has told', async () => {
    const [former, next] = [
      { epoch: 1, port: await freePort() },
      { epoch: 2, port: await freePort() },
    ];
    const fakes = await Promise.all(Array.from({ length: 3 }, () => FakeSentinel.start(former)));
    for (const fake of fakes) atEnd.push(() => fake.stop());
    const store = await open(fakes.map(({ address }) => address).join(','));
    expect(store.primary()).toBe(`127.0.0.1:${former.port}`);
    const [told, late] = fakes as [FakeSentinel, FakeSentinel];
    late.hold();
    // The primary does not answer, so that the Sentinels are asked.
    await begin(store, 'a');
    await until(() => late.held > 0);
    told.tell(next);
    await until(() => store.primary() === `127.0.0.1:${next.port}`);
    late.letGo();
    await sleep(100);
    expect(store.primary()).toBe(`127.0.0.1:${next.port}`);
  });

  it('that want another password, or do not know the name, are named in the log with the reason', async () => {
    const { sentinels } = await startGroup();
    const { lines } = await open(sentinels.addresses, { password: 'a-wrong-password' });
    await until(() => lines.length > 0);
    expect(lines[0]).toMatch(/^Redis is unavailable \(Sentinel 127\.0\.0\.1:\d+: (WRONGPASS|NOAUTH) /);
    expect(lines.join()).not.toMatch(/password-of|a-wrong/);
  });

  it('are all that a service needs to find its Redis', async () => {
    const { sentinels } = await startGroup();
    const service = await startServiceProcess({
      REDIS_URL: 'redis://unused',
      REDIS_SENTINELS: sentinels.addresses,
      REDIS_SENTINEL_MASTER: MASTER,
      REDIS_SENTINEL_PASSWORD: PASSWORD,
    });
    expect((await service.ask({ user_id: USER, stream_id: 'test-pattern' })).status).toBe(201);
    expect((await fetch(`${service.url}/health/ready`)).status).toBe(200);
  });
});
