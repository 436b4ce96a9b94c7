import { type Clock } from '../../clock.js';
import { type Config } from '../../config/config.js';
import { isAway } from '../session.repository.js';
import { Availability } from './availability.js';
import { faultOf } from './faults.js';
import { ALL_PARTITIONS, partitionKeys } from './keys.js';
import { NOT_REPLICATED, type RedisLink, allOf, connectRedis } from './link.js';
import { byServer } from './partitions.js';
import { probeServer } from './scripts/probe.js';
import { ScriptRunner } from './script.js';

/** Longer than the service waits: a slow answer is a finding, too. */
const COMMAND_TIMEOUT_MS = 5_000;

/** Facts about a Redis, for a person who looks for a fault. */
export interface RedisExamination {
  /** Why Redis did not answer: the error of Redis or of the network. Undefined if it answered. */
  readonly unreachable: string | undefined;
  /** INFO of each server; empty where the ACL user has no right to it. */
  readonly servers: readonly ReadonlyMap<string, string>[];
  /** How far the clock of this machine is ahead of that of Redis, in milliseconds, give or take half a round trip. */
  readonly clockAheadMs: number | undefined;
  /** The commands that the ACL user may not run, of those that requests need. */
  readonly missingRights: readonly string[];
  /** Why Redis refused a request like those of the service; undefined if it did all of it. */
  readonly refusal: string | undefined;
}

/** How to mend what an error of Redis means; undefined for an error that the service does not know. */
export function adviceFor(error: string): string | undefined {
  return faultOf(error)?.advice;
}

/** Asks Redis what it is, and does in it what requests do, which leaves nothing behind. Never rejects. */
export async function examineRedis(
  config: Pick<Config, 'redisEndpoint' | 'policy' | 'subscriptions'>,
  clock: Clock,
): Promise<RedisExamination> {
  const losses = new Losses();
  const link = connectRedis(config.redisEndpoint, losses, COMMAND_TIMEOUT_MS);
  try {
    await link.attempted();
    const servers = await link.info('default');
    return {
      unreachable: undefined,
      servers,
      clockAheadMs: await aheadOf(link, clock).catch(() => undefined),
      ...(await tryOut(link, config, losses)),
    };
  } catch (error) {
    const unreachable = losses.reason ?? (error as Error).message;
    return { unreachable, servers: [], clockAheadMs: undefined, missingRights: [], refusal: undefined };
  } finally {
    await link.close();
  }
}

async function aheadOf(link: RedisLink, clock: Clock): Promise<number> {
  const sent = clock.now();
  const theirs = await link.time(partitionKeys(0).state);
  return Math.round((sent + clock.now()) / 2 - theirs);
}

async function tryOut(
  link: RedisLink,
  { policy, subscriptions }: Pick<Config, 'policy' | 'subscriptions'>,
  losses: Losses,
): Promise<Pick<RedisExamination, 'missingRights' | 'refusal'>> {
  const scripts = new ScriptRunner(link, { policy, subscriptions, layout: 2 });
  const servers = byServer(link, ALL_PARTITIONS.map(partitionKeys));
  try {
    const lacks = await allOf(servers.map(async (held) => probeServer(scripts, link, held)));
    const refusal = lacks.some(({ replica }) => replica) ? NOT_REPLICATED : undefined;
    return { missingRights: [...new Set(lacks.flatMap(({ rights }) => rights))], refusal };
  } catch (error) {
    // A replica counts as away, and so do servers that send this service away as a whole.
    const message = (error as Error).message;
    return { missingRights: [], refusal: isAway(error) ? (losses.reason ?? message) : message };
  }
}

/** Remembers why Redis is away, instead of logging it. */
class Losses extends Availability {
  /** The first reason that says how to mend it, or else the first. */
  reason: string | undefined;

  constructor() {
    const ignore = (): void => undefined;
    super({ log: ignore, warn: ignore, error: ignore });
  }

  override lost(reason: string): void {
    if (this.reason === undefined || (faultOf(this.reason) === undefined && faultOf(reason) !== undefined))
      this.reason = reason;
  }
}
