import keySlot from 'cluster-key-slot';

/**
 * Every key of the store. What one script changes together must lie in one slot of Redis Cluster: so all keys of a
 * partition carry one hash tag, and 256 partitions, evenly spaced over the 16,384 slots, leave any number of shards
 * within one partition of each other. Within a partition users are spread over buckets, which keeps hashes and indexes
 * small: an index of up to 128 users takes a third of the memory (docs/decisions/0006-memory.md). Both numbers are
 * fixed for life: with others, users would be looked for elsewhere.
 */
export const PARTITIONS = 256;
const BUCKETS = 64;

export interface PartitionKeys {
  /** HASH: counts of sessions, how the sweep stands, the pause: see events.lua. */
  readonly state: string;
  /** STREAM: the last things that happened, for watchers: see events.lua. */
  readonly ring: string;
  /** STREAM: what is to be delivered. */
  readonly outbox: string;
  /** STREAM: what could not be delivered. */
  readonly deadLetters: string;
  /** ZSET: bucket -> a lower bound of when its earliest record is due. */
  readonly buckets: string;
  /** What the keys of the buckets begin with: HASH user -> records, as record.lua lays them out. */
  readonly recordsPrefix: string;
  /** What the indexes of the buckets begin with: ZSET user -> a lower bound of when its earliest record is due. */
  readonly indexPrefix: string;
}

export interface UserKeys extends PartitionKeys {
  readonly bucket: number;
  readonly records: string;
  readonly index: string;
}

/** For each partition the smallest number whose hash tag falls on the partition's first slot. */
function findTags(): readonly number[] {
  const tags: number[] = Array.from({ length: PARTITIONS }, () => -1);
  for (let candidate = 0, missing = PARTITIONS; missing > 0; candidate++) {
    const slot = keySlot(String(candidate));
    const partition = slot / BUCKETS;
    if (Number.isInteger(partition) && tags[partition] === -1) {
      tags[partition] = candidate;
      missing--;
    }
  }
  return tags;
}

const partitions: readonly PartitionKeys[] = findTags().map((tag) => ({
  state: `sg:{${tag}}:s`,
  ring: `sg:{${tag}}:e`,
  outbox: `sg:{${tag}}:o`,
  deadLetters: `sg:{${tag}}:d`,
  buckets: `sg:{${tag}}:x`,
  recordsPrefix: `sg:{${tag}}:u:`,
  indexPrefix: `sg:{${tag}}:x:`,
}));

/** Every pair of partition and bucket, once: the slot of a user's id is as good a number as any to choose it by. */
const buckets: readonly UserKeys[] = partitions.flatMap((keys) =>
  Array.from({ length: BUCKETS }, (_, bucket) => ({
    ...keys,
    bucket,
    records: `${keys.recordsPrefix}${bucket}`,
    index: `${keys.indexPrefix}${bucket}`,
  })),
);

export function userKeys(userId: string): UserKeys {
  return buckets[keySlot(userId)]!;
}

export function partitionKeys(partition: number): PartitionKeys {
  return partitions[partition]!;
}

export function partitionOf(userId: string): number {
  return Math.floor(keySlot(userId) / BUCKETS);
}

/** STRING: how often somebody asked within a second: see count.lua. It meets no other key, so any slot will do. */
export function rateKey(key: string): string {
  return `sg:r:${key}`;
}

/** The channel on which watchers are told of a user's events. */
export function userChannel(userId: string): string {
  return `sg:u:${userId}`;
}
