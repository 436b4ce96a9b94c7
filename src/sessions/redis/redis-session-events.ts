import { type OnApplicationShutdown } from '@nestjs/common';
import { type Policy } from '../admission.js';
import { SessionEvents, type SessionEvent, type Watch, isAfter } from '../session-events.js';
import { partitionKeys, partitionOf, userChannel, userOfChannel } from './keys.js';
import { readEvent } from './layout/layout.js';
import { type RedisLink, type StreamEntry, type Subscriber } from './link.js';
import { type UnreadableValues } from './unreadable.js';

/** MAX_SEEN of events.lua. A ring with fewer entries has not dropped any. */
export const KEPT_EVENTS = 256;
const BEFORE_ALL = '0-0';
/** The delay before a failed read of the ring is repeated. */
const RETRY_MS = 1_000;

interface Watcher {
  readonly listener: (event: SessionEvent) => void;
  /** The id of the last event that the listener got; undefined until its start is known. */
  last: string | undefined;
}

/** The state of a partition that has watchers. */
interface Watched {
  readonly users: Map<string, Set<Watcher>>;
  /** The id of the last event of the ring that all watchers have got. */
  cursor: string;
  /** The read of the ring that is in progress, and whether another one must follow. */
  looking: Promise<void> | undefined;
  again: boolean;
}

/**
 * Live events. A message on the user's channel says that there is a new event. This process then reads the ring of the
 * partition, from the position that it has reached before. It does not trust the content of a message. A lost message
 * does no harm: the next read of the ring, at the latest by `refresh`, finds all new events.
 */
export class RedisSessionEvents extends SessionEvents implements OnApplicationShutdown {
  private readonly partitions = new Map<number, Watched>();
  private subscriber: Subscriber | undefined;

  constructor(
    private readonly link: RedisLink,
    private readonly policy: Policy,
    private readonly unreadable: UnreadableValues,
  ) {
    super();
  }

  /** Disconnects at once, without waiting for outstanding messages. */
  onApplicationShutdown(): void {
    this.subscriber?.close();
    this.partitions.clear();
  }

  override async watch(
    userId: string,
    after: string | undefined,
    listener: (event: SessionEvent) => void,
  ): Promise<Watch> {
    const watcher: Watcher = { listener, last: undefined };
    this.add(userId, watcher);
    const stop = (): void => {
      this.remove(userId, watcher);
    };
    try {
      await this.connectSubscriber().subscribe([this.channelOf(userId)]);
      // Each event from here on has a message, or is in the ring that is read now.
      const entries = await this.readRing(partitionOf(userId), BEFORE_ALL);
      const newest = entries.at(-1)?.[0] ?? BEFORE_ALL;
      watcher.last = newest;
      this.advance(userId, newest);
      if (after === undefined) return { missed: [], complete: true, position: newest, stop };
      // An id that the ring does not have is not ours, or was dropped, or is from before Redis lost its data.
      const isKnown =
        after === BEFORE_ALL ? entries.length < KEPT_EVENTS : entries.some(([id]) => id === after);
      return {
        missed: this.eventsOf(userId, entries).filter(({ id }) => isAfter(id, after)),
        complete: isKnown,
        position: newest,
        stop,
      };
    } catch (error) {
      stop();
      throw error;
    }
  }

  override position(userId: string): string {
    return this.partitions.get(partitionOf(userId))?.cursor ?? BEFORE_ALL;
  }

  override async refresh(): Promise<void> {
    if (this.partitions.size === 0) return;
    await this.subscriber?.reconnectSilent();
    await Promise.all([...this.partitions.keys()].map((partition) => this.look(partition)));
  }

  private add(userId: string, watcher: Watcher): void {
    const partition = partitionOf(userId);
    const watched = this.partitions.get(partition) ?? {
      users: new Map<string, Set<Watcher>>(),
      cursor: BEFORE_ALL,
      looking: undefined,
      again: false,
    };
    this.partitions.set(partition, watched);
    watched.users.set(userId, (watched.users.get(userId) ?? new Set()).add(watcher));
  }

  private remove(userId: string, watcher: Watcher): void {
    const partition = partitionOf(userId);
    const watched = this.partitions.get(partition);
    const watchers = watched?.users.get(userId);
    if (!watchers?.delete(watcher) || watchers.size > 0) return;
    watched!.users.delete(userId);
    if (watched!.users.size === 0) this.partitions.delete(partition);
    this.subscriber?.unsubscribe(this.channelOf(userId));
  }

  /** The first watcher of a partition starts at its newest event. */
  private advance(userId: string, newest: string): void {
    const watched = this.partitions.get(partitionOf(userId));
    if (watched?.cursor === BEFORE_ALL) watched.cursor = newest;
  }

  private channelOf(userId: string): string {
    return userChannel(userId, this.link.sharded);
  }

  private connectSubscriber(): Subscriber {
    this.subscriber ??= this.link.subscribe({
      message: (channel) => void this.look(partitionOf(userOfChannel(channel))),
      ready: () => void this.resume(),
    });
    return this.subscriber;
  }

  private async resume(): Promise<void> {
    const users = [...this.partitions.values()].flatMap((watched) => [...watched.users.keys()]);
    if (users.length === 0) return;
    await this.subscriber!.subscribe(users.map((userId) => this.channelOf(userId))).catch(() => undefined);
    await this.refresh();
  }

  /** Delivers the new events of a partition. One read runs at a time; a call meanwhile makes another follow. */
  private async look(partition: number): Promise<void> {
    const watched = this.partitions.get(partition);
    if (!watched) return;
    if (watched.looking) {
      watched.again = true;
      return watched.looking;
    }
    watched.looking = this.deliverNew(partition, watched).finally(() => {
      watched.looking = undefined;
    });
    return watched.looking;
  }

  private async deliverNew(partition: number, watched: Watched): Promise<void> {
    do {
      watched.again = false;
      try {
        const entries = await this.readRing(partition, watched.cursor);
        for (const event of this.read(entries)) this.deliver(watched, event);
        watched.cursor = entries.at(-1)?.[0] ?? watched.cursor;
      } catch {
        setTimeout(() => void this.look(partition), RETRY_MS).unref();
        return;
      }
    } while (watched.again);
  }

  private deliver({ users }: Watched, event: SessionEvent): void {
    for (const watcher of users.get(event.userId) ?? []) {
      // A watcher whose start is not known yet reads the ring itself.
      if (watcher.last === undefined || !isAfter(event.id, watcher.last)) continue;
      watcher.last = event.id;
      watcher.listener(event);
    }
  }

  private async readRing(partition: number, after: string): Promise<StreamEntry[]> {
    return this.link.xrange(partitionKeys(partition).ring, `(${after}`);
  }

  private eventsOf(userId: string, entries: readonly StreamEntry[]): SessionEvent[] {
    return this.read(entries).filter((event) => event.userId === userId);
  }

  /** The events of these entries, without unreadable ones, which the ring soon drops. */
  private read(entries: readonly StreamEntry[]): SessionEvent[] {
    return entries.flatMap((entry) => {
      const event = readEvent(entry, this.policy);
      if (event === undefined) this.unreadable.met('event');
      return event ?? [];
    });
  }
}
