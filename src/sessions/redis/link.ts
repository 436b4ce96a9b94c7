/* oxlint-disable no-underscore-dangle -- the names of ShortLivedCommand are those of ioredis */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, type Redis, ReplyError, type RedisOptions } from 'ioredis';
import keySlot from 'cluster-key-slot';
import { type RedisEndpoint } from '../../config/sessions.js';
import { currentSpan } from '../../http/request-notes.js';
import { StoreUnavailableError } from '../session.repository.js';
import { type Availability } from './availability.js';
import { ClusterServers } from './cluster-servers.js';
import { type ReplicaWait } from './replica-wait.js';
import { SentinelServers } from './sentinel-servers.js';
import { type Server, type Servers, SingleServer } from './servers.js';

/**
 * How long a command may take before the store counts as unavailable. A player survives a short refusal, because it
 * has a phase in its buffer. Requests that hang would only pile up.
 */
const COMMAND_TIMEOUT_MS = 1_000;
const CONNECT_TIMEOUT_MS = 1_000;
/**
 * A connection is closed if outstanding replies do not arrive within this many command time-outs. Connections to a
 * lost host would stay open for a quarter of an hour, until the kernel gives up, but a failover takes only seconds. By
 * then all outstanding commands have timed out.
 */
const SILENT_FOR = 2;

/** The delay before commands of a slot that a cluster moves are first retried. It grows to ten times this value. */
const MOVING_MS = 20;

/** An entry of a stream: its id, and its field names and values alternately. */
export type StreamEntry = readonly [id: string, fields: readonly string[]];

const EMPTY_ON_WIRE = '$0\r\n\r\n';

/** One argument in Redis's protocol. */
export function wireOf(argument: string | number): string {
  // Most of the optional arguments are empty, and to measure a text costs more than to recognize these.
  if (argument === '') return EMPTY_ON_WIRE;
  const text = String(argument);
  const bytes = typeof argument === 'number' ? text.length : Buffer.byteLength(text);
  return `$${bytes}\r\n${text}\r\n`;
}

/** A call of a script. `key` selects the server. `wire` contains `count` arguments, in Redis's protocol. */
interface ScriptCall {
  /** For what is measured. */
  readonly name: string;
  readonly lua: string;
  readonly sha: string;
  readonly key: string;
  readonly count: number;
  readonly wire: string;
}

/** Which effects of a script a replica must have. */
interface Replication {
  /** Whether the effects of a call with this reply must be on a replica. */
  readonly needed: (reply: unknown) => boolean;
  /** A key without a meaning on the same server: see replica-wait.ts. */
  readonly fence: string;
}

/** A script ran, but it is not known whether a replica has its effects. The caller must undo them. */
export class NotReplicatedError extends StoreUnavailableError {
  constructor(
    cause: StoreUnavailableError,
    readonly reply: unknown,
  ) {
    super(cause.message, { cause, announced: cause.announced, away: cause.away });
  }
}

/** What is measured of a link. */
interface LinkMeter {
  /** A command or a script is sent. Returns its start, for `ended`. */
  started(): number;
  /** It was answered, refused or given up. */
  ended(name: string, start: number): void;
  /** `away`: no answer in time, or no connection. `refused`: Redis answered with an error. */
  failed(kind: 'away' | 'refused'): void;
}

const UNMETERED: LinkMeter = { started: () => 0, ended: () => undefined, failed: () => undefined };

/**
 * The connection to Redis, as the rest of the store sees it. Each call can reject with StoreUnavailableError. If Redis
 * refused the command, the error has the message of Redis. Commands of one turn of the event loop are sent in one
 * write.
 */
