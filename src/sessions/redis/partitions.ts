import { StoreUnavailableError } from '../session.repository.js';
import { ALL_PARTITIONS, type PartitionKeys, partitionKeys } from './keys.js';

/** What the partitions answered, by partition, and those whose server is away. */
interface Answers<T> {
  readonly given: ReadonlyMap<number, T>;
  readonly missing: readonly number[];
}

/** Asks every partition at once. Rejects if none answered, or if any refused; a server that is away costs its own only. */
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
 * Figures of all partitions. Those of a server that is away stay as they were: a sum without them would fall, and rise
 * again when it is back, which Prometheus reads as a restart.
 */
export class LastFigures<T> {
  private readonly known = new Map<number, T>();

  /** Rejects if none answered, or if one is missing that never answered this process. */
  async ask(ask: (keys: PartitionKeys) => Promise<T>): Promise<readonly T[]> {
    const { given, missing } = await askPartitions(ask);
    for (const [partition, figures] of given) this.known.set(partition, figures);
    if (missing.some((partition) => !this.known.has(partition))) throw away();
    return [...this.known.values()];
  }
}

/** Whether an error means that the server is away, rather than that it refused. */
export function isAway(error: unknown): boolean {
  return error instanceof StoreUnavailableError && error.away;
}

function away(): StoreUnavailableError {
  return new StoreUnavailableError('Redis did not answer', { announced: true, away: true });
}
