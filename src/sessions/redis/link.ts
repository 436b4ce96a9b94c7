import { Redis, ReplyError } from 'ioredis';
import { type Config } from '../../config/config.js';
import { StoreUnavailableError } from '../session.repository.js';
import { defineScripts } from './redis-scripts.js';

/**
 * How long a command may take before the store counts as unavailable. A viewer's player has a phase in hand to bridge
 * a short refusal with; a request that hangs helps nobody and piles up.
 */
const COMMAND_TIMEOUT_MS = 1_000;
const CONNECT_TIMEOUT_MS = 1_000;
/**
 * For how many times that nothing may come back on a connection that owes replies. A host that is lost says no goodbye:
 * its connections stay open and swallow everything for a quarter of an hour, until the kernel gives up, while a
 * failover is done in seconds. By then nobody waits for any of the replies.
 */
const SILENT_FOR = 2;

interface AvailabilityLog {
  log(message: string): void;
  error(message: string): void;
}

/** Tells the log once that Redis is away, however often it is found so, and once that it works again. */
export class Availability {
  private away = false;

  constructor(private readonly log: AvailabilityLog) {}

  lost(reason: string): void {
    if (!this.away) this.log.error(`Redis is unavailable (${reason}); requests get 503 until it is back`);
    this.away = true;
  }

  works(): void {
    if (this.away) this.log.log('Redis is back');
    this.away = false;
  }
}

/** What a server says of itself that is none to ask now: a replica after a failover, or one that still loads. */
const NOT_NOW = /^(READONLY|LOADING|UNBLOCKED|MASTERDOWN)/;

/** Whether an error means that the server refused this command, rather than that it is away. */
function isRefusal(error: Error): boolean {
  return error instanceof ReplyError && !NOT_NOW.test(error.message);
}

/**
 * A connection that fails fast and for good reason: it never queues while offline and never repeats a script. Tests of what
 * is answered, rather than how soon, wait longer: the machine that they run on may be busy.
 */
export function connectRedis(
  config: Pick<Config, 'REDIS_URL' | 'REDIS_PASSWORD'>,
  availability: Availability,
  commandTimeoutMs = COMMAND_TIMEOUT_MS,
): Redis {
  const redis = new Redis(config.REDIS_URL!, {
    ...(config.REDIS_PASSWORD === undefined ? {} : { password: config.REDIS_PASSWORD }),
    connectionName: 'streamgate',
    commandTimeout: commandTimeoutMs,
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SILENT_FOR * commandTimeoutMs,
    enableOfflineQueue: false,
    // What was under way when the connection was lost has failed: it need not wait for its time-out.
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
  defineScripts(redis);
  return redis;
}

/**
 * What requests of one turn of the event loop ask goes out in one write, because a write costs more than the asking:
 * it took a tenth off the CPU of a renewal, and nearly a third off Redis's (docs/decisions/0004-hot-path.md). ioredis's
 * own auto-pipelining gained next to nothing. A reply waits for the end of the turn, a fraction of a millisecond.
 */
export function sendTogether({ stream }: Redis): void {
  // Undefined before the first connection.
  if (!stream || stream.writableCorked > 0) return;
  stream.cork();
  setImmediate(() => {
    stream.uncork();
  });
}

/** The reply, or a StoreUnavailableError that says whether the log has been told already. */
export async function ask<T>(availability: Availability, reply: Promise<T>): Promise<T> {
  return reply.then(
    (value) => {
      availability.works();
      return value;
    },
    (cause: Error) => {
      // What Redis refuses is worth a word each time; that it is away is said once.
      if (isRefusal(cause)) throw new StoreUnavailableError(cause.message, { cause });
      availability.lost(cause.message);
      throw new StoreUnavailableError('Redis did not answer', { cause, announced: true });
    },
  );
}

/** What each of these replies with; rejects when all have come and any failed. */
export async function askAll<T>(
  availability: Availability,
  redis: Redis,
  asked: readonly (() => Promise<T>)[],
): Promise<T[]> {
  sendTogether(redis);
  const replies = await Promise.allSettled(asked.map((one) => ask(availability, one())));
  return replies.map((reply) => {
    if (reply.status === 'rejected') throw reply.reason;
    return reply.value;
  });
}

/** Resolves when the connection is ready or has failed for the first time; a service may start without its store. */
export async function firstAttempt(redis: Redis): Promise<void> {
  if (redis.status === 'ready') return;
  await new Promise<void>((resolve) => {
    redis.once('ready', resolve);
    redis.once('close', resolve);
  });
}
