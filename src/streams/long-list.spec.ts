import fc from 'fast-check';
import { LongList } from './long-list.js';

const numbers = (length: number): number[] => Array.from({ length }, (_, at) => at);

describe('a long list', () => {
  it('has the entries of an array, across its chunks', () => {
    fc.assert(
      fc.property(fc.nat(9_000), fc.nat(9_500), fc.nat(9_500), (length, one, other) => {
        const [array, list] = [numbers(length), LongList.from(numbers(length))];
        expect(list).toHaveLength(length);
        expect(list.last).toBe(array.at(-1));
        expect(list.get(one)).toBe(array[one]);
        expect(list.get(-1)).toBeUndefined();
        expect(list.slice(one, other)).toEqual(array.slice(one, other));
        expect(list.firstWhere((entry) => entry >= one)).toBe(Math.min(one, length));
        expect(list.findIndex((entry) => entry === one)).toBe(array.indexOf(one));
        expect(list.findLastIndex((entry) => entry < one, other)).toBe(
          array.slice(0, other).findLastIndex((entry) => entry < one),
        );
      }),
      { numRuns: 30 },
    );
  });

  it('shares its chunks with a later part of it, and neither changes the other', () => {
    fc.assert(
      fc.property(fc.nat(9_000), fc.nat(9_500), fc.nat(5_000), (length, start, added) => {
        const list = LongList.from(numbers(length));
        const part = list.from(start);
        for (const entry of numbers(added)) part.push(entry);
        list.push(-1);
        if (part.length > 0) part.put(part.length - 1, -2);
        const expected = [...numbers(length).slice(start), ...numbers(added)];
        if (expected.length > 0) expected[expected.length - 1] = -2;
        expect([...part]).toEqual(expected);
        expect([...list]).toEqual([...numbers(length), -1]);
      }),
      { numRuns: 30 },
    );
  });
});
