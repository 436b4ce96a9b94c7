import { Redis, type RedisOptions } from 'ioredis';
import { type Availability } from './availability.js';

/** A Redis server, the connection to it, and what the log says of it. */
export interface Server {
  /** Its host and port in a cluster; the empty text for the only server there is. */
  readonly name: string;
  readonly redis: Redis;
  readonly availability: Availability;
}

/** The servers that together hold all keys: one server, or the primaries of a cluster. */
export interface Servers {
  /** Whether these are the nodes of a cluster, where a message goes to the watchers on one node only. */
  readonly sharded: boolean;
  /** The server that holds a key; undefined while that is not known. */
  of(key: string): Server | undefined;
  all(): readonly Server[];
  /** Asks who holds what, because `suspect` failed or holds something else. Never rejects. */
  refresh(suspect?: Server): Promise<void>;
  /** Resolves when each connection is ready or failed for the first time. */
  attempted(): Promise<void>;
  /** Calls back each time that a connection is ready, from now on, and soon if one is ready already. */
  onReady(listener: () => void): void;
  /** Calls back each time that keys have another server than before. */
  onMoved(listener: () => void): void;
  /** Waits for the replies that are due, then disconnects. */
  close(): Promise<void>;
}

/** Opens a connection whose losses the log tells. */
export function openServer(
  name: string,
  url: string,
  options: RedisOptions,
  availability: Availability,
): Server {
  const redis = new Redis(url, options);
  redis.on('error', (error: Error & { code?: string }) => {
    availability.lost(error.code ?? error.message);
  });
  // Not `close`, which tells of an orderly end as well.
  redis.on('reconnecting', () => {
    availability.lost('the connection was lost');
  });
  return { name, redis, availability };
}

/** Resolves when a connection is ready, or failed. */
export async function attempted(redis: Redis): Promise<void> {
  if (redis.status === 'ready') return;
  await new Promise<void>((resolve) => {
    redis.once('ready', resolve);
    redis.once('close', resolve);
  });
}

/** Closes a connection when it has brought the replies that are due. */
export async function quit(redis: Redis): Promise<void> {
  await redis.quit().catch(() => redis.disconnect());
}

export class SingleServer implements Servers {
  readonly sharded = false;
  private readonly server: Server;

  constructor(url: string, options: RedisOptions, availability: Availability) {
    this.server = openServer('', url, options, availability);
  }

  of(): Server {
    return this.server;
  }

  all(): readonly Server[] {
    return [this.server];
  }

  async refresh(): Promise<void> {
    // There is no other.
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
    // Nothing moves.
  }

  async close(): Promise<void> {
    await quit(this.server.redis);
  }
}
