import { Redis } from 'ioredis';
import { type OwnRedisServer, freePort, startOwnRedis } from './redis-server.js';
import { until } from './until.js';

const SLOTS = 16_384;
/**
 * How long a node is silent until the others call it failed, if no test says otherwise. A replica takes over within about
 * twice that.
 */
const NODE_TIMEOUT_MS = 1_000;

export interface RedisCluster {
  /** The address of the first primary. */
  readonly url: string;
  /** The primaries, in the order of their slots, then their replicas in the same order. */
  readonly nodes: readonly OwnRedisServer[];
  /** A connection of its own to each of the nodes. */
  readonly admins: readonly Redis[];
  /** Empty if it has none. */
  readonly password: string;
  /** Empties all nodes. */
  empty(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts a cluster that only one test uses: so many primaries, with as many replicas if asked for. `options` are options
 * of redis-server, by the number of the node.
 */
export async function startRedisCluster(
  primaries = 3,
  {
    replicas = false,
    password = '',
    silenceMs = NODE_TIMEOUT_MS,
    options = () => [],
  }: {
    replicas?: boolean;
    password?: string;
    silenceMs?: number;
    options?: (node: number) => readonly string[];
  } = {},
): Promise<RedisCluster> {
  const nodes = await Promise.all(
    Array.from({ length: replicas ? 2 * primaries : primaries }, async (_, node) =>
      startOwnRedis([
        '--cluster-enabled',
        'yes',
        // By default it is the port of clients plus 10,000, which can be more than the greatest port.
        '--cluster-port',
        String(await freePort()),
        '--cluster-node-timeout',
        String(silenceMs),
        // A node that is away costs its own slots only.
        '--cluster-require-full-coverage',
        'no',
        '--repl-ping-replica-period',
        '1',
        '--repl-diskless-sync-delay',
        '0',
        ...(password === '' ? [] : ['--requirepass', password, '--masterauth', password]),
        ...options(node),
      ]),
    ),
  );
  const admins = nodes.map(({ url }) => new Redis(url, { password, retryStrategy: () => 200 }));
  for (const admin of admins) admin.on('error', () => undefined);
  const [first] = nodes;
  const share = (at: number): number => Math.round((at * SLOTS) / primaries);
  await Promise.all(
    admins.slice(0, primaries).map(async (admin, at) => {
      await admin.call('CLUSTER', 'SET-CONFIG-EPOCH', at + 1);
      await admin.call('CLUSTER', 'ADDSLOTSRANGE', share(at), share(at + 1) - 1);
    }),
  );
  const setting = async (name: string): Promise<string> => String((await admins[0]!.config('GET', name))[1]);
  const port = (await setting('tls-cluster')) === 'yes' ? await setting('tls-port') : portOf(first!);
  const address = ['127.0.0.1', port, await setting('cluster-port')];
  await Promise.all(admins.slice(1).map(async (admin) => admin.call('CLUSTER', 'MEET', ...address)));
  const knowsAll = async (admin: Redis): Promise<boolean> =>
    (await admin.cluster('INFO')).includes(`cluster_known_nodes:${nodes.length}`);
  await until(async () => (await Promise.all(admins.map(knowsAll))).every(Boolean), 20_000);
  await Promise.all(
    admins.slice(primaries).map(async (admin, at) => {
      await admin.call('CLUSTER', 'REPLICATE', String(await admins[at]!.call('CLUSTER', 'MYID')));
    }),
  );
  const isReady = async (admin: Redis): Promise<boolean> =>
    (await admin.cluster('INFO')).includes('cluster_state:ok') &&
    !(await admin.info('replication')).includes('master_link_status:down');
  await until(async () => (await Promise.all(admins.map(isReady))).every(Boolean), 20_000);
  return {
    url: first!.url,
    nodes,
    admins,
    password,
    async empty() {
      await Promise.all(admins.slice(0, primaries).map(async (admin) => admin.flushall()));
    },
    async stop() {
      for (const admin of admins) admin.disconnect();
      await Promise.all(nodes.map(async (node) => node.stop()));
    },
  };
}

/** Moves a slot from one node to another, key by key, as an operator's resharding does. */
export async function moveSlot(
  { admins, nodes, password }: RedisCluster,
  slot: number,
  from: number,
  to: number,
): Promise<void> {
  const [source, receiver] = [admins[from]!, admins[to]!];
  const [sourceId, targetId] = await Promise.all(
    [source, receiver].map(async (admin) => String(await admin.call('CLUSTER', 'MYID'))),
  );
  await receiver.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', sourceId!);
  await source.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', targetId!);
  for (;;) {
    const keys = (await source.call('CLUSTER', 'GETKEYSINSLOT', slot, 2)) as string[];
    if (keys.length === 0) break;
    const auth = password === '' ? [] : ['AUTH', password];
    const target = ['127.0.0.1', portOf(nodes[to]!)];
    await source.call('MIGRATE', ...target, '', 0, 5_000, ...auth, 'KEYS', ...keys);
  }
  for (const admin of [receiver, source, ...admins])
    await admin.call('CLUSTER', 'SETSLOT', slot, 'NODE', targetId!);
}

export function portOf({ url }: Pick<OwnRedisServer, 'url'>): number {
  return Number(new URL(url).port);
}
