/* oxlint-disable no-underscore-dangle -- the names of ShortLivedCommand are those of ioredis */
import { Command, Redis, ReplyError } from 'ioredis';
import { type Config } from '../../config/config.js';
import { StoreUnavailableError } from '../session.repository.js';
import { type Availability } from './availability.js';

/**
 * How long a command may take before the store counts as unavailable. A viewer's player has a phase in hand to bridge
 * a short refusal with; a request that hangs helps nobody and piles up.
 */
const COMMAND_TIMEOUT_MS = 1_000;
const CONNECT_TIMEOUT_MS = 1_000;
/**
 * A connection that owes replies and brings none for so many command time-outs is given up. A lost host closes nothing:
 * its connections stay open and swallow everything for a quarter of an hour, until the kernel gives up, while a failover
 * is done in seconds. By then nobody waits for any of the replies.
 */
const SILENT_FOR = 2;

/** An entry of a stream: its id, then names and values in turn. */
export type StreamEntry = readonly [id: string, fields: readonly string[]];

/** One argument in Redis's protocol. */
export function wireOf(argument: string | number): string {
  return `$${Buffer.byteLength(String(argument))}\r\n${argument}\r\n`;
}

/** A call of a script: `key` says which server has it, `count` how many arguments `wire` holds in Redis's protocol. */
interface ScriptCall {
  readonly lua: string;
  readonly sha: string;
  readonly key: string;
  readonly count: number;
  readonly wire: string;
}

/**
 * The connection to Redis, as the rest of the store sees it. Each call rejects with StoreUnavailableError, whose message is
 * that of Redis if Redis refused the command. Commands of one turn of the event loop go out in one write.
 */
export interface RedisLink {
  /** Runs a script by its hash; a server that does not know it gets the whole text, and has not run it before. */
  run(call: ScriptCall): Promise<unknown>;
  ping(): Promise<void>;
  get(key: string): Promise<string | null>;
  set(key: string, value: string): Promise<void>;
  hget(key: string, field: string): Promise<string | null>;
  hmget(key: string, fields: readonly string[]): Promise<(string | null)[]>;
  hdel(key: string, fields: readonly string[]): Promise<void>;
  xlen(stream: string): Promise<number>;
  /** Entries from `from` on, `(id` for after it, at most `count`. */
  xrange(stream: string, from: string, count?: number): Promise<StreamEntry[]>;
  /** Makes a consumer the holder of these entries; `tries` sets how often each was given. */
  xclaim(
    stream: string,
    group: string,
    consumer: string,
    ids: readonly string[],
    tries?: number,
  ): Promise<void>;
  /** The time of the server that has each of these keys, in Unix milliseconds. Each server is asked once. */
  times(keys: readonly string[]): Promise<number[]>;
  /** Resolves when the connection is ready or failed for the first time: a service may start without its store. */
  attempted(): Promise<void>;
  /** Calls back each time that a connection is ready, from now on, and soon if one is ready already. */
  onReady(listener: () => void): void;
  /** Opens a second connection, for messages. */
  subscribe(listeners: SubscriberListeners): Subscriber;
  /** Waits for the replies that are due, then disconnects; subscribers are cut at once. */
  close(): Promise<void>;
}

interface SubscriberListeners {
  readonly message: (channel: string) => void;
  readonly ready: () => void;
}

/** A connection for messages. Its commands wait for the connection; the main one logs that Redis is away. */
export interface Subscriber {
  subscribe(channels: readonly string[]): Promise<void>;
  unsubscribe(channel: string): void;
  /** Rejects if nothing comes back, as on a connection to a lost host. */
  ping(): Promise<void>;
  reconnect(): void;
  /** Disconnects at once: nobody waits for what it would still tell. */
  close(): void;
}

/** Errors of a server that is not the one to ask now: a replica after a failover, or one that still loads its data. */
const NOT_NOW = /^(READONLY|LOADING|UNBLOCKED|MASTERDOWN)/;

/** Whether an error means that the server refused this command, rather than that it is away. */
function isRefusal(error: Error): boolean {
  return error instanceof ReplyError && !NOT_NOW.test(error.message);
}

type Endpoint = Pick<Config, 'REDIS_URL' | 'REDIS_PASSWORD'>;

/**
 * A link that fails fast: it never queues commands while offline and never repeats a script. `commandTimeoutMs` is longer
 * in tests that are not about time, since the machine that they run on may be busy.
 */
