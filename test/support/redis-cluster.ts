import { Cluster, Redis } from 'ioredis';
import { type OwnRedisServer, startOwnRedis } from './redis-server.js';
import { until } from './until.js';

const SLOTS = 16_384;
/** How long a node is silent until the others call it failed. A replica takes over within about twice that. */
const NODE_TIMEOUT_MS = 1_000;

export interface RedisCluster {
  /** The address of the first primary. */
  readonly url: string;
  /** The primaries, in the order of their slots, then their replicas in the same order. */
  readonly nodes: readonly OwnRedisServer[];
  /** A connection of its own to each of the nodes. */
  readonly admins: readonly Redis[];
  /** A client that is not ours. */
  readonly client: Cluster;
  /** Empties all nodes. */
  empty(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a cluster that only one test uses: so many primaries, with as many replicas if asked for. */
export async function startRedisCluster(
  primaries = 3,
  { replicas = false, options = [] as readonly string[] } = {},
): Promise<RedisCluster> {
  const nodes = await Promise.all(
    Array.from({ length: replicas ? 2 * primaries : primaries }, async () =>
      startOwnRedis([
        ...['--cluster-enabled', 'yes', '--cluster-node-timeout', String(NODE_TIMEOUT_MS)],
        // A node that is away costs its own slots only.
        ...['--cluster-require-full-coverage', 'no', '--repl-ping-replica-period', '1'],
        ...['--repl-diskless-sync-delay', '0', ...options],
      ]),
    ),
  );
  const admins = nodes.map(({ url }) => new Redis(url, { retryStrategy: () => 200 }));
  for (const admin of admins) admin.on('error', () => undefined);
  const [first] = nodes;
  const share = (at: number): number => Math.round((at * SLOTS) / primaries);
  await Promise.all(
    admins.slice(0, primaries).map(async (admin, at) => {
      await admin.call('CLUSTER', 'SET-CONFIG-EPOCH', at + 1);
      await admin.call('CLUSTER', 'ADDSLOTSRANGE', share(at), share(at + 1) - 1);
    }),
  );
  await Promise.all(
    admins.slice(1).map(async (admin) => admin.cluster('MEET', '127.0.0.1', portOf(first!))),
  );
  const knowsAll = async (admin: Redis): Promise<boolean> =>
    String(await admin.cluster('INFO')).includes(`cluster_known_nodes:${nodes.length}`);
  await until(async () => (await Promise.all(admins.map(knowsAll))).every(Boolean), 20_000);
  await Promise.all(
    admins.slice(primaries).map(async (admin, at) => {
      await admin.call('CLUSTER', 'REPLICATE', String(await admins[at]!.call('CLUSTER', 'MYID')));
    }),
  );
  const isReady = async (admin: Redis): Promise<boolean> =>
    String(await admin.cluster('INFO')).includes('cluster_state:ok') &&
    !String(await admin.info('replication')).includes('master_link_status:down');
  await until(async () => (await Promise.all(admins.map(isReady))).every(Boolean), 20_000);
  const client = new Cluster([first!.url]);
  client.on('error', () => undefined);
  return {
    url: first!.url,
    nodes,
    admins,
    client,
    async empty() {
      await Promise.all(admins.slice(0, primaries).map(async (admin) => admin.flushall()));
    },
    async stop() {
      client.disconnect();
      for (const admin of admins) admin.disconnect();
      await Promise.all(nodes.map(async (node) => node.stop()));
    },
  };
}

export function portOf({ url }: Pick<OwnRedisServer, 'url'>): number {
  return Number(new URL(url).port);
}