export interface RedisLink {
  /** Whether messages are sharded: true in a cluster. */
  readonly sharded: boolean;
  /** Whether new sessions wait for a replica. */
  readonly awaitsReplica: boolean;
  /**
   * Runs a script by its hash. A server that does not know the hash has run nothing, and gets the whole text. With
   * `replication`, the call may wait for a replica, and rejects with NotReplicatedError if none receives the effects in time.
   */
  run(call: ScriptCall, replication?: Replication): Promise<unknown>;
  get(key: string): Promise<string | null>;
  set(key: string, value: string): Promise<void>;
  hget(key: string, field: string): Promise<string | null>;
  hmget(key: string, fields: readonly string[]): Promise<(string | null)[]>;
  hdel(key: string, fields: readonly string[]): Promise<void>;
  xlen(stream: string): Promise<number>;
  /** The entries from the id `from` on, at most `count`. With `(` before the id, the entries after it. */
  xrange(stream: string, from: string, count?: number): Promise<StreamEntry[]>;
  /** Adds a member to a sorted set. */
  zadd(key: string, score: number, member: string): Promise<void>;
  /** The members whose scores lie between `min` and `max`, highest first; `count` of them, from the number `offset` on. */
  zrangeFromHighest(
    key: string,
    bounds: { readonly min: number; readonly max: number },
    offset: number,
    count: number,
  ): Promise<string[]>;
  /** Removes the lowest members, so that at most `most` are left, and those with a score below `min`. */
  ztrim(key: string, bounds: { readonly most: number; readonly min: number }): Promise<void>;
  /** Makes a consumer the owner of these entries. `tries` sets their delivery count. */
  xclaim(
    stream: string,
    group: string,
    consumer: string,
    ids: readonly string[],
    tries?: number,
  ): Promise<void>;
  /** The time of the server that holds this key, in Unix milliseconds. */
  time(key: string): Promise<number>;
  /** A section of INFO by name, from each server that answers; empty if the ACL user lacks the right. */
  info(section: string): Promise<readonly ReadonlyMap<string, string>[]>;
  /**
   * Resolves when a replica of the server that holds this key has what was written; at once unless new sessions wait for
   * one. `fence` is a key without a meaning, which is written. Rejects with NOT_REPLICATED if none receives it in time.
   */
  awaitReplica(fence: string): Promise<void>;
  /** The name of the server that holds this key. Keys of different servers have different names. */
  holderOf(key: string): string;
  /** How many servers have no connection now. */
  serversAway(): number;
  /** Resolves when the first attempt to connect has succeeded or failed. A service may start without its store. */
  attempted(): Promise<void>;
  /** Calls `listener` each time that a connection becomes ready, and also soon if one is ready already. */
  onReady(listener: () => void): void;
  /** Opens a second connection, for messages. */
  subscribe(listeners: SubscriberListeners): Subscriber;
  /** Waits for outstanding replies, then disconnects. Subscribers are disconnected at once. */
  close(): Promise<void>;
}

interface SubscriberListeners {
  readonly message: (channel: string) => void;
  readonly ready: () => void;
}

/** A connection for messages. It queues commands until it is connected. Outages are logged by the main connection. */
export interface Subscriber {
  subscribe(channels: readonly string[]): Promise<void>;
  unsubscribe(channel: string): void;
  /** Reconnects each connection that does not answer a ping, such as one to a lost host. Never rejects. */
  reconnectSilent(): Promise<void>;
  /** Disconnects at once, without waiting for outstanding messages. */
  close(): void;
}

const REDIS = { 'db.system.name': 'redis' };

/** Errors of a server that cannot serve now: a replica after a failover, or a server that still loads its data. */
const NOT_NOW = /^(READONLY|LOADING|UNBLOCKED|MASTERDOWN)/;
/** Errors of a cluster node whose slot is on another node, or is being moved there. The command was not run. */
const ELSEWHERE = /^(MOVED|ASK|TRYAGAIN) /;
/** Errors of a cluster node that serves no commands now, because it reaches too few of the other nodes. */
const OUT_OF_SERVICE = /^CLUSTERDOWN/;