export function connectRedis(
  config: Endpoint,
  availability: Availability,
  commandTimeoutMs = COMMAND_TIMEOUT_MS,
): RedisLink {
  const redis = new Redis(config.REDIS_URL!, {
    ...(config.REDIS_PASSWORD === undefined ? {} : { password: config.REDIS_PASSWORD }),
    connectionName: 'streamgate',
    commandTimeout: commandTimeoutMs,
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SILENT_FOR * commandTimeoutMs,
    enableOfflineQueue: false,
    // A command that was under way when the connection was lost has failed: it need not wait for its time-out.
    maxRetriesPerRequest: 0,
    // A script whose reply was lost may have run: sending it again would count a phase twice.
    autoResendUnfulfilledCommands: false,
    // After a failover the old primary is a replica: reconnect to find the new one.
    reconnectOnError: (error) => NOT_NOW.test(error.message),
    retryStrategy: (attempt) => Math.min(50 * 2 ** Math.min(attempt, 6), 2_000) * (0.5 + Math.random() / 2),
  });
  redis.on('error', (error: Error & { code?: string }) => {
    availability.lost(error.code ?? error.message);
  });
  // Not `close`, which tells of an orderly end as well.
  redis.on('reconnecting', () => {
    availability.lost('the connection was lost');
  });
  return new IoredisLink(redis, availability);
}

/** What each of these gives; rejects when all are settled and any failed. */
export async function allOf<T>(replies: readonly Promise<T>[]): Promise<T[]> {
  return (await Promise.allSettled(replies)).map((reply) => {
    if (reply.status === 'rejected') throw reply.reason;
    return reply.value;
  });
}

class IoredisLink implements RedisLink {
  private readonly subscribers = new Set<Subscriber>();

  constructor(
    private readonly redis: Redis,
    private readonly availability: Availability,
  ) {}

  async run({ lua, sha, key, count, wire }: ScriptCall): Promise<unknown> {
    const node = this.nodeOf(key);
    const head = `*${count + 2}\r\n`;
    try {
      const byHash = new WiredCommand('evalsha', `${head}$7\r\nEVALSHA\r\n$40\r\n${sha}\r\n${wire}`);
      return this.worked(await this.send(node, byHash));
    } catch (error) {
      if (!(error as Error).message.startsWith('NOSCRIPT')) throw this.failure(error as Error);
    }
    const whole = `${head}$4\r\nEVAL\r\n$${Buffer.byteLength(lua)}\r\n${lua}\r\n${wire}`;
    return this.answer(this.send(node, new WiredCommand('eval', whole)));
  }

  async ping(): Promise<void> {
    await this.command(this.redis, 'ping', []);
  }

  async get(key: string): Promise<string | null> {
    return this.command(this.nodeOf(key), 'get', [key]);
  }

  async set(key: string, value: string): Promise<void> {
    await this.command(this.nodeOf(key), 'set', [key, value]);
  }

  async hget(key: string, field: string): Promise<string | null> {
    return this.command(this.nodeOf(key), 'hget', [key, field]);
  }

  async hmget(key: string, fields: readonly string[]): Promise<(string | null)[]> {
    return this.command(this.nodeOf(key), 'hmget', [key, ...fields]);
  }

  async hdel(key: string, fields: readonly string[]): Promise<void> {
    await this.command(this.nodeOf(key), 'hdel', [key, ...fields]);
  }

  async xlen(stream: string): Promise<number> {
    return this.command(this.nodeOf(stream), 'xlen', [stream]);
  }

  async xrange(stream: string, from: string, count?: number): Promise<StreamEntry[]> {
    const bound = count === undefined ? [] : ['COUNT', count];
    return this.command(this.nodeOf(stream), 'xrange', [stream, from, '+', ...bound]);
  }

  async xclaim(
    stream: string,
    group: string,
    consumer: string,
    ids: readonly string[],
    tries?: number,
  ): Promise<void> {
    const retryCount = tries === undefined ? [] : ['RETRYCOUNT', tries];
    const args = [stream, group, consumer, 0, ...ids, ...retryCount, 'JUSTID'];
    await this.command(this.nodeOf(stream), 'xclaim', args);
  }

  async times(keys: readonly string[]): Promise<number[]> {
    const asked = new Map<Redis, Promise<number>>();
    for (const node of keys.map((key) => this.nodeOf(key)))
      if (!asked.has(node)) asked.set(node, this.timeOf(node));
    await Promise.all(asked.values());
    return Promise.all(keys.map((key) => asked.get(this.nodeOf(key))!));
  }

