import { randomUUID } from 'node:crypto';
import { type Policy } from '../admission.js';
import {
  CallbackOutbox,
  type DeadLetter,
  type OutboxEntry,
  type OutboxState,
  type SessionEvent,
  messageId,
  totalOf,
} from '../session-events.js';
import { isAway } from '../session.repository.js';
import { ALL_PARTITIONS, type OutboxKeys, PARTITIONS, outboxKeys, partitionOf, suffixOf } from './keys.js';
import { readEvent } from './layout/layout.js';
import { type RedisLink, type StreamEntry, allOf } from './link.js';
import { LastFigures, askPartitions } from './partitions.js';
import { type ScriptRunner } from './script.js';
import { discard } from './scripts/discard.js';
import { release } from './scripts/release.js';
import { replay } from './scripts/replay.js';
import { settle } from './scripts/settle.js';
import { type GivenEntry, take } from './scripts/take.js';
import { type UnreadableValues } from './unreadable.js';

/** GROUP of group.lua. */
export const GROUP = 'callbacks';
/** An instance that gave no sign of life for this long counts as dead. Another one takes over its events. */
const SILENCE_MS = 20_000;
/** Unsettled events per partition. In all partitions this is far more than an instance delivers at the same time. */
const ROOM_PER_PARTITION = 256;
/** How many partitions are asked at the same time. */
const WIDTH = 32;
/** Per partition; about 100,000 in all. */
const MAX_DEAD_LETTERS = 400;
/** How many dead letters one call puts back at most. */
const MAX_REPLAYED = 1_000;

/** The outbox of one receiver: a stream for each partition, read by one consumer group. take.lua keeps the order. */
export class RedisCallbackOutbox extends CallbackOutbox {
  /** The name of this instance in the consumer group. Each process has a new one. */
  private readonly consumer = randomUUID();
  /** The entries of each partition that this instance has taken and not settled. */
  private readonly unsettled = new Map<number, Set<string>>();
  private readonly figures = new LastFigures<OutboxState>();

  private readonly keys: readonly OutboxKeys[];
  /** The field of a partition's state that counts what this outbox lost: see bounds.lua. */
  private readonly lostField: string;

  constructor(
    receiver: string,
    private readonly link: RedisLink,
    private readonly scripts: ScriptRunner,
    private readonly policy: Policy,
    private readonly unreadable: UnreadableValues,
  ) {
    super();
    this.keys = ALL_PARTITIONS.map((partition) => outboxKeys(partition, receiver));
    this.lostField = `lost${suffixOf(receiver)}`;
  }

  override async take(room: number): Promise<OutboxEntry[]> {
    const first = Math.floor(Math.random() * PARTITIONS);
    const entries: OutboxEntry[] = [];
    /** The servers that did not answer in this call. They are not asked again, which would take another time-out. */
    const silent = new Set<string>();
    let failure: unknown;
    let answered = false;
    for (let at = 0; at < PARTITIONS && entries.length < room; at += WIDTH) {
      const share = Math.ceil((room - entries.length) / WIDTH);
      const asked = ALL_PARTITIONS.slice(0, WIDTH)
        .map((offset) => (first + at + offset) % PARTITIONS)
        .filter((partition) => !silent.has(this.holderOf(partition)));
      const given = await Promise.allSettled(asked.map((partition) => this.takeSome(partition, share)));
      for (const [index, some] of given.entries()) {
        if (some.status === 'fulfilled') {
          answered = true;
          entries.push(...some.value);
          continue;
        }
        failure = some.reason;
        if (isAway(some.reason)) silent.add(this.holderOf(asked[index]!));
      }
      // Taken events must be delivered, even if other partitions failed. The next call meets the failure again.
      if (failure !== undefined && !isAway(failure)) break;
    }
    if (failure !== undefined && entries.length === 0 && !(answered && isAway(failure))) throw failure;
    return entries;
  }

  override async settle(event: SessionEvent): Promise<void> {
    await this.close(event, undefined, 0);
  }

  override async bury(event: SessionEvent, tries: number, failure: string): Promise<void> {
    await this.close(event, failure, tries);
  }

  override async failed({ userId, id }: SessionEvent, tries: number): Promise<void> {
    const { outbox } = this.keysOf(partitionOf(userId));
    // The delivery count includes the next try: see take.lua.
    await this.link.xclaim(outbox, GROUP, this.consumer, [id], tries + 1);
  }

  override async stillDelivering(): Promise<void> {
    const holding = [...this.unsettled].filter(([, ids]) => ids.size > 0);
    await allOf(
      holding.map(async ([partition, ids]) =>
        this.link.xclaim(this.keysOf(partition).outbox, GROUP, this.consumer, [...ids]).catch(
          // A Redis that lost its data has nothing to claim. The taken events are delivered all the same.
          (error: Error) => {
            if (!error.message.startsWith('NOGROUP')) throw error;
          },
        ),
      ),
    );
  }

  override async release(): Promise<void> {
    const args = { consumer: this.consumer, silence: SILENCE_MS };
    await allOf(ALL_PARTITIONS.map(async (partition) => release(this.scripts, this.keysOf(partition), args)));
    this.unsettled.clear();
  }

