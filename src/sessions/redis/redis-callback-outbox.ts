import { randomUUID } from 'node:crypto';
import { type Redis } from 'ioredis';
import { type Policy } from '../admission.js';
import {
  CallbackOutbox,
  type DeadLetter,
  type OutboxEntry,
  type OutboxState,
  type SessionEvent,
  messageId,
} from '../session-events.js';
import { type Availability, ask, askAll, sendTogether } from './link.js';
import { PARTITIONS, type PartitionKeys, partitionKeys, partitionOf } from './keys.js';
import { readEvent } from './redis-event.js';
import { type StreamEntry } from './redis-scripts.js';

/** GROUP of events.lua. */
export const GROUP = 'callbacks';
/** An instance that said nothing for so long is taken for dead: what it has goes to another. */
const SILENCE_MS = 20_000;
/** Unsettled of one partition; of all of them far more than an instance has hands for, as they fill unevenly. */
const ROOM_PER_PARTITION = 256;
/** How many partitions are asked at once. */
const WIDTH = 32;
/** A partition; with all of them 100,000. */
const MAX_DEAD_LETTERS = 400;
/** How many dead letters one call puts back. */
const MAX_REPLAYED = 1_000;

const ALL_PARTITIONS: readonly number[] = Array.from({ length: PARTITIONS }, (_, at) => at);

/** The outbox on a stream a partition, by one consumer group: see take.lua for how order is kept. */
export class RedisCallbackOutbox extends CallbackOutbox {
  /** What this instance is known by; a process that starts anew is another. */
  private readonly consumer = randomUUID();
  /** What it has taken and not settled, the entries of each partition. */
  private readonly unsettled = new Map<number, Set<string>>();

  constructor(
    private readonly redis: Redis,
    private readonly policy: Policy,
    private readonly availability: Availability,
  ) {
    super();
  }

  override async take(room: number): Promise<OutboxEntry[]> {
    const first = Math.floor(Math.random() * PARTITIONS);
    const entries: OutboxEntry[] = [];
    for (let at = 0; at < PARTITIONS && entries.length < room; at += WIDTH) {
      const share = Math.ceil((room - entries.length) / WIDTH);
      const asked = ALL_PARTITIONS.slice(0, WIDTH).map((offset) => (first + at + offset) % PARTITIONS);
      sendTogether(this.redis);
      const given = await Promise.allSettled(asked.map((partition) => this.takeSome(partition, share)));
      entries.push(...given.flatMap((some) => (some.status === 'fulfilled' ? some.value : [])));
      const failed = given.find((some) => some.status === 'rejected');
      // What was given must be delivered, whatever failed beside it; the next call meets the failure again.
      if (failed && entries.length === 0) throw failed.reason;
      if (failed) return entries;
    }
    return entries;
  }

  override async settle(event: SessionEvent): Promise<void> {
    await this.close(event, '', 0);
  }

  override async bury(event: SessionEvent, tries: number, failure: string): Promise<void> {
    await this.close(event, failure, tries);
  }

  override async failed({ userId, id }: SessionEvent, tries: number): Promise<void> {
    const { outbox } = partitionKeys(partitionOf(userId));
    // As often as it was given, the try to come included: see take.lua.
    await this.ask(this.redis.xclaim(outbox, GROUP, this.consumer, 0, id, 'RETRYCOUNT', tries + 1, 'JUSTID'));
  }

  override async stillDelivering(): Promise<void> {
    const holding = [...this.unsettled].filter(([, ids]) => ids.size > 0);
    await this.askAll(holding, async ([partition, ids]) =>
      this.redis
        .xclaim(partitionKeys(partition).outbox, GROUP, this.consumer, 0, ...ids, 'JUSTID')
        // A Redis that forgot everything has nothing to claim; what was taken is delivered all the same.
        .catch((error: Error) => {
          if (!error.message.startsWith('NOGROUP')) throw error;
        }),
    );
  }

  override async release(): Promise<void> {
    await this.askAll(ALL_PARTITIONS, (partition) =>
      this.redis.sgRelease(partitionKeys(partition).outbox, this.consumer, SILENCE_MS),
    );
    this.unsettled.clear();
  }