/** The error of a server that does not know a script by its hash. */
const UNKNOWN_SCRIPT = 'NOSCRIPT';
/** As Redis would say that no replica received a write in time. It only returns the number of replicas that did. */
export const NOT_REPLICATED = 'NOTREPLICATED no replica received it in time';
/** Errors of a server that lets this service do nothing at all. */
const NOT_US = /^(WRONGPASS|NOAUTH)/;

/** Whether the server refused this command. Otherwise the server is unavailable. */
function isRefusal(error: Error): boolean {
  const { message } = error;
  return (
    error instanceof ReplyError &&
    !NOT_NOW.test(message) &&
    !OUT_OF_SERVICE.test(message) &&
    !NOT_US.test(message)
  );
}

/**
 * Opens a link that fails fast: it never queues commands while offline, and never repeats a script. Tests that are not
 * about time pass a longer `commandTimeoutMs`, because their machine may be busy.
 */
export function connectRedis(
  { url, username, password, isCluster = false, sentinels, awaitsReplica }: RedisEndpoint,
  availability: Availability,
  commandTimeoutMs = COMMAND_TIMEOUT_MS,
  meter = UNMETERED,
): RedisLink {
  const options: RedisOptions = {
    ...(username === undefined ? {} : { username, password: '' }),
    ...(password === undefined ? {} : { password }),
    connectionName: 'streamgate',
    // CLIENT SETINFO, of Redis 7.2 and later, would be a further right that an ACL user needs.
    disableClientInfo: true,
    commandTimeout: commandTimeoutMs,
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SILENT_FOR * commandTimeoutMs,
    enableOfflineQueue: false,
    // When the connection is lost, outstanding commands fail at once, before their time-out.
    maxRetriesPerRequest: 0,
    // A script whose reply was lost may have run. If it were sent again, it would count a phase twice.
    autoResendUnfulfilledCommands: false,
    // After a failover the old primary is a replica: reconnect to find the new one.
    reconnectOnError: (error) => NOT_NOW.test(error.message),
    retryStrategy: (attempt) => Math.min(50 * 2 ** Math.min(attempt, 6), 2_000) * (0.5 + Math.random() / 2),
  };
  const replicaPatienceMs = awaitsReplica ? commandTimeoutMs : undefined;
  const opened = [url, { redis: options, replicaPatienceMs }, availability] as const;
  const servers =
    sentinels === undefined
      ? new (isCluster ? ClusterServers : SingleServer)(...opened)
      : new SentinelServers(...opened, sentinels);
  return new IoredisLink(servers, commandTimeoutMs, meter, { awaitsReplica });
}

/** Resolves to all values. If any promise rejects, rejects when all are settled. */
export async function allOf<T>(replies: readonly Promise<T>[]): Promise<T[]> {
  return (await Promise.allSettled(replies)).map((reply) => {
    if (reply.status === 'rejected') throw reply.reason;
    return reply.value;
  });
}

/** What a script wrote, and the process that wrote it. */
interface Written {
  readonly server: Server;
  readonly by: ReturnType<ReplicaWait['writer']> | undefined;
}

class IoredisLink implements RedisLink {
  readonly sharded: boolean;
  readonly awaitsReplica: boolean;
  private readonly subscribers = new Set<Subscriber>();

  constructor(
    private readonly servers: Servers,
    private readonly patienceMs: number,
    private readonly meter: LinkMeter,
    { awaitsReplica = false }: Pick<RedisEndpoint, 'awaitsReplica'>,
  ) {
    this.awaitsReplica = awaitsReplica;
    this.sharded = servers.sharded;
  }

  async run(call: ScriptCall, replication?: Replication): Promise<unknown> {
    if (replication === undefined) return this.evaluate(call);
    let written: Written | undefined;
    const reply = await this.evaluate(call, (server) => {
      written = { server, by: server.replicas?.writer() };
    });
    if (replication.needed(reply))
      await this.untilReplicated(written!, replication.fence).catch((error: StoreUnavailableError) => {
        throw new NotReplicatedError(error, reply);
      });
    return reply;
  }

