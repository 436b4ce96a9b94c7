import { Redis, type RedisOptions } from 'ioredis';
import { type Availability } from './availability.js';
import { ReplicaWait } from './replica-wait.js';

/** A Redis server, the connection to it, and the log of its outages and faults. */
export interface Server {
  /** Its host and port in a cluster; empty if there is only one server. */
  readonly name: string;
  readonly redis: Redis;
  readonly availability: Availability;
  /** Undefined unless new sessions wait for a replica. */
  readonly replicas: ReplicaWait | undefined;
}

/** How connections are opened. */
export interface ConnectionOptions {
  readonly redis: RedisOptions;
  /** How long a new session may wait for a replica, in milliseconds; undefined if it does not wait for one. */
  readonly replicaPatienceMs: number | undefined;
}

/** The servers that together hold all keys: one server, or the primaries of a cluster. */
export interface Servers {
  /** True for the nodes of a cluster, where a message reaches only the subscribers of one node. */
  readonly sharded: boolean;
  /** The server that holds a key; undefined while it is unknown. */
  of(key: string): Server | undefined;
  all(): readonly Server[];
  /** Reads the slots of all nodes again, because `suspect` failed or does not hold a key. Never rejects. */
  refresh(suspect?: Server): Promise<void>;
  /** Resolves when the first attempt of each connection has succeeded or failed. */
  attempted(): Promise<void>;
  /** Calls `listener` each time that a connection becomes ready, and also soon if one is ready already. */
  onReady(listener: () => void): void;
  /** Calls `listener` each time that keys have moved to another server. */
  onMoved(listener: () => void): void;
  /** Waits for outstanding replies, then disconnects. */
  close(): Promise<void>;
}

/** Opens a connection, and reports its losses to `availability`. */
export function openServer(
  name: string,
  url: string,
  { redis: options, replicaPatienceMs }: ConnectionOptions,
  availability: Availability,
): Server {
  const redis = new Redis(url, options);
  redis.on('error', (error: Error & { code?: string }) => {
    availability.lost(error.code ?? error.message);
  });
  // Not `close`, which an orderly end emits as well.
  redis.on('reconnecting', () => {
    availability.lost('the connection was lost');
  });
  const replicas = replicaPatienceMs === undefined ? undefined : new ReplicaWait(redis, replicaPatienceMs);
  return { name, redis, availability, replicas };
}

/** Resolves when a connection is ready, or has failed. */
export async function attempted(redis: Redis): Promise<void> {
  if (redis.status === 'ready') return;
  await new Promise<void>((resolve) => {
    redis.once('ready', resolve);
    redis.once('close', resolve);
  });
}

/** Closes the connections to a server when the outstanding replies have arrived. */
export async function quit({ redis, replicas }: Server): Promise<void> {
  await redis.quit().catch(() => redis.disconnect());
  replicas?.close();
}

export class SingleServer implements Servers {
  readonly sharded = false;
  private readonly server: Server;

  constructor(url: string, options: ConnectionOptions, availability: Availability) {
    this.server = openServer('', url, options, availability);
  }

  of(): Server {
    return this.server;
  }

  all(): readonly Server[] {
    return [this.server];
  }

  async refresh(): Promise<void> {
    // The only server holds all keys.
  }

  async attempted(): Promise<void> {
    await attempted(this.server.redis);
  }

  onReady(listener: () => void): void {
    const { redis } = this.server;
    redis.on('ready', listener);
    if (redis.status === 'ready') queueMicrotask(listener);
  }

  onMoved(): void {
    // Keys never move.
  }

  async close(): Promise<void> {
    await quit(this.server);
  }
}
