import keySlot from 'cluster-key-slot';
import { wireOf } from './link.js';

/**
 * Every key of the store. What one script changes together must lie in one slot of Redis Cluster: so all keys of a
 * partition carry one hash tag, and 256 partitions, evenly spaced over the 16,384 slots, leave any number of shards
 * within one partition of each other. Within a partition users are spread over buckets, which keeps hashes and indexes
 * small: an index of up to 128 users takes a third of the memory (docs/decisions/0006-memory.md). Both numbers are
 * fixed for life: with others, users would be looked for elsewhere.
 */
export const PARTITIONS = 256;
const BUCKETS = 64;

/**
 * The keys that a script is given, in the order of its KEYS. All scripts about a user are given the same, and so are all
 * about a partition: no call can name them in another order, and their text in Redis's protocol is made once.
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
  /** Any of them: all are in one slot. */
  readonly first: string;
  readonly count: number;
  /** Their number and they themselves, in Redis's protocol. */
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
  /** HASH: counts of sessions, how the sweep stands, the pause: see events.lua. */
  readonly state: string;
  /** STREAM: the last events, for watchers: see events.lua. */
  readonly ring: string;
  /** STREAM: the events for the receiver of CALLBACK_URL. The outboxes of other receivers are `OUTBOX:RECEIVER`. */
  readonly outbox: string;
  /** STREAM: the events that could not be delivered to that receiver. Those of another: `DEAD_LETTERS:RECEIVER`. */
  readonly deadLetters: string;
  /** ZSET: bucket -> a lower bound of when its earliest record is due. */
  readonly buckets: string;
  /** HASH: values that could not be read: see quarantine.lua. */
  readonly aside: string;
  /** What the keys of the buckets begin with: HASH user -> records, as layout/ has them. */
  readonly recordsPrefix: string;
  /** What the indexes of the buckets begin with: ZSET user -> a lower bound of when its earliest record is due. */
  readonly indexPrefix: string;
  /** What the channels of its users begin with in a cluster: they lie in the slot of the partition, as a sharded message must. */
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

/** `default` is the receiver of CALLBACK_URL. Release 0.1.0, which may run beside this one, has no other. */
export function outboxKeys(partition: number, receiver: string): OutboxKeys {
  const keys = partitionKeys(partition);
  if (receiver === 'default') return keys;
  const { state, ring, buckets, aside } = keys;
  const [outbox, deadLetters] = [`${keys.outbox}:${receiver}`, `${keys.deadLetters}:${receiver}`];
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
  /** Made when it is asked for: of 16,384 buckets a small service needs few. */
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

const partitions: readonly PartitionKeys[] = findTags().map(
  (tag, partition) => new PartitionKeys(partition, tag),
);
export const ALL_PARTITIONS: readonly number[] = partitions.map((_, partition) => partition);

/** Every pair of partition and bucket, once: the slot of a user's id is as good a number as any to choose it by. */
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

/** STRING: how often somebody asked within a second: see count.lua. It meets no other key, so any slot will do. */
export function rateKeys(key: string): ScriptKeys<'rate'> {
  return new ScriptKeys('rate', { count: `sg:r:${key}` });
}

/**
 * The channel on which watchers are told of a user's events; `sharded` in a cluster. On a single server it keeps the name of
 * release 0.1.0, whose instances may run beside this one (docs/decisions/0016-cluster.md).
 */
export function userChannel(userId: string, sharded: boolean): string {
  return (sharded ? userKeys(userId).ofPartition.channelPrefix : 'sg:u:') + userId;
}

/** The user of a channel. */
export function userOfChannel(channel: string): string {
  return channel.replace(/^sg:(?:u|\{\d+\}:c):/, '');
}

/** A channel like those of users that nobody listens on, because no user has such an id. */
export function probeChannel({ channelPrefix }: PartitionKeys, sharded: boolean): string {
  return `${sharded ? channelPrefix : 'sg:u:'}.`;
}

/** STRING: the instance that reports the metrics of the whole system: see elect.lua. It meets no other key. */
export const REPORTER_KEYS = new ScriptKeys('reporter', { holder: 'sg:reporter' });

/** STRING: the newest layout that any instance may write: see layout-choice.ts. */
export const LAYOUT_KEY = 'sg:layout';