  private async evaluate(
    { name, lua, sha, key, count, wire }: ScriptCall,
    answered?: (server: Server) => void,
  ): Promise<unknown> {
    const head = `*${count + 2}\r\n`;
    const start = this.meter.started();
    const span = currentSpan()?.child(`store ${name}`, 'client', {
      ...REDIS,
      'db.operation.name': 'EVALSHA',
      'db.stored_procedure.name': name,
    });
    try {
      try {
        const byHash = `${head}$7\r\nEVALSHA\r\n$40\r\n${sha}\r\n${wire}`;
        return await this.ask(key, () => new WiredCommand('evalsha', byHash), answered);
      } catch (error) {
        if (!(error as Error).message.startsWith(UNKNOWN_SCRIPT)) throw error;
        const whole = `${head}$4\r\nEVAL\r\n$${Buffer.byteLength(lua)}\r\n${lua}\r\n${wire}`;
        return await this.ask(key, () => new WiredCommand('eval', whole), answered);
      }
    } catch (error) {
      span?.fail(typeOf(error as Error));
      throw error;
    } finally {
      this.meter.ended(name, start);
      span?.end();
    }
  }

  async awaitReplica(fence: string): Promise<void> {
    const server = this.servers.of(fence);
    if (server) await this.untilReplicated({ server, by: server.replicas?.writer() }, fence);
  }

  /** Resolves when a replica has what was written, or if the link does not await replicas. */
  private async untilReplicated({ server, by }: Written, fence: string): Promise<void> {
    if (server.replicas === undefined || by === undefined) return;
    const start = this.meter.started();
    try {
      if (!(await server.replicas.covers(by, fence))) throw new ReplyError(NOT_REPLICATED);
    } catch (error) {
      this.meter.failed('refused');
      const cause = error as Error;
      const known = isRefusal(cause) && !ELSEWHERE.test(cause.message);
      throw failureOf(known ? cause : new ReplyError(NOT_REPLICATED, { cause }), server.availability);
    } finally {
      this.meter.ended('wait', start);
    }
  }

  async get(key: string): Promise<string | null> {
    return this.command('get', [key]);
  }

  async set(key: string, value: string): Promise<void> {
    await this.command('set', [key, value]);
  }

  async hget(key: string, field: string): Promise<string | null> {
    return this.command('hget', [key, field]);
  }

  async hmget(key: string, fields: readonly string[]): Promise<(string | null)[]> {
    return this.command('hmget', [key, ...fields]);
  }

  async hdel(key: string, fields: readonly string[]): Promise<void> {
    await this.command('hdel', [key, ...fields]);
  }

  async xlen(stream: string): Promise<number> {
    return this.command('xlen', [stream]);
  }

  async xrange(stream: string, from: string, count?: number): Promise<StreamEntry[]> {
    const bound = count === undefined ? [] : ['COUNT', count];
    return this.command('xrange', [stream, from, '+', ...bound]);
  }

  async zadd(key: string, score: number, member: string): Promise<void> {
    await this.command('zadd', [key, score, member]);
  }

  async zrangeFromHighest(
    key: string,
    { min, max }: { readonly min: number; readonly max: number },
    offset: number,
    count: number,
  ): Promise<string[]> {
    return this.command('zrange', [key, max, min, 'BYSCORE', 'REV', 'LIMIT', offset, count]);
  }

  async ztrim(key: string, { most, min }: { readonly most: number; readonly min: number }): Promise<void> {
    await allOf([
      this.command('zremrangebyrank', [key, 0, -most - 1]),
      this.command('zremrangebyscore', [key, '-inf', `(${min}`]),
    ]);
  }

