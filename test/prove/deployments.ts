import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { portOf, startRedisCluster } from '../support/redis-cluster.js';
import { type OwnRedisServer, startOwnRedis } from '../support/redis-server.js';
import { MASTER, startSentinels } from '../support/sentinels.js';
import { until } from '../support/until.js';
import { type Loss } from './history.js';

/** `failover`: a primary and its replica with three Sentinels. `cluster`: three primaries, each with a replica. */
export const DEPLOYMENTS = ['server', 'failover', 'cluster'] as const;
export type Deployment = (typeof DEPLOYMENTS)[number];

/** The Redis of a run. */
export interface ProvedRedis {
  /** How an instance of the service finds it. */
  readonly environment: Readonly<Record<string, string>>;
  /** Cuts all connections of clients. */
  cutConnections(): Promise<void>;
  /** How many primaries have a replica. */
  readonly pairs: number;
  /**
   * Separates a primary from its replica, kills it after `behindMs` more of writes, and waits until the replica is the
   * primary and the killed server follows it. Rejects if there was another failover since the last one.
   */
  losePrimary(pair: number, behindMs: number): Promise<Loss>;
  /** Rejects if there was a failover that `losePrimary` did not cause: the history does not know what it lost. */
  verify(): Promise<void>;
  stop(): Promise<void>;
}

const SENTINEL_PASSWORD = 'password-of-Sentinels';
/** A server on a busy machine may be silent for a second without being lost. */
const SILENCE_MS = 3_000;
/** How long a failover may take on a busy machine. */
const FAILOVER_MS = 120_000;

export async function startDeployment(deployment: Deployment): Promise<ProvedRedis> {
  switch (deployment) {
    case 'server':
      return startServer();
    case 'failover':
      return startPrimaryAndReplica();
    case 'cluster':
      return startCluster();
  }
}

interface Node {
  readonly server: OwnRedisServer;
  readonly admin: Redis;
}

function nodeOf(server: OwnRedisServer): Node {
  const admin = new Redis(server.url, { retryStrategy: () => 100, maxRetriesPerRequest: null });
  admin.on('error', () => undefined);
  return { server, admin };
}

async function startServer(): Promise<ProvedRedis> {
  const node = nodeOf(await startOwnRedis());
  return {
    environment: { REDIS_URL: node.server.url },
    cutConnections: async () => cutConnections([node]),
    pairs: 0,
    verify: async () => undefined,
    losePrimary: async () => Promise.reject(new Error('A single server has no replica')),
    stop: async () => {
      node.admin.disconnect();
      await node.server.stop();
    },
  };
}

async function startPrimaryAndReplica(): Promise<ProvedRedis> {
  const primary = nodeOf(await startOwnRedis(['--repl-diskless-sync-delay', '0']));
  const following = ['--repl-diskless-sync-delay', '0', '--replicaof', '127.0.0.1', portText(primary)];
  const replica = nodeOf(await startOwnRedis(following));
  await until(() => isFollowed(primary), FAILOVER_MS);
  const sentinels = await startSentinels(primary.server.url, SENTINEL_PASSWORD, SILENCE_MS);
  const pair = await Pair.of(primary, replica, async (former, current) => {
    // Sentinel would do this ten seconds later.
    await former.admin.replicaof('127.0.0.1', portText(current));
  });
  return {
    environment: {
      REDIS_URL: 'redis://unused',
      REDIS_SENTINELS: sentinels.addresses,
      REDIS_SENTINEL_MASTER: MASTER,
      REDIS_SENTINEL_PASSWORD: SENTINEL_PASSWORD,
    },
    cutConnections: async () => cutConnections([pair.primary]),
    pairs: 1,
    losePrimary: async (_, behindMs) => pair.losePrimary(behindMs),
    verify: async () => pair.verify(),
    stop: async () => {
      await sentinels.stop();
      for (const { admin } of [primary, replica]) admin.disconnect();
      await Promise.all([primary, replica].map(async ({ server }) => server.stop()));
    },
  };
}