  override async deadLetters(limit: number): Promise<DeadLetter[]> {
    let letters: DeadLetter[] = [];
    for (const { deadLetters } of await this.withDeadLetters()) {
      const entries = await this.ask(this.redis.xrange(deadLetters, '-', '+', 'COUNT', limit));
      letters = [...letters, ...entries.map((entry) => this.readDeadLetter(entry))]
        .toSorted((a, b) => a.buriedAt - b.buriedAt)
        .slice(0, limit);
    }
    return letters;
  }

  /** One partition after the other: there may be very many, and requests want their turn. */
  override async replay(
    messageIds: readonly string[] | undefined,
  ): Promise<{ replayed: number; more: boolean }> {
    let replayed = 0;
    for (const { outbox, deadLetters } of await this.withDeadLetters()) {
      const room = MAX_REPLAYED - replayed;
      if (room === 0) return { replayed, more: true };
      const entries = await this.ask(this.redis.xrange(deadLetters, '-', '+'));
      const wanted = entries
        .filter((entry) => messageIds?.includes(messageId(this.readDeadLetter(entry).event)) ?? true)
        .map(([id]) => id);
      if (wanted.length > 0)
        replayed += await this.ask(this.redis.sgReplay(outbox, deadLetters, ...wanted.slice(0, room)));
      if (wanted.length > room) return { replayed, more: true };
    }
    return { replayed, more: false };
  }

  override async state(): Promise<OutboxState> {
    const states = await this.askAll(ALL_PARTITIONS, async (partition) => {
      const { outbox, deadLetters, state } = partitionKeys(partition);
      const [waiting, oldest, dead, lost] = await Promise.all([
        this.redis.xlen(outbox),
        this.redis.xrange(outbox, '-', '+', 'COUNT', 1),
        this.redis.xlen(deadLetters),
        this.redis.hget(state, 'lost'),
      ]);
      return { waiting, oldest: oldest[0]?.[0], deadLetters: dead, lost: Number(lost ?? 0) };
    });
    const oldest = states.flatMap((state) =>
      state.oldest === undefined ? [] : Number.parseInt(state.oldest),
    );
    const total = (figure: 'waiting' | 'deadLetters' | 'lost'): number =>
      states.reduce((sum, state) => sum + state[figure], 0);
    return {
      waiting: total('waiting'),
      oldestAt: oldest.length === 0 ? undefined : Math.min(...oldest),
      deadLetters: total('deadLetters'),
      lost: total('lost'),
    };
  }

  private async takeSome(partition: number, share: number): Promise<OutboxEntry[]> {
    const unsettled = this.unsettled.get(partition) ?? new Set<string>();
    const given = await this.ask(
      this.redis.sgTake(
        partitionKeys(partition).outbox,
        this.consumer,
        unsettled.size,
        Math.min(share, ROOM_PER_PARTITION - unsettled.size),
        SILENCE_MS,
      ),
    );
    const entries = given.filter(([[id]]) => !unsettled.has(id));
    if (entries.length > 0) this.unsettled.set(partition, unsettled);
    for (const [[id]] of entries) unsettled.add(id);
    return entries.map(([entry, times]) => ({ event: readEvent(entry, this.policy), tries: times - 1 }));
  }

  private async close({ userId, id }: SessionEvent, failure: string, tries: number): Promise<void> {
    const partition = partitionOf(userId);
    const { outbox, deadLetters, state } = partitionKeys(partition);
    sendTogether(this.redis);
    await this.ask(this.redis.sgSettle(outbox, deadLetters, state, failure, tries, MAX_DEAD_LETTERS, id));
    this.unsettled.get(partition)?.delete(id);
  }

  private async withDeadLetters(): Promise<PartitionKeys[]> {
    const lengths = await this.askAll(ALL_PARTITIONS, (partition) =>
      this.redis.xlen(partitionKeys(partition).deadLetters),
    );
    return ALL_PARTITIONS.filter((partition) => lengths[partition]! > 0).map(partitionKeys);
  }

  private readDeadLetter(entry: StreamEntry): DeadLetter {
    const [id, [, , , tries, , failure = '']] = entry;
    return {
      event: readEvent(entry, this.policy),
      tries: Number(tries),
      failure,
      buriedAt: Number.parseInt(id),
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