  async xclaim(
    stream: string,
    group: string,
    consumer: string,
    ids: readonly string[],
    tries?: number,
  ): Promise<void> {
    const retryCount = tries === undefined ? [] : ['RETRYCOUNT', tries];
    await this.command('xclaim', [stream, group, consumer, 0, ...ids, ...retryCount, 'JUSTID']);
  }

  async time(key: string): Promise<number> {
    const command = new ShortLivedCommand('time', [], { replyEncoding: 'utf8' });
    const [seconds, micros] = (await this.sendTo(this.servers.of(key), command)) as [string, string];
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  }

  holderOf(key: string): string {
    return this.servers.of(key)?.name ?? '';
  }

  serversAway(): number {
    const servers = this.servers.all();
    // A cluster that was never reached has no servers yet.
    return servers.length === 0 ? 1 : servers.filter(({ redis }) => redis.status !== 'ready').length;
  }

  async info(section: string): Promise<readonly ReadonlyMap<string, string>[]> {
    const asked = this.servers.all().map(async ({ redis, availability }) => {
      const text = await redis.info(section).catch((error: Error) => {
        // No request needs this right.
        if (error.message.startsWith('NOPERM')) return '';
        throw failureOf(error, availability);
      });
      return new Map([...text.matchAll(/^(\w+):(.*)$/gm)].map(([, name, value]) => [name!, value!.trim()]));
    });
    const replies = await Promise.allSettled(asked);
    const given = replies.flatMap((reply) => (reply.status === 'fulfilled' ? [reply.value] : []));
    if (given.length === 0) throw unavailable(undefined);
    return given;
  }

  async attempted(): Promise<void> {
    await this.servers.attempted();
  }

  onReady(listener: () => void): void {
    this.servers.onReady(listener);
  }

  subscribe(listeners: SubscriberListeners): Subscriber {
    const connections = new SubscriberConnections(this.servers, listeners);
    const subscriber: Subscriber = {
      subscribe: async (channels) => connections.subscribe(channels),
      unsubscribe: (channel) => connections.unsubscribe(channel),
      reconnectSilent: async () => connections.reconnectSilent(),
      close: () => {
        this.subscribers.delete(subscriber);
        connections.close();
      },
    };
    this.subscribers.add(subscriber);
    return subscriber;
  }

  async close(): Promise<void> {
    for (const subscriber of this.subscribers) subscriber.close();
    await this.servers.close();
  }

  /** The first of the arguments is the key. */
  private async command<T>(name: string, args: readonly [key: string, ...(string | number)[]]): Promise<T> {
    const made = (): Command => new ShortLivedCommand(name, [...args], { replyEncoding: 'utf8' });
    const start = this.meter.started();
    const span = currentSpan()?.child(`store ${name}`, 'client', {
      ...REDIS,
      'db.operation.name': name.toUpperCase(),
    });
    try {
      return (await this.ask(args[0], made)) as T;
    } catch (error) {
      span?.fail(typeOf(error as Error));
      throw error;
    } finally {
      this.meter.ended(name, start);
      span?.end();
    }
  }

  /** Sends a command to the server that holds the key. While a cluster moves the key's slot, that takes several tries. */
  private async ask(key: string, made: () => Command, answered?: (server: Server) => void): Promise<unknown> {
    const server = this.servers.of(key);
    try {
      const reply = await this.sendTo(server, made());
      // Only a command with a key proves this. A node that is cut off from its cluster answers commands without a key.
      server?.availability.works();
      answered?.(server!);
      return reply;
    } catch (error) {
      if (!this.sharded || !ELSEWHERE.test((error as Error).message)) throw error;
    }
    return this.askAgain(key, made, server, answered);
  }

  private async askAgain(
    key: string,
    made: () => Command,
    last: Server | undefined,
    answered?: (server: Server) => void,
  ): Promise<unknown> {
    let server = last;
    let waitMs = MOVING_MS;
    for (let waited = 0; ; waited += waitMs, waitMs = Math.min(2 * waitMs, 10 * MOVING_MS)) {
      await Promise.all([this.servers.refresh(server), sleep(waitMs * (0.5 + Math.random()))]);
      server = this.servers.of(key);
      try {
        const reply = await this.sendTo(server, made());
        answered?.(server!);
        return reply;
      } catch (error) {
        if (!ELSEWHERE.test((error as Error).message) || waited > this.patienceMs) throw error;
      }
    }
  }