  async attempted(): Promise<void> {
    if (this.redis.status === 'ready') return;
    await new Promise<void>((resolve) => {
      this.redis.once('ready', resolve);
      this.redis.once('close', resolve);
    });
  }

  onReady(listener: () => void): void {
    this.redis.on('ready', listener);
    if (this.redis.status === 'ready') queueMicrotask(listener);
  }

  subscribe({ message, ready }: SubscriberListeners): Subscriber {
    const connection = this.redis.duplicate({ enableOfflineQueue: true, autoResubscribe: false });
    connection.on('error', () => undefined);
    connection.on('message', message);
    connection.on('ready', ready);
    const subscriber: Subscriber = {
      subscribe: async (channels) => {
        await this.answer(connection.subscribe(...channels));
      },
      unsubscribe: (channel) => {
        connection.unsubscribe(channel).catch(() => undefined);
      },
      ping: async () => {
        await connection.ping();
      },
      reconnect: () => connection.disconnect(true),
      close: () => {
        this.subscribers.delete(subscriber);
        connection.disconnect();
      },
    };
    this.subscribers.add(subscriber);
    return subscriber;
  }

  async close(): Promise<void> {
    for (const subscriber of this.subscribers) subscriber.close();
    await this.redis.quit().catch(() => this.redis.disconnect());
  }

  /** The server that has a key. There is one now; a cluster is to be told apart here. */
  private nodeOf(_key: string): Redis {
    return this.redis;
  }

  private async timeOf(node: Redis): Promise<number> {
    const [seconds, micros] = await this.command<[string, string]>(node, 'time', []);
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  }

  private async command<T>(node: Redis, name: string, args: readonly (string | number)[]): Promise<T> {
    const command = new ShortLivedCommand(name, [...args], { replyEncoding: 'utf8' });
    return this.answer(this.send(node, command)) as Promise<T>;
  }

  /**
   * Commands of one turn of the event loop go out in one write, because a write costs more than the command: it took a
   * tenth off the CPU of a renewal, and nearly a third off Redis's (docs/decisions/0004-hot-path.md). ioredis's own
   * auto-pipelining gained next to nothing. A reply waits for the end of the turn, a fraction of a millisecond.
   */
  private async send(node: Redis, command: Command): Promise<unknown> {
    const { stream } = node;
    // Undefined before the first connection.
    if (stream && stream.writableCorked === 0) {
      stream.cork();
      setImmediate(() => {
        stream.uncork();
      });
    }
    return node.sendCommand(command);
  }

  private async answer(reply: Promise<unknown>): Promise<unknown> {
    try {
      return this.worked(await reply);
    } catch (error) {
      throw this.failure(error as Error);
    }
  }

  private worked(reply: unknown): unknown {
    this.availability.works();
    return reply;
  }

  private failure(cause: Error): StoreUnavailableError {
    // A refusal is worth a line in the log each time; that Redis is away is logged once.
    if (isRefusal(cause)) return new StoreUnavailableError(cause.message, { cause });
    this.availability.lost(cause.message);
    return new StoreUnavailableError('Redis did not answer', { cause, announced: true });
  }
}

/** What ioredis keeps to itself of a command, as of the version that is pinned. */
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
 * A command that is garbage as soon as it is answered.
 *
 * V8 takes a function that is written as the value of a property (`this.reject = (err) => …`) for a method, which lives long,
 * and puts it where old objects are. ioredis writes one such for each command. It is dead a millisecond later, but stays
 * until the next collection of old objects, and so does all that it leads to, which is the request that waits for the
 * command: each collection of young objects has to carry them over, and takes ten times as long
 * (docs/decisions/0012-young-garbage.md). Here the same is written so that it stays young.
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
  // Without `delete`, which makes a dictionary of the object.
  _clearTimers() {
    clearTimeout(this._commandTimeoutTimer);
    this._commandTimeoutTimer = undefined;
  },
};
// Not in the class: its types call them private.
Object.assign(ShortLivedCommand.prototype, YOUNG);

function rejecting(command: Internals, reject: (error: Error) => void): Internals['reject'] {
  return (error) => {
    command._clearTimers();
    command.isSettled = true;
    reject(error);
  };
}

/** A command whose text in Redis's protocol is made already: most of a script's call is the same each time. */
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
