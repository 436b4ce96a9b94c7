import keySlot from 'cluster-key-slot';
import { DEFAULT_RECEIVER } from '../session-events.js';
import { wireOf } from './link.js';

/**
 * This file names all keys of the store. All keys that one script changes must lie in one slot of Redis Cluster, so
 * the keys of a partition have the same hash tag. The 256 partitions are evenly spaced over the 16,384 slots, so that
 * with any number of shards the shards differ by one partition at most. Within a partition, users are spread over
 * buckets to keep hashes and indexes small: an index of up to 128 users takes a third of the memory
 * (docs/decisions/0006-memory.md). Neither number may ever change: existing users would be looked up under other keys.
 */
export const PARTITIONS = 256;
const BUCKETS = 64;

/**
 * The keys of a script, in the order of its KEYS. All scripts about a user have the same keys, and so have all scripts
 * about a partition. So no call can pass them in another order, and they are encoded in Redis's protocol only once.
 */
export const SCRIPT_KEYS = {
  user: ['records', 'index', 'ring', 'state', 'buckets', 'outbox', 'aside'],
  partition: ['state', 'ring', 'buckets', 'outbox', 'deadLetters', 'aside'],
  rate: ['count'],
  reporter: ['holder'],
} as const;
type Subject = keyof typeof SCRIPT_KEYS;

/** The keys of one subject. */
export class ScriptKeys<S extends Subject = Subject> {
  /** One of the keys. It stands for all, because all are in the same slot. */
  readonly first: string;
  readonly count: number;
  /** The number of keys and the keys, in Redis's protocol. */
  readonly wire: string;

  constructor(
    readonly subject: S,
    keys: Readonly<Record<(typeof SCRIPT_KEYS)[S][number], string>>,
  ) {
    const names: readonly (typeof SCRIPT_KEYS)[S][number][] = SCRIPT_KEYS[subject];
    this.first = keys[names[0]!];
    this.count = names.length;
    this.wire = wireOf(names.length) + names.map((name) => wireOf(keys[name])).join('');
  }
}

export class PartitionKeys {
  /** HASH: counts of sessions, the state of the sweep, and the pause: see events.lua. */
  readonly state: string;
  /** STREAM: the latest events, for watchers: see events.lua. */
  readonly ring: string;
  /** STREAM: the events for the receiver of CALLBACK_URL. The outboxes of other receivers are `OUTBOX:RECEIVER`. */
  readonly outbox: string;
  /** STREAM: the events that could not be delivered to that receiver. Those of another: `DEAD_LETTERS:RECEIVER`. */
  readonly deadLetters: string;
  /** ZSET: bucket -> a lower bound of when its earliest record is due. */
  readonly buckets: string;
  /** HASH: the quarantine of unreadable values: see quarantine.lua. */
  readonly aside: string;
  /** The prefix of the records of a bucket: HASH user -> records, in the layouts of layout/. */
  readonly recordsPrefix: string;
  /** The prefix of the index of a bucket: ZSET user -> a lower bound of when its earliest record is due. */
  readonly indexPrefix: string;
  /** The prefix of its users' channels in a cluster. A sharded channel must lie in the slot of the partition. */
  readonly channelPrefix: string;
  readonly script: ScriptKeys<'partition'>;

  constructor(
    readonly partition: number,
    tag: number,
  ) {
    this.state = `sg:{${tag}}:s`;
    this.ring = `sg:{${tag}}:e`;
    this.outbox = `sg:{${tag}}:o`;
    this.deadLetters = `sg:{${tag}}:d`;
    this.buckets = `sg:{${tag}}:x`;
    this.aside = `sg:{${tag}}:q`;
    this.recordsPrefix = `sg:{${tag}}:u:`;
    this.indexPrefix = `sg:{${tag}}:x:`;
    this.channelPrefix = `sg:{${tag}}:c:`;
    this.script = new ScriptKeys('partition', this);
  }
}

/** The keys of a partition for the scripts and commands about the outbox of one receiver. */
export interface OutboxKeys extends Pick<PartitionKeys, 'state' | 'outbox' | 'deadLetters'> {
  readonly script: ScriptKeys<'partition'>;
}