  private async sendTo(server: Server | undefined, command: Command): Promise<unknown> {
    if (server === undefined) {
      void this.servers.refresh();
      this.meter.failed('away');
      throw unavailable(undefined);
    }
    try {
      writeTogether(server.redis);
      return await server.redis.sendCommand(command);
    } catch (error) {
      const cause = error as Error;
      const isElsewhere = this.sharded && ELSEWHERE.test(cause.message);
      if (!isRefusal(cause)) {
        this.meter.failed('away');
        server.lost(cause.message);
        void this.servers.refresh(server);
      } else if (!isElsewhere && !cause.message.startsWith(UNKNOWN_SCRIPT)) this.meter.failed('refused');
      // A moved slot is no fault of Redis: the command is sent again to the node that has it.
      throw failureOf(cause, isElsewhere ? undefined : server.availability);
    }
  }
}

/** The `error.type` of a span: `away`, or the code of Redis's error, such as OOM. */
function typeOf(error: Error): string {
  if (error instanceof StoreUnavailableError && error.away) return 'away';
  return /^[A-Z]+/.exec(error.message)?.[0] ?? 'refused';
}

/** The error for the caller. It is `announced` if the log has the reason, so that requests do not log it again. */
function failureOf(cause: Error, availability?: Availability): StoreUnavailableError {
  if (!isRefusal(cause)) return unavailable(cause);
  const announced = availability?.refused(cause.message) ?? false;
  return new StoreUnavailableError(cause.message, { cause, announced });
}

function unavailable(cause: Error | undefined): StoreUnavailableError {
  return new StoreUnavailableError('Redis did not answer', { cause, announced: true, away: true });
}

/**
 * Sends the commands of one turn of the event loop in one write, because a write costs more than a command. This saves
 * a tenth of the CPU of a renewal, and nearly a third of Redis's CPU (docs/decisions/0004-hot-path.md). The
 * auto-pipelining of ioredis saves next to nothing. A command waits for the end of the turn, a fraction of a
 * millisecond.
 */
function writeTogether({ stream }: Redis): void {
  // Undefined before the first connection.
  if (!stream || stream.writableCorked > 0) return;
  stream.cork();
  setImmediate(() => {
    stream.uncork();
  });
}

/** The connections for messages: one for each server that holds a subscribed channel. Each is opened on first use. */
class SubscriberConnections {
  private readonly connections = new Map<string, Redis>();
  private closed = false;

  constructor(
    private readonly servers: Servers,
    private readonly listeners: SubscriberListeners,
  ) {
    servers.onMoved(() => {
      if (this.connections.size === 0) return;
      this.leaveFormer();
      listeners.ready();
    });
  }

  /** Rejects if a channel could not be subscribed to. The other channels are subscribed to all the same. */
  async subscribe(channels: readonly string[]): Promise<void> {
    if (!this.servers.sharded) {
      await done(this.connectionTo(channels[0]!)?.subscribe(...channels));
      return;
    }
    // One command for each slot, because a cluster refuses channels of several slots in one command.
    const slots = Map.groupBy(channels, (channel) => keySlot(channel));
    await allOf(
      [...slots.values()].map(async (ofSlot) => done(this.connectionTo(ofSlot[0]!)?.ssubscribe(...ofSlot))),
    );
  }

  unsubscribe(channel: string): void {
    const connection = this.connections.get(this.servers.of(channel)?.name ?? '');
    const left = this.servers.sharded ? connection?.sunsubscribe(channel) : connection?.unsubscribe(channel);
    left?.catch(() => undefined);
  }

