import { Clock } from '../../src/clock.js';
import { ALL_PARTITIONS, partitionKeys, partitionOf, userKeys } from '../../src/sessions/redis/keys.js';
import { Availability } from '../../src/sessions/redis/availability.js';
import { type RedisLink, connectRedis } from '../../src/sessions/redis/link.js';
import { type RedisStore } from '../../src/sessions/redis/redis-store.js';
import { StoreUnavailableError } from '../../src/sessions/session.repository.js';
import { CallbackReceiver } from '../support/callback-receiver.js';
import { type RedisCluster, moveSlot, portOf, startRedisCluster } from '../support/redis-cluster.js';
import { connectPatiently } from '../support/redis-database.js';
import { endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { POLICY, openRedisStore } from '../support/stores.js';
import { until } from '../support/until.js';
import { filmOf } from '../support/windows.js';

/** A real Redis Cluster: what one node that is away costs, a failover, and slots that move. */

const TEST_MS = 90_000;
const PASSWORD = 'correct horse';
const FILM = 'test-pattern';

const request = (userId: string, sessionId: string) => ({
  userId,
  sessionId,
  streamId: FILM,
  phase: undefined,
  window: filmOf(1_000),
  quota: POLICY.quota,
  endSessionIds: [],
});

/** Whether this session has a place now. */
async function begin({ sessions }: RedisStore, userId: string, sessionId: string): Promise<boolean> {
  const admission = await sessions.admit(request(userId, sessionId));
  if (admission.outcome === 'admitted') await sessions.confirm(admission.place);
  return admission.outcome === 'admitted';
}

async function failure(reply: Promise<unknown>): Promise<unknown> {
  return reply.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** So many users of each node, by the node's number. */
function usersOf({ nodes }: RedisCluster, link: RedisLink, each: number): readonly (readonly string[])[] {
  return nodes.slice(0, 3).map((node) =>
    Array.from({ length: 10_000 }, (_, n) => `user-${n}`)
      .filter((user) => link.holderOf(userKeys(user).records).endsWith(`:${portOf(node)}`))
      .slice(0, each),
  );
}

describe('three nodes without replicas, with a password', () => {
  let cluster: RedisCluster;
  let link: RedisLink;
  let store: RedisStore;
  let users: readonly (readonly string[])[];
  const environment = () => ({
    REDIS_URL: cluster.url,
    REDIS_PASSWORD: PASSWORD,
    REDIS_CLUSTER: 'true',
    LOG_LEVEL: 'info',
    PHASE_SECONDS: '1',
  });
  const open = (patienceMs: number): RedisLink =>
    connectRedis(
      { url: cluster.url, password: PASSWORD, isCluster: true },
      new Availability({ log: () => undefined, warn: () => undefined, error: () => undefined }),
      patienceMs,
    );
  beforeAll(async () => {
    cluster = await startRedisCluster(3, { password: PASSWORD });
    link = open(15_000);
    await link.attempted();
    store = openRedisStore(link, POLICY, new Clock());
    users = usersOf(cluster, link, 8);
  }, TEST_MS);
  afterEach(endServiceProcesses);
  afterAll(async () => {
    await link.close();
    await cluster.stop();
  });
  beforeEach(() => cluster.empty());

  it('finds scripts gone on every node, and brings them again', async () => {
    for (const [user] of users) expect(await begin(store, user!, 'a')).toBe(true);
    await Promise.all(cluster.admins.map(async (admin) => admin.script('FLUSH')));
    for (const [user] of users) expect(await begin(store, user!, 'b')).toBe(true);
  });

  it('tells watchers on the node that holds the user, and no other node hears of it', async () => {
    const seen: string[] = [];
    const [[ana], [ben]] = users as [[string], [string]];
    const stops = [];
    for (const user of [ana, ben])
      stops.push(
        await store.events.watch(user, undefined, ({ userId, type }) => seen.push(`${userId} ${type}`)),
      );
    await begin(store, ana, 'a');
    await store.sessions.end(ana, ['a'], 'user');
    await until(() => seen.length === 2);
    expect(seen).toEqual([`${ana} session.started`, `${ana} session.ended`]);
    const channels = await Promise.all(
      cluster.admins.map(async (admin) => admin.call('PUBSUB', 'SHARDCHANNELS') as Promise<string[]>),
    );
    expect(channels.map((own) => own.length)).toEqual([1, 1, 0]);
    // To all nodes would go what is published; to replicas of the shard, which has none here, what is sharded.
    for (const admin of cluster.admins)
      expect(await admin.cluster('INFO')).not.toMatch(/cluster_stats_messages_publish(shard)?_sent/);
    for (const { stop } of stops) stop();
  });

  it('asks each node for its own time, once in a sweep', async () => {
    const asked = async (): Promise<number[]> =>
      Promise.all(
        cluster.admins.map(async (admin) =>
          Number(/cmdstat_time:calls=(\d+)/.exec(await admin.info('commandstats'))?.[1] ?? 0),
        ),
      );
    let counts = [0];
    // A script asks as well. A sweep right after another one rests and runs none; on a busy machine the rest may be over.
    for (let tries = 0; tries < 20 && counts.some((count) => count !== 1); tries++) {
      await store.sessions.expireIdle({ maxSessions: 10, shared: true });
      const before = await asked();
      await store.sessions.expireIdle({ maxSessions: 10, shared: true });
      counts = (await asked()).map((count, at) => count - before[at]!);
    }
    expect(counts).toEqual([1, 1, 1]);
  });

  it(
    'moves slots while requests run: nothing is lost, refused or admitted twice',
    async () => {
      const [moving] = users as [readonly string[]];
      const slots = [...new Set(moving.map((user) => partitionOf(user) * 64))];
      let asked = 0;
      const stopping = new AbortController();
      const live = new Map<string, Set<string>>();
      const load = moving.map(async (user, n) => {
        const held = new Set<string>();
        live.set(user, held);
        for (let at = 0; !stopping.signal.aborted || at < 20; at++) {
          const sessionId = `s${at % 5}`;
          if (await begin(store, user, sessionId)) held.add(sessionId);
          if (at % 7 === n % 7) {
            const [gone] = held;
            await store.sessions.end(user, [gone!], 'user');
            held.delete(gone!);
            // One that was ended is refused by its name.
            await store.sessions.expireIdle({ maxSessions: 1 });
          }
          asked++;
        }
      });
      const seen: string[] = [];
      const { stop } = await store.events.watch(moving[0]!, undefined, ({ id }) => seen.push(id));
      await until(() => asked > 20);
      for (const slot of slots) await moveSlot(cluster, slot, 0, 1);
      const during = asked;
      await until(() => asked > during + 50);
      stopping.abort();
      await Promise.all(load);
      for (const [user, held] of live) {
        const { sessions } = await store.sessions.list(user);
        expect(new Set(sessions.map(({ sessionId }) => sessionId))).toEqual(held);
        expect(held.size).toBeLessThanOrEqual(POLICY.quota.maxSessions);
      }
      const { admitted, ended, expired, undone } = await store.sessions.ledger();
      expect(admitted - ended - expired - undone).toBe(
        [...live.values()].flatMap((held) => [...held]).length,
      );
      expect(link.holderOf(userKeys(moving[0]!).records)).toMatch(
        new RegExp(`:${portOf(cluster.nodes[1]!)}$`),
      );
      // Watchers hear from the new node.
      const heard = seen.length;
      await store.sessions.end(moving[0]!, 'all', 'user');
      await until(() => seen.length > heard);
      expect(seen).toEqual([...new Set(seen)].toSorted());
      stop();
      for (const slot of slots) await moveSlot(cluster, slot, 1, 0);
    },
    TEST_MS,
  );

  it(
    'shares one limit among instances, and delivers each event once by name',
    async () => {
      const receiver = new CallbackReceiver();
      await receiver.start();
      const instances = await Promise.all(
        [0, 1].map(async () =>
          startServiceProcess({
            ...environment(),
            CALLBACK_URLS: JSON.stringify([
              { name: 'starts', url: receiver.url, events: ['session.started'] },
              { name: 'expiries', url: receiver.url, events: ['session.expired'] },
            ]),
          }),
        ),
      );
      const racing = users.flatMap((own) => own.slice(0, 4));
      const statuses = await Promise.all(
        racing.map(async (user) =>
          Promise.all(
            Array.from({ length: 10 }, async (_, n) =>
              instances[n % 2]!.ask({ user_id: user, stream_id: FILM, session_id: `s${n}` }),
            ),
          ).then((replies) => replies.map(({ status }) => status).toSorted()),
        ),
      );
      expect(statuses).toEqual(racing.map(() => [201, 201, 201, ...Array.from({ length: 7 }, () => 409)]));
      const told = (type: string): Set<string> =>
        new Set(receiver.deliveries.filter(({ event }) => event.type === type).map(({ id }) => id));
      await until(() => told('session.expired').size === 3 * racing.length, 40_000);
      expect(told('session.started').size).toBe(3 * racing.length);
      expect(await store.sessions.ledger()).toMatchObject({
        admitted: 3 * racing.length,
        expired: 3 * racing.length,
      });
      await receiver.stop();
    },
    TEST_MS,
  );

  it(
    'loses a node: its users are refused at once, all others go on, and so do sweeps, metrics and pauses',
    async () => {
      const service = await startServiceProcess(environment());
      const ask = async (user: string) => service.ask({ user_id: user, stream_id: FILM, session_id: 'tv' });
      for (const [user] of users) expect((await ask(user!)).status).toBe(201);
      const ready = async (): Promise<[number, unknown]> => {
        const reply = await fetch(`${service.url}/health/ready`);
        return [reply.status, ((await reply.json()) as { status: unknown }).status];
      };
      const metric = async (name: string): Promise<number> =>
        Number(
          new RegExp(`^${name} (.*)$`, 'm').exec(await (await fetch(`${service.url}/metrics`)).text())?.[1],
        );
      const expiry = async (verb: string) =>
        (await fetch(`${service.url}/internal/${verb}`, { method: 'POST' })).json() as Promise<object>;
      expect(await ready()).toEqual([200, 'ok']);
      const admitted = await metric('streamgate_sessions_admitted_total');
      expect(admitted).toBe(3);

      await cluster.nodes[1]!.kill();
      await until(async () => (await ready())[1] === 'degraded');
      expect((await ready())[0]).toBe(200);
      const [others, lost] = [[...users[0]!, ...users[2]!], users[1]!];
      // On a busy machine a command may reach its time-out, which is no fault of the lost node.
      for (const user of others) await until(async () => (await ask(user)).status < 300);
      const started = performance.now();
      for (const user of lost) expect((await ask(user)).status).toBe(503);
      // At once: nobody waits for a connection that is known to be lost.
      expect((performance.now() - started) / lost.length).toBeLessThan(500);
      expect(await metric('streamgate_store_up')).toBe(1);
      expect(await metric('streamgate_store_nodes_away')).toBe(1);
      expect(await metric('streamgate_sessions_admitted_total')).toBe(admitted + others.length - 2);

      expect(await expiry('expiry/pause')).toMatchObject({ paused: true, partial: true });
      expect(await expiry('expiry/resume')).toMatchObject({ paused: false, partial: true });
      await until(async () => (await metric('streamgate_sessions_expired_total')) === others.length);

      await cluster.nodes[1]!.restart();
      await until(async () => (await ready())[1] === 'ok');
      for (const user of lost) await until(async () => (await ask(user)).status === 201);
      const said = (): string[] =>
        service
          .output()
          .split('\n')
          .filter((line) => line.includes('of the cluster: Redis is'))
          .map((line) => (JSON.parse(line) as { msg: string }).msg);
      const node = `Node 127.0.0.1:${portOf(cluster.nodes[1]!)} of the cluster: Redis is`;
      // A node is back when it has worked for some seconds.
      await until(() => said().includes(`${node} back`));
      // While a node starts, it may say for a moment that the cluster is down: a further reason of the same outage.
      const lines = said().filter((line) => !line.startsWith(`${node} still unavailable (CLUSTERDOWN)`));
      expect(lines).toEqual([expect.stringContaining(`${node} unavailable`), `${node} back`]);
    },
    TEST_MS,
  );
});

describe('three nodes with a replica each', () => {
  let cluster: RedisCluster;
  let link: RedisLink;
  let store: RedisStore;
  beforeAll(async () => {
    cluster = await startRedisCluster(3, { replicas: true });
    link = connectPatiently(cluster.url, { isCluster: true });
    await link.attempted();
    store = openRedisStore(link, POLICY, new Clock());
  }, TEST_MS);
  afterAll(async () => {
    await link.close();
    await cluster.stop();
  });

  it(
    'loses no place to a replica that is away: with ADMIT_DURABILITY=replicated its node admits no new session',
    async () => {
      const durable = connectPatiently(cluster.url, { isCluster: true, awaitsReplica: true });
      const { sessions } = openRedisStore(durable, POLICY, new Clock());
      try {
        await durable.attempted();
        const [[first], [second]] = usersOf(cluster, durable, 5).map((users) => users.slice(4)) as [
          [string],
          [string],
        ];
        cluster.nodes[3]!.pause();
        expect((await sessions.admit(request(second, 'a'))).outcome).toBe('admitted');
        await expect(sessions.admit(request(first, 'a'))).rejects.toThrow('NOTREPLICATED');
        expect((await sessions.list(first)).sessions).toEqual([]);
        cluster.nodes[3]!.resume();
        expect((await sessions.admit(request(first, 'a'))).outcome).toBe('admitted');
      } finally {
        cluster.nodes[3]!.resume();
        await durable.close();
      }
    },
    TEST_MS,
  );

  it(
    'goes on with the replica of a primary that died, holds the limit, and tells watchers',
    async () => {
      const users = usersOf(cluster, link, 4);
      for (const user of users.flat()) for (const id of ['a', 'b', 'c']) await begin(store, user, id);
      const [ana] = users[0]!;
      const seen: string[] = [];
      const { stop } = await store.events.watch(ana!, undefined, ({ type }) => seen.push(type));
      await Promise.all(cluster.admins.slice(0, 3).map(async (admin) => admin.wait(1, 5_000)));

      await cluster.nodes[0]!.kill();
      for (const user of [...users[1]!, ...users[2]!]) expect(await begin(store, user, 'a')).toBe(true);
      expect(await failure(store.sessions.list(ana!))).toBeInstanceOf(StoreUnavailableError);
      await until(async () => (await failure(store.sessions.list(ana!))) === undefined, 30_000);
      for (const user of users.flat()) {
        expect(await begin(store, user, 'd')).toBe(false);
        expect(await begin(store, user, 'a')).toBe(true);
      }
      await store.sessions.end(ana!, ['b'], 'user');
      await until(() => seen.includes('session.ended'));
      stop();
      const holders = new Set(ALL_PARTITIONS.map((at) => link.holderOf(partitionKeys(at).state)));
      expect(holders).toContain(`127.0.0.1:${portOf(cluster.nodes[3]!)}`);
      expect(link.serversAway()).toBe(0);
    },
    TEST_MS,
  );
});
