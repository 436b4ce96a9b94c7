const CHUNK_BITS = 12;
const CHUNK_LENGTH = 1 << CHUNK_BITS;
const IN_CHUNK = CHUNK_LENGTH - 1;

/** What can be read of a list by position. */
export abstract class IndexedList<T> implements Iterable<T> {
  abstract get length(): number;

  /** Undefined where there is none, also for positions below 0. */
  abstract get(index: number): T | undefined;

  get last(): T | undefined {
    return this.get(this.length - 1);
  }

  slice(start: number, end = this.length): T[] {
    const entries: T[] = [];
    for (let index = start; index < Math.min(end, this.length); index++) entries.push(this.get(index)!);
    return entries;
  }

  *[Symbol.iterator](): Generator<T, void> {
    for (let index = 0; index < this.length; index++) yield this.get(index)!;
  }

  findIndex(isWanted: (entry: T, index: number) => boolean): number {
    for (let index = 0; index < this.length; index++) if (isWanted(this.get(index)!, index)) return index;
    return -1;
  }

  findLastIndex(isWanted: (entry: T, index: number) => boolean, before = this.length): number {
    let index = Math.min(before, this.length) - 1;
    while (index >= 0 && !isWanted(this.get(index)!, index)) index--;
    return index;
  }

  /** The position of the first entry that fits, where all behind it fit too and all in front of it do not. */
  firstWhere(fits: (entry: T) => boolean): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (fits(this.get(middle)!)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/**
 * A list that grows without a pause. An array of 100,000 entries is copied to another place each time that it outgrows the
 * present one, which takes tens of milliseconds for the dozen lists of a long playlist. This list grows by chunks.
 */
export class LongList<T> extends IndexedList<T> {
  private readonly chunks: T[][] = [];
  /** The position of the first entry in the first chunk. */
  private offset = 0;
  private size = 0;

  static from<T>(entries: Iterable<T>): LongList<T> {
    const list = new LongList<T>();
    for (const entry of entries) list.push(entry);
    return list;
  }

  get length(): number {
    return this.size;
  }

  get(index: number): T | undefined {
    if (index < 0 || index >= this.size) return undefined;
    const position = index + this.offset;
    return this.chunks[position >>> CHUNK_BITS]![position & IN_CHUNK];
  }

  push(entry: T): void {
    const position = this.size + this.offset;
    if ((position & IN_CHUNK) === 0) this.chunks.push([]);
    this.chunks[position >>> CHUNK_BITS]!.push(entry);
    this.size++;
  }

  /** Puts an entry in the place of another one, or behind the last. A list that `from` gave shares all but the last. */
  put(index: number, entry: T): void {
    if (index === this.size) {
      this.push(entry);
      return;
    }
    const position = index + this.offset;
    this.chunks[position >>> CHUNK_BITS]![position & IN_CHUNK] = entry;
  }

  /**
   * A list of its own of the entries from this position on. It shares all chunks but the last, so it costs next to nothing.
   * A list in one chunk keeps nothing of what stood in front: a live stream takes a part of a part for days.
   */
  from(start: number): LongList<T> {
    const list = new LongList<T>();
    const position = Math.min(start, this.size) + this.offset;
    list.chunks.push(...this.chunks.slice(position >>> CHUNK_BITS));
    const newest = list.chunks.pop() ?? [];
    list.offset = list.chunks.length === 0 ? 0 : position & IN_CHUNK;
    list.size = Math.max(0, this.size - start);
    const living = list.chunks.length === 0 ? newest.slice(position & IN_CHUNK) : newest.slice();
    if (living.length > 0) list.chunks.push(living);
    return list;
  }
}
