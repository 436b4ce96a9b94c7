import fc from 'fast-check';
import { Texts } from './texts.js';

const some = fc.array(
  fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.constant('the same'),
    fc.nat(3_000).map((length) => 'x'.repeat(length)),
  ),
  { maxLength: 60, size: 'max' },
);

describe('texts in blocks', () => {
  it('are what was added, also read in between and from a later one on', () => {
    fc.assert(
      fc.property(some, some, fc.nat(), (first, later, from) => {
        const texts = new Texts();
        const seen: string[] = [];
        const places = first.map((text, at) => {
          const place = texts.push(text);
          if (at % 7 === 0) seen.push(texts.get(place, text.length));
          return place;
        });
        expect(seen).toEqual(first.filter((_, at) => at % 7 === 0));
        const start = first.length === 0 ? 0 : from % first.length;
        const { texts: part, dropped } = texts.from(places[start] ?? 0);
        const added = later.map((text) => part.push(text));
        const got = (of: Texts, before: number) =>
          first.map((text, at) => (at < start ? text : of.get(places[at]! - before, text.length)));
        expect(got(texts, 0)).toEqual(first);
        expect(got(part, dropped)).toEqual(first);
        later.forEach((text, at) => {
          expect(part.get(added[at]!, text.length)).toBe(text);
        });
      }),
    );
  });
});
