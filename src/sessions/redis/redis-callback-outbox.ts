import { randomUUID } from 'node:crypto';
import { type Redis } from 'ioredis';
import { type Policy } from '../admission.js';
import {
  CallbackOutbox,
  type DeadLetter,
  EVENTS_KEPT_MS,
  type EventSettings,
  type OutboxEntry,
  type OutboxState,
  type SessionEvent,
  messageId,
} from '../session-events.js';
import { type Availability, ask, askAll } from './redis-connection.js';
import { PARTITIONS, type PartitionKeys, partitionKeys, partitionOf } from './redis-keys.js';
import { type StreamEntry } from './redis-scripts.js';
import { readEntry } from './redis-session-events.js';

/** As events.lua has it. */
const GROUP = 'callbacks';
/** An instance that said nothing for so long is taken for dead: what it has goes to another. */
const SILENCE_MS = 20_000;
/** Of one partition, so that one instance does not hold up what others could deliver. */
const ROOM_PER_PARTITION = 32;
/** How many partitions are asked at once. */
const WIDTH = 32;
/** A partition; with all of them 100,000. */
const MAX_DEAD_LETTERS = 400;

/** The outbox on the logs of the partitions, by one consumer group: see take.lua for how order is kept. */
export class RedisCallbackOutbox extends CallbackOutbox {
  /** What this instance is known by; a process that starts anew is another. */
  private readonly consumer = randomUUID();
  /** What it has taken and not settled: for each partition the text of each entry. */
  private readonly taken = new Map<number, Map<string, string>>();

  constructor(
    private readonly redis: Redis,
    private readonly policy: Policy,
    private readonly availability: Availability,
    private readonly settings: EventSettings,
  ) {
    super();
  }

  override async take(room: number): Promise<OutboxEntry[]> {
    const first = Math.floor(Math.random() * PARTITIONS);
    const entries: OutboxEntry[] = [];
    for (let at = 0; at < PARTITIONS; at += WIDTH) {
      const asked = Array.from({ length: WIDTH }, (_, offset) => (first + at + offset) % PARTITIONS);
      const left = Math.max(0, room - entries.length);
      const share = Math.min(ROOM_PER_PARTITION, Math.ceil(left / WIDTH));
      const given = await this.askAll(asked, (partition) => this.takeSome(partition, share));
      entries.push(...given.flat());
    }
    return entries;
  }

  override async settle(events: readonly SessionEvent[]): Promise<void> {
    const byPartition = Map.groupBy(events, ({ userId }) => partitionOf(userId));
    await this.askAll([...byPartition.keys()], async (partition) => {
      const ids = byPartition.get(partition)!.map(({ id }) => id);
      await this.redis.xack(partitionKeys(partition).log, GROUP, ...ids);
      for (const id of ids) this.taken.get(partition)?.delete(id);
    });
  }

  override async failed({ userId, id }: SessionEvent, tries: number): Promise<void> {
    const { log } = partitionKeys(partitionOf(userId));
    await this.ask(this.redis.xclaim(log, GROUP, this.consumer, 0, id, 'RETRYCOUNT', tries, 'JUSTID'));
  }

  override async stillDelivering(): Promise<void> {
    await this.claimAll('JUSTID');
  }

  override async release(): Promise<void> {
    await this.claimAll('IDLE', SILENCE_MS, 'JUSTID');
  }

  override async bury(event: SessionEvent, tries: number, failure: string): Promise<void> {
    const partition = partitionOf(event.userId);
    const { log, deadLetters, state } = partitionKeys(partition);
    const text = this.taken.get(partition)?.get(event.id);
    if (text === undefined) return;
    await this.ask(
      this.redis.sgBury(log, deadLetters, state, event.id, text, tries, failure, MAX_DEAD_LETTERS),
    );
    this.taken.get(partition)?.delete(event.id);
  }

  override async deadLetters(limit: number): Promise<DeadLetter[]> {
    const letters = await this.readDeadLetters(limit);
    return letters.map(({ letter }) => letter).slice(0, limit);
  }

  override async replay(ids: readonly string[] | undefined): Promise<number> {
    const letters = await this.readDeadLetters(MAX_DEAD_LETTERS);
    const wanted = letters.filter(({ letter }) => ids?.includes(messageId(letter.event)) ?? true);
    const replayed = await this.askAll(wanted, ({ keys, entryId, text }) =>
      this.redis.sgReplay(keys.log, keys.deadLetters, entryId, text),
    );
    return replayed.reduce<number>((sum, one) => sum + one, 0);
  }

