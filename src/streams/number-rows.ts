import { IndexedList } from './long-list.js';

const ROW_BITS = 9;
const ROWS_A_CHUNK = 1 << ROW_BITS;
const IN_CHUNK = ROWS_A_CHUNK - 1;
/** Most playlists are short. */
const FIRST_ROWS = 16;

/**
 * A table of numbers that grows by rows. Its memory is outside the heap of objects: garbage collection copies and marks every
 * object that lives, so 100,000 objects of a long playlist held up all requests for 10 to 60 ms.
 */
export class NumberRows {
  private chunks: Float64Array[] = [];
  /** The position of the first row in the first chunk. */
  private offset = 0;
  private size = 0;
  /** What is added to each number of a column, so that a part of a table can be moved without writing it again. */
  private added: Float64Array;

  constructor(private readonly columns: number) {
    this.added = new Float64Array(columns);
  }

  get length(): number {
    return this.size;
  }

  /** Of a row that there is. */
  get(row: number, column: number): number {
    const position = row + this.offset;
    const at = (position & IN_CHUNK) * this.columns + column;
    return this.chunks[position >>> ROW_BITS]![at]! + this.added[column]!;
  }

  /** For a table that `slice` gave: only in its first row, and in rows that were pushed since. */
  set(row: number, column: number, value: number): void {
    const position = row + this.offset;
    const at = (position & IN_CHUNK) * this.columns + column;
    this.chunks[position >>> ROW_BITS]![at] = value - this.added[column]!;
  }

  push(...row: readonly number[]): void {
    const position = this.size++ + this.offset;
    this.makeRoom(position);
    const chunk = this.chunks[position >>> ROW_BITS]!;
    const at = (position & IN_CHUNK) * this.columns;
    for (let column = 0; column < this.columns; column++)
      chunk[at + column] = row[column]! - this.added[column]!;
  }

  swap(one: number, other: number): void {
    for (let column = 0; column < this.columns; column++) {
      const number = this.get(one, column);
      this.set(one, column, this.get(other, column));
      this.set(other, column, number);
    }
  }

  /**
   * A table of its own of the rows from one up to another, with something added to each number of some columns. It shares all
   * chunks but the first and the last, so it costs next to nothing. A table in one chunk keeps no other rows.
   */
  slice(
    start: number,
    end = this.size,
    added: readonly (readonly [column: number, by: number])[] = [],
  ): NumberRows {
    const rows = new NumberRows(this.columns);
    const position = start + this.offset;
    const behind = end + this.offset + IN_CHUNK;
    rows.chunks = this.chunks.slice(position >>> ROW_BITS, behind >>> ROW_BITS);
    rows.offset = rows.chunks.length > 1 ? position & IN_CHUNK : 0;
    rows.size = end - start;
    const [first, last] = [rows.chunks[0], rows.chunks.length - 1];
    if (first !== undefined && last === 0) {
      const from = (position & IN_CHUNK) * this.columns;
      rows.chunks[0] = first.slice(from, from + rows.size * this.columns);
    } else if (first !== undefined) {
      rows.chunks[0] = first.slice();
      rows.chunks[last] = rows.chunks[last]!.slice();
    }
    rows.added = this.added.slice();
    for (const [column, by] of added) rows.added[column]! += by;
    return rows;
  }

  column(column: number): IndexedList<number> {
    return new Column(this, column);
  }

  private makeRoom(position: number): void {
    const { chunks, columns } = this;
    const chunk = position >>> ROW_BITS;
    const needed = ((position & IN_CHUNK) + 1) * columns;
    const present = chunks[chunk];
    if (present !== undefined && present.length >= needed) return;
    const rows =
      chunk > 0 ? ROWS_A_CHUNK : Math.min(ROWS_A_CHUNK, Math.max(FIRST_ROWS, (2 * needed) / columns));
    const grown = new Float64Array(rows * columns);
    if (present !== undefined) grown.set(present);
    chunks[chunk] = grown;
  }
}

class Column extends IndexedList<number> {
  constructor(
    private readonly rows: NumberRows,
    private readonly column: number,
  ) {
    super();
  }

  get length(): number {
    return this.rows.length;
  }

  get(index: number): number | undefined {
    return index < 0 || index >= this.rows.length ? undefined : this.rows.get(index, this.column);
  }
}
