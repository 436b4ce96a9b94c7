import { isIPv6 } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis, ReplyError, type RedisOptions } from 'ioredis';
import { type Sentinels } from '../../config/sessions.js';
import { type Availability } from './availability.js';
import { type ConnectionOptions, type Server, type Servers, attempted, openServer, quit } from './servers.js';

/** How often the Sentinels are asked although nothing failed. Their messages are faster. */
const CALM_MS = 60_000;
/** The same while the primary is unavailable. */
const TROUBLED_MS = 1_000;
/** The shortest time between two rounds of questions, however many commands fail. */
const SPACING_MS = 200;
/** The channel on which a Sentinel says that another server is the primary. */
const SWITCHED = '+switch-master';

/** What a Sentinel knows of the primary. */
interface Primary {
  readonly name: string;
  /** The number of the failover that made it the primary. A Sentinel that was cut off knows an older one. */
  readonly epoch: number;
}

/**
 * The primary that Redis Sentinel names, with a connection that follows it.
 *
 * It replaces the Sentinel mode of ioredis, which takes the first answer, also that of a Sentinel that was cut off, and
 * stays with the old primary for ten seconds after a failover in which that one stays alive. Here a connection to each
 * Sentinel waits for its message, and of several answers the one of the latest failover counts.
 */
export class SentinelServers implements Servers {
  readonly sharded = false;
  private server: Server | undefined;
  private epoch = -1;
  private readonly sentinels: readonly Sentinel[];
  private refreshing: Promise<void> | undefined;
  private spacing: Promise<unknown> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;
  private closed = false;
  /** Whether no Sentinel answered last. */
  private isSilent = false;
  private readonly readyListeners: (() => void)[] = [];
  private readonly movedListeners: (() => void)[] = [];

  /** `url` gives the protocol and the database; its host is not used. */
  constructor(
    private readonly url: string,
    private readonly options: ConnectionOptions,
    private readonly availability: Availability,
    sentinels: Sentinels,
  ) {
    const { protocol } = new URL(url);
    this.sentinels = sentinels.addresses.map(
      (address) =>
        new Sentinel(address, protocol, sentinels, options.redis, () => {
          void this.look();
        }),
    );
    void this.refresh();
  }

  of(): Server | undefined {
    return this.server;
  }

  all(): readonly Server[] {
    return this.server === undefined ? [] : [this.server];
  }

  async refresh(): Promise<void> {
    if (this.closed) return;
    this.refreshing ??= this.ask().finally(() => {
      this.refreshing = undefined;
    });
    await this.refreshing;
  }

  async attempted(): Promise<void> {
    await this.refreshing;
  }

  onReady(listener: () => void): void {
    this.readyListeners.push(listener);
    if (this.server?.redis.status === 'ready') queueMicrotask(listener);
  }

  onMoved(listener: () => void): void {
    this.movedListeners.push(listener);
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    for (const sentinel of this.sentinels) sentinel.close();
    await Promise.all(this.all().map(quit));
  }

  private async ask(): Promise<void> {
    clearTimeout(this.timer);
    await this.spacing;
    this.spacing = sleep(SPACING_MS, undefined, { ref: false });
    await this.look();
    if (this.closed) return;
    const calm = this.server?.redis.status === 'ready';
    const delay = (calm ? CALM_MS : TROUBLED_MS) * (0.75 + Math.random() / 2);
    this.timer = setTimeout(() => void this.refresh(), delay).unref();
  }

  /** Asks all Sentinels at the same time, and follows each answer as soon as it arrives. */
  private async look(): Promise<void> {
    const answers: Primary[] = [];
    const followed = this.sentinels.map(async (sentinel) => {
      const answer = await sentinel.primary();
      answers.push(answer);
      await this.follow(answer);
    });
    const failures = (await Promise.allSettled(followed)).filter((one) => one.status === 'rejected');
    if (this.closed) return;
    // A Sentinel that is away matters only if no other one answers.
    if (failures.length === this.sentinels.length) this.noteSilence((failures[0]!.reason as Error).message);
    else this.isSilent = false;
    await this.followNewNumbers(answers);
  }

