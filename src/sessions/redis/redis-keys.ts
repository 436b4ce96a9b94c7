import keySlot from 'cluster-key-slot';

/**
 * Every key of the store. A user's records and the index that lists the user must lie in one slot, so that one script
 * can change both; 256 partitions, evenly spaced over Redis Cluster's 16,384 slots, leave any number of shards within
 * one partition of each other. The number is fixed for life: with another one, users would be looked for elsewhere.
 */
export const PARTITIONS = 256;
const SLOTS_PER_PARTITION = 16_384 / PARTITIONS;

export interface UserKeys {
  /** HASH: session id -> record, as record.lua lays it out. */
  readonly records: string;
  /** ZSET: user -> a lower bound of when its earliest record is due. */
  readonly index: string;
}

export interface PartitionKeys {
  readonly index: string;
  /** What the keys of the partition's users begin with. */
  readonly recordsPrefix: string;
}

/** For each partition the smallest number whose hash tag falls on the partition's first slot. */
function findTags(): readonly number[] {
  const tags: number[] = Array.from({ length: PARTITIONS }, () => -1);
  for (let candidate = 0, missing = PARTITIONS; missing > 0; candidate++) {
    const slot = keySlot(String(candidate));
    const partition = slot / SLOTS_PER_PARTITION;
    if (Number.isInteger(partition) && tags[partition] === -1) {
      tags[partition] = candidate;
      missing--;
    }
  }
  return tags;
}

const partitions: readonly PartitionKeys[] = findTags().map((tag) => ({
  index: `sg:{${tag}}:x`,
  recordsPrefix: `sg:{${tag}}:u:`,
}));

export function userKeys(userId: string): UserKeys {
  const { index, recordsPrefix } = partitions[Math.floor(keySlot(userId) / SLOTS_PER_PARTITION)]!;
  return { index, records: recordsPrefix + userId };
}

export function partitionKeys(partition: number): PartitionKeys {
  return partitions[partition]!;
}
