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
        const places = first.map((text, at) => {
          const place = texts.push(text);
          if (at % 7 === 0) expect(texts.get(place, text.length)).toBe(text);
          return place;
        });
        const start = first.length === 0 ? 0 : from % first.length;
        const { texts: part, dropped } = texts.from(places[start] ?? 0);
        const added = later.map((text) => part.push(text));
        first.forEach((text, at) => {
          expect(texts.get(places[at]!, text.length)).toBe(text);
          if (at >= start) expect(part.get(places[at]! - dropped, text.length)).toBe(text);
        });
        later.forEach((text, at) => {
          expect(part.get(added[at]!, text.length)).toBe(text);
        });
      }),
    );
  });
});
