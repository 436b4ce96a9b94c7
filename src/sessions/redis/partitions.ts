import { StoreUnavailableError, isAway } from '../session.repository.js';
import { ALL_PARTITIONS, type PartitionKeys, partitionKeys } from './keys.js';
import { type RedisLink } from './link.js';

/** The partitions of each server. */
export function byServer(
  link: RedisLink,
  partitions: readonly PartitionKeys[],
): readonly (readonly PartitionKeys[])[] {
  return [...Map.groupBy(partitions, ({ state }) => link.holderOf(state)).values()];
}

/** The answers by partition, and the partitions whose server is unavailable. */
interface Answers<T> {
  readonly given: ReadonlyMap<number, T>;
  readonly missing: readonly number[];
}

/**
 * Asks all partitions at the same time. Rejects if none answered, or if one refused. If a server is unavailable, only
 * its own partitions are missing.
 */
export async function askPartitions<T>(ask: (keys: PartitionKeys) => Promise<T>): Promise<Answers<T>> {
  const settled = await Promise.allSettled(
    ALL_PARTITIONS.map(async (partition) => ask(partitionKeys(partition))),
  );
  const given = new Map<number, T>();
  const missing: number[] = [];
  for (const [partition, result] of settled.entries()) {
    if (result.status === 'fulfilled') given.set(partition, result.value);
    else if (isAway(result.reason)) missing.push(partition);
    else throw result.reason;
  }
  if (given.size === 0) throw away();
  return { given, missing };
}

/**
 * Figures of all partitions. While a server is unavailable, its partitions keep their last figures. Otherwise a sum
 * would fall and rise again, which Prometheus takes for a restart of the counter.
 */
export class LastFigures<T> {
  private readonly known = new Map<number, T>();

  /** Rejects if no partition answered, or if one is missing that has never answered this process. */
  async ask(ask: (keys: PartitionKeys) => Promise<T>): Promise<readonly T[]> {
    const { given, missing } = await askPartitions(ask);
    for (const [partition, figures] of given) this.known.set(partition, figures);
    if (missing.some((partition) => !this.known.has(partition))) throw away();
    return [...this.known.values()];
  }
}

function away(): StoreUnavailableError {
  return new StoreUnavailableError('Redis did not answer', { announced: true, away: true });
}