async function startCluster(): Promise<ProvedRedis> {
  const cluster = await startRedisCluster(3, { replicas: true, silenceMs: SILENCE_MS });
  const nodes = cluster.nodes.map(nodeOf);
  const ranges = await nodes[0]!.admin.cluster('SLOTS');
  const pairs = await Promise.all(nodes.slice(0, 3).map(async (node, at) => Pair.of(node, nodes[at + 3]!)));
  const slots = pairs.map(({ primary: { server } }): readonly [number, number] => {
    const [from, to] = ranges.find(([, , holder]) => holder?.[1] === portOf(server))!;
    return [from, to];
  });
  return {
    environment: { REDIS_URL: cluster.url, REDIS_CLUSTER: 'true' },
    cutConnections: async () => cutConnections(pairs.map(({ primary }) => primary)),
    pairs: pairs.length,
    losePrimary: async (at, behindMs) => ({
      ...(await pairs[at]!.losePrimary(behindMs)),
      slots: slots[at]!,
    }),
    verify: async () => {
      await Promise.all(pairs.map(async (pair) => pair.verify()));
    },
    stop: async () => {
      for (const { admin } of nodes) admin.disconnect();
      await cluster.stop();
    },
  };
}

type Follow = (former: Node, current: Node) => Promise<void>;

/** A primary and its replica, which change their roles when the primary is killed. */
class Pair {
  private constructor(
    public primary: Node,
    private replica: Node,
    /** A server that becomes a primary gets another one. */
    private history: string,
    private readonly follow?: Follow,
  ) {}

  /** `follow` makes a killed server follow the new primary, where nobody else does. */
  static async of(primary: Node, replica: Node, follow?: Follow): Promise<Pair> {
    return new Pair(primary, replica, await historyOf(primary), follow);
  }

  async verify(): Promise<void> {
    const { server } = this.primary;
    if ((await historyOf(this.primary)) !== this.history)
      throw new Error(`there was another failover: ${server.url} is not the primary that it was`);
  }

  async losePrimary(behindMs: number): Promise<Loss> {
    await this.verify();
    const { primary: former, replica: current } = this;
    const kept = await this.replicatedAt();
    current.server.pause();
    await former.admin.call('CLIENT', 'KILL', 'TYPE', 'replica');
    await sleep(behindMs);
    const at = Date.now();
    await former.server.kill();
    const gone = Date.now();
    current.server.resume();
    let promoted = gone;
    await until(async () => {
      const asked = Date.now();
      if ((await current.admin.info('replication')).includes('role:master')) return true;
      promoted = asked;
      return false;
    }, FAILOVER_MS);
    [this.primary, this.replica] = [current, former];
    await former.server.restart();
    await this.follow?.(former, current);
    await until(() => isFollowed(current), FAILOVER_MS);
    this.history = await historyOf(current);
    return { kept, at, gone, promoted };
  }

  /** An instant before which everything that the primary wrote is on the replica. */
  private async replicatedAt(): Promise<number> {
    const at = Date.now();
    const offset = offsetOf('master_repl_offset', await this.primary.admin.info('replication'));
    await until(
      async () =>
        offsetOf('slave_repl_offset', await this.replica.admin.info('replication')) >= offset &&
        (await isFollowed(this.primary)),
      FAILOVER_MS,
    );
    return at;
  }
}

/** The id of the writes of a primary; '' for a replica. */
async function historyOf({ admin }: Node): Promise<string> {
  const info = await admin.info('replication');
  return info.includes('role:master') ? (/^master_replid:(\w+)/m.exec(info)?.[1] ?? '') : '';
}

function offsetOf(field: string, info: string): number {
  return Number(new RegExp(`^${field}:(\\d+)`, 'm').exec(info)?.[1] ?? NaN);
}

async function isFollowed({ admin }: Node): Promise<boolean> {
  const info = await admin.info('replication');
  return info.includes('role:master') && info.includes('state=online');
}

async function cutConnections(nodes: readonly Node[]): Promise<void> {
  await Promise.all(
    nodes.map(async ({ admin }) => admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')),
  );
}

function portText({ server }: Node): string {
  return String(portOf(server));
}