  /** Sentinels that were set up anew count failovers from 0. Then all of them answer, and none knows of the latest one. */
  private async followNewNumbers(answers: readonly Primary[]): Promise<void> {
    const [latest] = answers.toSorted((a, b) => b.epoch - a.epoch);
    if (latest === undefined || latest.epoch >= this.epoch) return;
    if (answers.length < this.sentinels.length) return;
    this.epoch = latest.epoch;
    await this.follow(latest);
  }

  private noteSilence(reason: string): void {
    if (this.server?.redis.status !== 'ready') this.availability.lost(reason);
    else if (!this.isSilent)
      this.availability.log.warn(
        `No Sentinel answers (${reason}): Redis works, but no failover would be followed`,
      );
    this.isSilent = true;
  }

  /** Connects to the primary of this answer, unless it is an older one. */
  private async follow({ name, epoch }: Primary): Promise<void> {
    if (this.closed || epoch < this.epoch) return;
    this.epoch = epoch;
    const former = this.server;
    if (former?.name === name) return;
    const url = new URL(this.url);
    url.host = name;
    const server = openServer(name, url.href, this.options, this.availability);
    this.server = server;
    server.redis.on('ready', () => {
      if (this.server === server) for (const listener of this.readyListeners) listener();
    });
    server.redis.on('reconnecting', () => void this.refresh());
    if (former !== undefined) {
      this.availability.log.warn(`Redis has a new primary: ${name}, after ${former.name}`);
      // Its outstanding replies arrive, or time out.
      void quit(former);
      for (const listener of this.movedListeners) listener();
    }
    await attempted(server.redis);
  }
}

/** One Sentinel: a connection for questions, and one for its messages. Both reconnect by themselves. */
class Sentinel {
  private readonly questions: Redis;
  private readonly messages: Redis;
  /** The last failure to connect. */
  private failure: Error | undefined;

  constructor(
    private readonly address: string,
    protocol: string,
    private readonly sentinels: Sentinels,
    {
      connectionName,
      disableClientInfo,
      connectTimeout,
      commandTimeout,
      socketTimeout,
      retryStrategy,
    }: RedisOptions,
    switched: () => void,
  ) {
    const options: RedisOptions = {
      connectionName,
      disableClientInfo,
      connectTimeout,
      commandTimeout,
      socketTimeout,
      retryStrategy,
      ...(sentinels.password === undefined ? {} : { password: sentinels.password }),
      // Sentinels have no data to load, and need not allow INFO.
      enableReadyCheck: false,
      protocol: 2,
      maxRetriesPerRequest: 0,
    };
    const url = `${protocol}//${address}`;
    this.questions = new Redis(url, options);
    this.messages = new Redis(url, { ...options, autoResubscribe: false });
    this.questions.on('error', (error) => (this.failure = error));
    this.messages.on('error', () => undefined);
    this.messages.on('ready', () => {
      // A switch may have been announced before this connection.
      this.messages.subscribe(SWITCHED).then(switched, () => undefined);
    });
    this.messages.on('message', switched);
  }

  async primary(): Promise<Primary> {
    const { master } = this.sentinels;
    try {
      // In this order, an address of before a failover may come with its epoch, but the new address never with the old epoch.
      const [address, fields] = (await Promise.all([
        this.questions.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', master),
        this.questions.call('SENTINEL', 'MASTER', master),
      ])) as [[host: string, port: string], string[]];
      const [host, port] = address;
      return {
        name: isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`,
        epoch: Number(fields[fields.indexOf('config-epoch') + 1]),
      };
    } catch (error) {
      const { message } = error instanceof ReplyError ? (error as Error) : (this.failure ?? (error as Error));
      throw new Error(`Sentinel ${this.address}: ${message}`, { cause: error });
    }
  }

  close(): void {
    this.questions.disconnect();
    this.messages.disconnect();
  }
}
