import fc from 'fast-check';
import { NumberRows } from './number-rows.js';

const rowsOf = (table: NumberRows): number[][] =>
  Array.from({ length: table.length }, (_, row) => [table.get(row, 0), table.get(row, 1)]);
const pairs = (length: number): number[][] => Array.from({ length }, (_, at) => [at, 2 * at]);

describe('a table of numbers', () => {
  it('has the rows that were pushed, across its chunks', () => {
    for (const length of [0, 1, 15, 16, 17, 511, 512, 513, 2_000]) {
      const table = new NumberRows(2);
      for (const pair of pairs(length)) table.push(...pair);
      expect(rowsOf(table)).toEqual(pairs(length));
      expect([...table.column(1)]).toEqual(pairs(length).map(([, second]) => second));
      expect(table.column(0).get(length)).toBeUndefined();
      expect(table.column(0).get(-1)).toBeUndefined();
    }
  });

  it('shares its chunks with a part of it, and neither changes the other', () => {
    fc.assert(
      fc.property(fc.nat(1_500), fc.nat(1_500), fc.nat(1_500), fc.nat(700), (one, other, rest, more) => {
        const [start, end] = [Math.min(one, other), Math.max(one, other)];
        const table = new NumberRows(2);
        for (const pair of pairs(end + rest)) table.push(...pair);
        const part = table.slice(start, end, [[1, 5]]);
        for (const pair of pairs(more)) part.push(...pair);
        table.push(7, 7);
        const expected = [
          ...pairs(end)
            .slice(start)
            .map(([first, second]) => [first, second! + 5]),
          ...pairs(more),
        ];
        if (expected.length > 0) {
          part.set(0, 1, 99);
          expected[0] = [expected[0]![0]!, 99];
        }
        expect(rowsOf(part)).toEqual(expected);
        expect(rowsOf(table)).toEqual([...pairs(end + rest), [7, 7]]);
        // A part of a part.
        const half = Math.floor(part.length / 2);
        expect(rowsOf(part.slice(half))).toEqual(expected.slice(half));
      }),
      { numRuns: 50 },
    );
  });
});