/**
 * The suffix of the keys and of the field `lost` of a receiver. The receiver of CALLBACK_URL has none: release 0.1.0, which
 * may run beside this one, has no other receiver.
 */
export function suffixOf(receiver: string): string {
  return receiver === DEFAULT_RECEIVER ? '' : `:${receiver}`;
}

export function outboxKeys(partition: number, receiver: string): OutboxKeys {
  const keys = partitionKeys(partition);
  const { state, ring, buckets, aside } = keys;
  const suffix = suffixOf(receiver);
  const [outbox, deadLetters] = [keys.outbox + suffix, keys.deadLetters + suffix];
  const script = new ScriptKeys('partition', { state, ring, buckets, outbox, deadLetters, aside });
  return { state, outbox, deadLetters, script };
}

/** The keys of the users of one bucket. */
export function bucketKeys(
  { recordsPrefix, indexPrefix }: PartitionKeys,
  bucket: number,
): { readonly records: string; readonly index: string } {
  return { records: `${recordsPrefix}${bucket}`, index: `${indexPrefix}${bucket}` };
}

export class UserKeys {
  readonly records: string;
  readonly index: string;
  /** Created on first use, because a small service uses few of the 16,384 buckets. */
  private made: ScriptKeys<'user'> | undefined;

  constructor(
    readonly ofPartition: PartitionKeys,
    bucket: number,
  ) {
    const { records, index } = bucketKeys(ofPartition, bucket);
    this.records = records;
    this.index = index;
  }

  get script(): ScriptKeys<'user'> {
    return (this.made ??= this.make());
  }

  private make(): ScriptKeys<'user'> {
    const { records, index } = this;
    const { ring, state, buckets, outbox, aside } = this.ofPartition;
    return new ScriptKeys('user', { records, index, ring, state, buckets, outbox, aside });
  }
}

/** For each partition, the smallest number that is a hash tag of the partition's first slot. */
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

const partitions: readonly PartitionKeys[] = findTags().map(
  (tag, partition) => new PartitionKeys(partition, tag),
);
export const ALL_PARTITIONS: readonly number[] = partitions.map((_, partition) => partition);

/** All pairs of a partition and a bucket. The slot of a user's id is the index of the user's pair. */
const buckets: readonly UserKeys[] = partitions.flatMap((keys) =>
  Array.from({ length: BUCKETS }, (_, bucket) => new UserKeys(keys, bucket)),
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

/** STRING: the requests of a client within a second: see count.lua. No script combines it with other keys. */
export function rateKeys(key: string): ScriptKeys<'rate'> {
  return new ScriptKeys('rate', { count: `sg:r:${key}` });
}

/**
 * The channel that notifies watchers of a user's events; `sharded` is true in a cluster. On a single server it has the
 * same name as in release 0.1.0, whose instances may run beside this one (docs/decisions/0016-cluster.md).
 */
export function userChannel(userId: string, sharded: boolean): string {
  return (sharded ? userKeys(userId).ofPartition.channelPrefix : 'sg:u:') + userId;
}

/** The user of a channel. */
export function userOfChannel(channel: string): string {
  return channel.replace(/^sg:(?:u|\{\d+\}:c):/, '');
}

/** A channel of the same form as those of users, but without subscribers, because `.` is no id of a user. */
export function probeChannel({ channelPrefix }: PartitionKeys, sharded: boolean): string {
  return `${sharded ? channelPrefix : 'sg:u:'}.`;
}

/** STRING: the instance that reports the metrics of the whole system: see elect.lua. It meets no other key. */
export const REPORTER_KEYS = new ScriptKeys('reporter', { holder: 'sg:reporter' });

/** ZSET: the entries of the audit, by their instant: see redis-audit-log.ts. It meets no other key. */
export const AUDIT_KEY = 'sg:audit';

/** STRING: the newest layout that any instance may write: see layout-choice.ts. */
export const LAYOUT_KEY = 'sg:layout';
