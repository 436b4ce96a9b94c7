import keySlot from 'cluster-key-slot';
import { Redis } from 'ioredis';
import { Availability } from './availability.js';
import { type ConnectionOptions, FollowedServers, type Server, attempted, nameOf, quit } from './servers.js';

const SLOTS = 16_384;
/** How often the slots are read although nothing failed, because shards may have been added. */
const CALM_MS = 10_000;

/** Of CLUSTER SLOTS: the range, its primary, then its replicas. A missing host is that of the node that answered. */
type SlotRange = readonly [
  first: number,
  last: number,
  primary: readonly [host: string | null, port: number],
];

/**
 * The primaries of a Redis Cluster, with one connection to each, and the map from slots to primaries.
 *
 * It replaces the Cluster class of ioredis, for three reasons (docs/decisions/0016-cluster.md). First, a failure
 * concerns one node only: it has its own line in the log, and commands for other nodes do not wait for it. Second, a
 * command whose reply was lost is never sent again, because it may have run. Third, the store can use the map, for
 * example to read the time of the node that holds a key.
 */
export class ClusterServers extends FollowedServers {
  readonly sharded = true;
  private readonly servers = new Map<string, Server>();
  /** The server of each slot. The slot is the index. */
  private holders: readonly (Server | undefined)[] = [];

  /** `url` is the address of a node, or one that leads to any node. It is used only while no known node answers. */
  constructor(
    url: string,
    options: ConnectionOptions,
    private readonly availability: Availability,
  ) {
    super(url, options, CALM_MS);
    void this.refresh();
  }

  of(key: string): Server | undefined {
    return this.holders[keySlot(key)];
  }

  all(): readonly Server[] {
    return [...this.servers.values()];
  }

  protected async look(suspect: Server | undefined): Promise<void> {
    try {
      await this.apply(await this.slots(suspect));
      this.availability.works();
    } catch (error) {
      if (!this.closed)
        this.availability.lost((error as NodeJS.ErrnoException).code ?? (error as Error).message);
    }
  }

  /**
   * The first answer of the nodes that work. The suspect is asked last: if it is cut off from the others, it may still
   * claim slots that another node holds by now. If no node answers, the configured address leads to one.
   */
  private async slots(suspect: Server | undefined): Promise<Slots> {
    const working = this.all().filter(({ redis }) => redis.status === 'ready');
    for (const asked of [working.filter((server) => server !== suspect), working]) {
      const answer = await Promise.any(asked.map(({ redis }) => slotsOf(redis))).catch(() => undefined);
      if (answer) return answer;
    }
    const entrance = new Redis(this.url, { ...this.options.redis, retryStrategy: () => null });
    let failure: Error | undefined;
    entrance.on('error', (error) => (failure = error));
    await attempted(entrance);
    try {
      return await slotsOf(entrance);
    } catch (error) {
      throw failure ?? error;
    } finally {
      entrance.disconnect();
    }
  }

  /** Replaces the map. It connects to new nodes first, so that commands find a connection. */
  private async apply({ ranges, askedHost }: Slots): Promise<void> {
    if (ranges.length === 0) throw new Error('no node of the cluster holds any slot');
    const holders: (Server | undefined)[] = Array.from({ length: SLOTS }, () => undefined);
    const kept = new Map<string, Server>();
    const opened: Server[] = [];
    for (const [first, last, [host, port]] of ranges) {
      const name = nameOf(host || askedHost, port);
      let server = kept.get(name) ?? this.servers.get(name);
      if (server === undefined) opened.push((server = this.open(name, this.availabilityOf(name))));
      kept.set(name, server);
      holders.fill(server, first, last + 1);
    }
    await Promise.all(opened.map(({ redis }) => attempted(redis)));
    if (this.closed) {
      for (const { redis } of opened) redis.disconnect();
      return;
    }
    const left = this.all().filter(({ name }) => !kept.has(name));
    const moved = holders.some((server, slot) => server !== this.holders[slot]);
    this.holders = holders;
    for (const server of opened) this.servers.set(server.name, server);
    for (const server of left) {
      this.servers.delete(server.name);
      void quit(server);
    }
    if (moved) this.notifyMoved();
    if (opened.length > 0) this.notifyReady();
  }

  /** A node has lines of its own in the log. */
  private availabilityOf(name: string): Availability {
    const { log } = this.availability;
    const say = (level: 'log' | 'warn' | 'error') => (message: string) => {
      log[level](`Node ${name} of the cluster: ${message}`);
    };
    return new Availability({ log: say('log'), warn: say('warn'), error: say('error') });
  }
}

interface Slots {
  readonly ranges: readonly SlotRange[];
  readonly askedHost: string;
}

async function slotsOf(redis: Redis): Promise<Slots> {
  const ranges = (await redis.cluster('SLOTS')) as unknown as SlotRange[];
  return { ranges, askedHost: redis.options.host ?? '' };
}