  async reconnectSilent(): Promise<void> {
    await Promise.all(
      [...this.connections.values()].map(async (connection) =>
        connection.ping().catch(() => connection.disconnect(true)),
      ),
    );
  }

  close(): void {
    this.closed = true;
    for (const connection of this.connections.values()) connection.disconnect();
    this.connections.clear();
  }

  private connectionTo(channel: string): Redis | undefined {
    const server = this.servers.of(channel);
    if (server === undefined || this.closed) return undefined;
    return this.connections.get(server.name) ?? this.connect(server);
  }

  /** The new connection queues commands until it is ready. Outages are logged by the connection for commands. */
  private connect({ name, redis }: Server): Redis {
    const connection = redis.duplicate({ enableOfflineQueue: true, autoResubscribe: false });
    this.connections.set(name, connection);
    connection.on('error', () => undefined);
    connection.on(this.servers.sharded ? 'smessage' : 'message', this.listeners.message);
    connection.on('ready', this.listeners.ready);
    // The slot of a channel has moved to another node.
    connection.on('moved', () => void this.servers.refresh());
    return connection;
  }

  /** Closes the connections to nodes that hold no slots any more. */
  private leaveFormer(): void {
    const names = new Set(this.servers.all().map(({ name }) => name));
    for (const [name, connection] of this.connections) {
      if (names.has(name)) continue;
      this.connections.delete(name);
      connection.disconnect();
    }
  }
}

/** Waits for a reply. Rejects with StoreUnavailableError if it is an error, or if no server was asked. */
async function done(reply: Promise<unknown> | undefined): Promise<void> {
  try {
    if (reply === undefined) throw new Error('no server holds the channel');
    await reply;
  } catch (error) {
    throw failureOf(error as Error);
  }
}

/** The private members of a command of ioredis, in the pinned version. */
interface Internals {
  isSettled: boolean;
  transformed: boolean;
  promise: Promise<unknown>;
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
  _commandTimeoutTimer: NodeJS.Timeout | undefined;
  stringifyArguments(): void;
  _convertValue(resolve: (value: unknown) => void): (value: unknown) => void;
  _clearTimers(): void;
}

/**
 * A command that the garbage collector can free as soon as it is answered.
 *
 * V8 treats a function that is assigned to a property (`this.reject = (err) => …`) as a long-lived method, and
 * allocates it in the old generation. ioredis creates one such function for each command. The function is garbage a
 * millisecond later, but it stays until the next collection of the old generation, together with everything that it
 * references, such as the request that waits for the command. So each collection of the young generation has to copy
 * these objects, and takes ten times as long (docs/decisions/0012-young-garbage.md). This class creates the function
 * in the young generation.
 */
class ShortLivedCommand extends Command {}

const YOUNG: Pick<Internals, '_clearTimers'> & { initPromise(): void } & ThisType<Internals> = {
  initPromise() {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.transformed = true;
    this.stringifyArguments();
    this.resolve = this._convertValue(resolve);
    this.reject = rejecting(this, reject);
    this.promise = promise;
  },
  // Without the `delete` of ioredis, which would turn the object into a slow dictionary.
  _clearTimers() {
    clearTimeout(this._commandTimeoutTimer);
    this._commandTimeoutTimer = undefined;
  },
};
// Not declared in the class, because the types of ioredis declare these members as private.
Object.assign(ShortLivedCommand.prototype, YOUNG);

function rejecting(command: Internals, reject: (error: Error) => void): Internals['reject'] {
  return (error) => {
    command._clearTimers();
    command.isSettled = true;
    reject(error);
  };
}

/** A command that is already encoded in Redis's protocol, because most of a script's call is the same each time. */
class WiredCommand extends ShortLivedCommand {
  constructor(
    name: string,
    private readonly wire: string,
  ) {
    super(name, [], { replyEncoding: 'utf8' });
  }

  override toWritable(): string {
    return this.wire;
  }
}
