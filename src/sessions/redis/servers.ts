import { isIPv6 } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis, type RedisOptions } from 'ioredis';
import { type Availability } from './availability.js';
import { ReplicaWait } from './replica-wait.js';

/** How often servers are looked for while one of them is unavailable, because a replica may have taken its place. */
const TROUBLED_MS = 1_000;
/** The shortest time between two looks, however many commands fail. */
const SPACING_MS = 200;

/** A Redis server, the connection to it, and the log of its outages and faults. */
export interface Server {
  /** Its host and port in a cluster; empty if there is only one server. */
  readonly name: string;
  readonly redis: Redis;
  readonly availability: Availability;
  /** It did not answer. That says nothing once another server has taken its place. */
  lost(reason: string): void;
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
  /** Looks for the servers again, because `suspect` failed or does not hold a key. Never rejects. */
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

/** Opens a connection, and reports its losses to `availability` while the server is in use. */
function openServer(
  name: string,
  url: string,
  { redis: options, replicaPatienceMs }: ConnectionOptions,
  availability: Availability,
  isInUse: () => boolean = () => true,
): Server {
  const redis = new Redis(url, options);
  const lost = (reason: string): void => {
    if (isInUse()) availability.lost(reason);
  };
  redis.on('error', (error: Error & { code?: string; command?: { readonly name: string } }) => {
    lost(error.code ?? error.message);
    // If the server refuses the database, the client would go on in database 0, which may belong to something else. Other
    // failures have ended the connection already.
    if (error.command?.name === 'select' && error.name === 'ReplyError') redis.disconnect(true);
  });
  // Not `close`, which an orderly end emits as well.
  redis.on('reconnecting', () => {
    lost('the connection was lost');
  });
  const replicas = replicaPatienceMs === undefined ? undefined : new ReplicaWait(redis, replicaPatienceMs);
  return { name, redis, availability, lost, replicas };
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

/** Servers that change by themselves. They are looked for again at intervals, and whenever one of them fails. */
export abstract class FollowedServers implements Servers {
  abstract readonly sharded: boolean;
  protected closed = false;
  private refreshing: Promise<void> | undefined;
  private spacing: Promise<unknown> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;
  private readonly readyListeners: (() => void)[] = [];
  private readonly movedListeners: (() => void)[] = [];

  /**
   * `url` gives the protocol and the database. `calmMs`: how often the servers are looked for although none of them failed.
   * A subclass calls `refresh` when it is constructed.
   */
  constructor(
    protected readonly url: string,
    protected readonly options: ConnectionOptions,
    private readonly calmMs: number,
  ) {}

  abstract of(key: string): Server | undefined;
  abstract all(): readonly Server[];
  /** Finds out which servers there are, and connects to new ones. Never rejects. */
  protected abstract look(suspect: Server | undefined): Promise<void>;

  async refresh(suspect?: Server): Promise<void> {
    if (this.closed) return;
    this.refreshing ??= this.lookInTime(suspect).finally(() => {
      this.refreshing = undefined;
    });
    await this.refreshing;
  }

  async attempted(): Promise<void> {
    await this.refreshing;
  }

  onReady(listener: () => void): void {
    this.readyListeners.push(listener);
    if (this.all().some(isReady)) queueMicrotask(listener);
  }

  onMoved(listener: () => void): void {
    this.movedListeners.push(listener);
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    await Promise.all(this.all().map(quit));
  }

  protected open(name: string, availability: Availability): Server {
    const url = new URL(this.url);
    url.host = name;
    const server = openServer(name, url.href, this.options, availability, () => this.all().includes(server));
    server.redis.on('ready', () => {
      if (this.all().includes(server)) this.notifyReady();
    });
    server.redis.on('reconnecting', () => void this.refresh(server));
    return server;
  }

  protected notifyReady(): void {
    for (const listener of this.readyListeners) listener();
  }

  protected notifyMoved(): void {
    for (const listener of this.movedListeners) listener();
  }

  private async lookInTime(suspect: Server | undefined): Promise<void> {
    clearTimeout(this.timer);
    // Many commands fail at the same time, and one look serves all of them.
    await this.spacing;
    this.spacing = sleep(SPACING_MS, undefined, { ref: false });
    await this.look(suspect);
    if (this.closed) return;
    const servers = this.all();
    const calm = servers.length > 0 && servers.every(isReady);
    const delay = (calm ? this.calmMs : TROUBLED_MS) * (0.75 + Math.random() / 2);
    this.timer = setTimeout(() => void this.refresh(), delay).unref();
  }
}

function isReady({ redis }: Server): boolean {
  return redis.status === 'ready';
}

/** The host and port, as in a URL. */
export function nameOf(host: string, port: number | string): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}
