import { Redis, ReplyError, type RedisOptions } from 'ioredis';
import { type Sentinels } from '../../config/sessions.js';
import { type Availability } from './availability.js';
import { type ConnectionOptions, FollowedServers, type Server, attempted, nameOf, quit } from './servers.js';

/** How often the Sentinels are asked although nothing failed. Their messages are faster. */
const CALM_MS = 60_000;
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
export class SentinelServers extends FollowedServers {
  readonly sharded = false;
  private server: Server | undefined;
  private epoch = -1;
  private readonly sentinels: readonly Sentinel[];
  /** Whether no Sentinel answered last. */
  private isSilent = false;

  /** The host of `url` is not used. */
  constructor(
    url: string,
    options: ConnectionOptions,
    private readonly availability: Availability,
    sentinels: Sentinels,
  ) {
    super(url, options, CALM_MS);
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

  override async close(): Promise<void> {
    for (const sentinel of this.sentinels) sentinel.close();
    await super.close();
  }

  /** Asks all Sentinels at the same time, and follows each answer as soon as it arrives. */
  protected async look(): Promise<void> {
    const answers: Primary[] = [];
    const { epoch } = this;
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
    await this.followNewNumbers(answers, epoch);
  }

  /**
   * Sentinels that were set up anew count failovers from 0. Then all of them answer, and none knows of `known`, the latest
   * failover when they were asked. One that was heard of since may be newer than their answers.
   */
  private async followNewNumbers(answers: readonly Primary[], known: number): Promise<void> {
    const [latest] = answers.toSorted((a, b) => b.epoch - a.epoch);
    if (latest === undefined || latest.epoch >= known || this.epoch !== known) return;
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
    const server = this.open(name, this.availability);
    this.server = server;
    if (former !== undefined) {
      this.availability.log.warn(`Redis has a new primary: ${name}, after ${former.name}`);
      // Its outstanding replies arrive, or time out.
      void quit(former);
      this.notifyMoved();
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
        name: nameOf(host, port),
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
