import { type OnApplicationShutdown } from '@nestjs/common';
import { type Policy } from '../admission.js';
import { SessionEvents, type SessionEvent, type Watch, isAfter } from '../session-events.js';
import { partitionKeys, partitionOf, userChannel, userOfChannel } from './keys.js';
import { readEvent } from './layout/layout.js';
import { type RedisLink, type StreamEntry, type Subscriber } from './link.js';
import { type UnreadableValues } from './unreadable.js';

/** MAX_SEEN of events.lua: a ring that is shorter has lost nothing. */
export const KEPT_EVENTS = 256;
const BEFORE_ALL = '0-0';
/** How soon a look is repeated that failed. */
const RETRY_MS = 1_000;

interface Watcher {
  readonly listener: (event: SessionEvent) => void;
  /** The last event that it was told; undefined until it is known where it begins. */
  last: string | undefined;
}

/** What this process knows of a partition that somebody watches. */
interface Watched {
  readonly users: Map<string, Set<Watcher>>;
  /** The last event of its ring that everybody has been told who watches. */
  cursor: string;
  /** The look that is under way, and whether another is to follow. */
  looking: Promise<void> | undefined;
  again: boolean;
}

/**
 * Live events: a message on the user's channel says that there is something new, and the partition's ring is read from
 * where this process has read it before. What a message says is not believed, and a message that was lost does not
 * matter: the next look, at the latest that of `refresh`, finds all that is new.
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

  /** Disconnected, not quit: nobody waits for what it would still tell. */
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
      // Whatever happens from here on is in a message, or in the ring that is read now.
      const entries = await this.readRing(partitionOf(userId), BEFORE_ALL);
      const newest = entries.at(-1)?.[0] ?? BEFORE_ALL;
      watcher.last = newest;
      this.advance(userId, newest);
      if (after === undefined) return { missed: [], complete: true, position: newest, stop };
      const reachesBack = entries.length < KEPT_EVENTS || !isAfter(entries[0]![0], after);
      return {
        missed: this.eventsOf(userId, entries).filter(({ id }) => isAfter(id, after)),
        // An id that is yet to come is one of another life of this Redis.
        complete: reachesBack && !isAfter(after, newest),
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

  /** The first who watches a partition has nothing behind them. */
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

  /** Reads what is new in a partition and tells it; one look at a time, and another where one was asked for meanwhile. */
  private async look(partition: number): Promise<void> {
    const watched = this.partitions.get(partition);
    if (!watched) return;
    if (watched.looking) {
      watched.again = true;
      return watched.looking;
    }
    watched.looking = this.tellNew(partition, watched).finally(() => {
      watched.looking = undefined;
    });
    return watched.looking;
  }

  private async tellNew(partition: number, watched: Watched): Promise<void> {
    do {
      watched.again = false;
      try {
        const entries = await this.readRing(partition, watched.cursor);
        for (const event of this.read(entries)) this.tell(watched, event);
        watched.cursor = entries.at(-1)?.[0] ?? watched.cursor;
      } catch {
        setTimeout(() => void this.look(partition), RETRY_MS).unref();
        return;
      }
    } while (watched.again);
  }

  private tell({ users }: Watched, event: SessionEvent): void {
    for (const watcher of users.get(event.userId) ?? []) {
      // One that does not know where it begins yet reads the ring itself.
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

  /** Without those that cannot be read, which the ring soon forgets. */
  private read(entries: readonly StreamEntry[]): SessionEvent[] {
    return entries.flatMap((entry) => {
      const event = readEvent(entry, this.policy);
      if (event === undefined) this.unreadable.met('event');
      return event ?? [];
    });
  }
}
