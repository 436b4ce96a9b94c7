import fc from 'fast-check';
import { instant } from './fields.js';

describe('an instant', () => {
  it('is RFC 3339 in UTC with milliseconds, whichever instants were formatted before', () => {
    const year3000 = Date.UTC(3000, 0, 1);
    fc.assert(
      fc.property(fc.array(fc.nat(year3000)), fc.nat(200_000), (instants, recent) => {
        for (const ms of [...instants, recent, recent + 64_000, recent])
          expect(instant(ms)).toBe(new Date(ms).toISOString());
      }),
    );
  });
});