  override async deadLetters(limit: number): Promise<DeadLetter[]> {
    let letters: DeadLetter[] = [];
    for (const keys of await this.withDeadLetters()) {
      const entries = await this.link.xrange(keys.deadLetters, '-', limit);
      const read = await Promise.all(entries.map(async (entry) => this.readDeadLetter(keys, entry)));
      letters = [...letters, ...read.filter((letter) => letter !== undefined)]
        .toSorted((a, b) => a.buriedAt - b.buriedAt)
        .slice(0, limit);
    }
    return letters;
  }

  /** Handles one partition after the other: there may be very many letters, and requests must run in between. */
  override async replay(
    messageIds: readonly string[] | undefined,
  ): Promise<{ replayed: number; more: boolean }> {
    let replayed = 0;
    for (const keys of await this.withDeadLetters()) {
      const room = MAX_REPLAYED - replayed;
      if (room === 0) return { replayed, more: true };
      const wanted: string[] = [];
      for (const entry of await this.link.xrange(keys.deadLetters, '-')) {
        const letter = await this.readDeadLetter(keys, entry);
        if (letter && (messageIds?.includes(messageId(letter.event)) ?? true)) wanted.push(entry[0]);
      }
      if (wanted.length > 0) replayed += await replay(this.scripts, keys, wanted.slice(0, room));
      if (wanted.length > room) return { replayed, more: true };
    }
    return { replayed, more: false };
  }

  override async state(): Promise<OutboxState> {
    const states = await this.figures.ask(async ({ partition }) => {
      const { outbox, deadLetters, state } = this.keysOf(partition);
      const [waiting, oldest, dead, lost] = await Promise.all([
        this.link.xlen(outbox),
        this.link.xrange(outbox, '-', 1),
        this.link.xlen(deadLetters),
        this.link.hget(state, this.lostField),
      ]);
      const [id] = oldest[0] ?? [];
      return {
        waiting,
        oldestAt: id === undefined ? undefined : Number.parseInt(id),
        deadLetters: dead,
        lost: Number(lost ?? 0),
      };
    });
    return totalOf(states);
  }

  private async takeSome(partition: number, share: number): Promise<OutboxEntry[]> {
    const keys = this.keysOf(partition);
    const unsettled = this.unsettled.get(partition) ?? new Set<string>();
    const given = await take(this.scripts, keys, {
      consumer: this.consumer,
      known: unsettled.size,
      room: Math.min(share, ROOM_PER_PARTITION - unsettled.size),
      silence: SILENCE_MS,
    });
    const fresh = given.filter(([[id]]) => !unsettled.has(id));
    const entries = await Promise.all(fresh.map(async (one) => this.readGiven(keys, one)));
    const readable = entries.filter((entry) => entry !== undefined);
    if (readable.length > 0) this.unsettled.set(partition, unsettled);
    for (const { event } of readable) unsettled.add(event.id);
    return readable;
  }

  private async readGiven(keys: OutboxKeys, [entry, times]: GivenEntry): Promise<OutboxEntry | undefined> {
    const event = readEvent(entry, this.policy);
    if (event) return { event, tries: times - 1 };
    await this.setAside(keys, 'outbox', entry);
    return undefined;
  }

  private async readDeadLetter(keys: OutboxKeys, entry: StreamEntry): Promise<DeadLetter | undefined> {
    const [id, [, , , tries, , failure = '']] = entry;
    const event = readEvent(entry, this.policy);
    if (event) return { event, tries: Number(tries), failure, buriedAt: Number.parseInt(id) };
    await this.setAside(keys, 'dead_letters', entry);
    return undefined;
  }

  /** Sets an unreadable event aside, so that it does not block others. If Redis fails here, a later call does it. */
  private async setAside(
    keys: OutboxKeys,
    stream: 'outbox' | 'dead_letters',
    [entry]: StreamEntry,
  ): Promise<void> {
    this.unreadable.met('event');
    await discard(this.scripts, keys, { stream, entry }).catch(() => undefined);
  }

  private async close(
    { userId, id }: SessionEvent,
    failure: string | undefined,
    tries: number,
  ): Promise<void> {
    const partition = partitionOf(userId);
    const settled = { entry: id, failure, tries, maxLetters: MAX_DEAD_LETTERS };
    await settle(this.scripts, this.keysOf(partition), settled);
    this.unsettled.get(partition)?.delete(id);
  }

  private keysOf(partition: number): OutboxKeys {
    return this.keys[partition]!;
  }

  private holderOf(partition: number): string {
    return this.link.holderOf(this.keysOf(partition).state);
  }

  /** The keys of all partitions with dead letters, without those of a server that is unavailable. */
  private async withDeadLetters(): Promise<OutboxKeys[]> {
    const { given } = await askPartitions(({ partition }) =>
      this.link.xlen(this.keysOf(partition).deadLetters),
    );
    return ALL_PARTITIONS.filter((partition) => (given.get(partition) ?? 0) > 0).map((partition) =>
      this.keysOf(partition),
    );
  }
}