  override async state(): Promise<OutboxState> {
    // The log is there for watchers as well.
    if (!this.settings.outbox) return { waiting: 0, oldestAt: undefined, deadLetters: 0, lost: 0 };
    const partitions = Array.from({ length: PARTITIONS }, (_, at) => at);
    const states = await this.askAll(partitions, (partition) => this.stateOf(partitionKeys(partition)));
    const oldest = states.flatMap(({ oldestAt }) => oldestAt ?? []);
    const total = (figure: 'waiting' | 'deadLetters' | 'lost'): number =>
      states.reduce((sum, state) => sum + state[figure], 0);
    return {
      waiting: total('waiting'),
      oldestAt: oldest.length === 0 ? undefined : Math.min(...oldest),
      deadLetters: total('deadLetters'),
      lost: total('lost'),
    };
  }

  private async takeSome(partition: number, room: number): Promise<OutboxEntry[]> {
    const known = this.taken.get(partition) ?? new Map<string, string>();
    const [fresh, again] = await this.redis.sgTake(
      partitionKeys(partition).log,
      this.consumer,
      known.size,
      Math.max(0, room - known.size),
      SILENCE_MS,
      EVENTS_KEPT_MS,
    );
    const given = [
      ...fresh.map((entry) => ({ entry, tries: 0 })),
      ...again.map(([entry, times]) => ({ entry, tries: times - 1 })),
    ].filter(({ entry: [id] }) => !known.has(id));
    if (given.length > 0) this.taken.set(partition, known);
    return given.map(({ entry, tries }) => {
      const { event, text } = readEntry(entry, this.policy);
      known.set(event.id, text);
      return { event, tries };
    });
  }

  private async claimAll(...options: (string | number)[]): Promise<void> {
    const holding = [...this.taken].filter(([, entries]) => entries.size > 0);
    await this.askAll(holding, async ([partition, entries]) =>
      this.redis
        .call('XCLAIM', partitionKeys(partition).log, GROUP, this.consumer, 0, ...entries.keys(), ...options)
        // A Redis that forgot everything has nothing to claim; what was taken is delivered all the same.
        .catch((error: Error) => {
          if (!error.message.startsWith('NOGROUP')) throw error;
        }),
    );
  }

  private async readDeadLetters(
    perPartition: number,
  ): Promise<{ letter: DeadLetter; keys: PartitionKeys; entryId: string; text: string }[]> {
    const partitions = Array.from({ length: PARTITIONS }, (_, at) => partitionKeys(at));
    const found = await this.askAll(partitions, async (keys) =>
      (await this.redis.xrange(keys.deadLetters, '-', '+', 'COUNT', perPartition)).map((entry) => ({
        keys,
        entryId: entry[0],
        text: entry[1][1]!,
        letter: this.readDeadLetter(entry),
      })),
    );
    return found.flat().toSorted((a, b) => a.letter.buriedAt - b.letter.buriedAt);
  }

  private readDeadLetter([entryId, fields]: StreamEntry): DeadLetter {
    const [, , , id = '', , tries, , failure = ''] = fields;
    const { event } = readEntry([id, fields], this.policy);
    return { event, tries: Number(tries), failure, buriedAt: Number.parseInt(entryId) };
  }

  private async stateOf({ log, state, deadLetters }: PartitionKeys): Promise<OutboxState> {
    const [lost, dead, groups] = await Promise.all([
      this.redis.hget(state, 'lost'),
      this.redis.xlen(deadLetters),
      // No log yet is no group yet.
      this.redis.xinfo('GROUPS', log).catch(() => []) as Promise<unknown[][]>,
    ]);
    const group = groups.find((fields) => field(fields, 'name') === GROUP);
    const [given = 0, oldestGiven] = group ? await this.redis.xpending(log, GROUP) : [];
    const after = group ? `(${String(field(group, 'last-delivered-id'))}` : '-';
    const notGiven = await this.redis.xrange(log, after, '+');
    const oldest = (oldestGiven as string | null | undefined) ?? notGiven[0]?.[0];
    return {
      waiting: Number(given) + notGiven.length,
      oldestAt: oldest === undefined ? undefined : Number.parseInt(oldest),
      deadLetters: dead,
      lost: Number(lost ?? 0),
    };
  }

  private async ask<T>(reply: Promise<T>): Promise<T> {
    return ask(this.availability, reply);
  }

  private async askAll<K, T>(items: readonly K[], command: (item: K) => Promise<T>): Promise<T[]> {
    return askAll(
      this.availability,
      this.redis,
      items.map((item) => () => command(item)),
    );
  }
}

/** A reply that names its values has them in turn. */
function field(fields: readonly unknown[], name: string): unknown {
  return fields[fields.indexOf(name) + 1];
}
