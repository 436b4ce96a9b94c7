import fc from 'fast-check';
import { LongText, decodeInTurns } from './long-texts.js';

describe('a text in pieces', () => {
  it('has each piece of the whole text, wherever it begins and ends', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), fc.nat(40), fc.nat(40), fc.nat(40), (pieces, from, to, other) => {
        const [text, whole] = [new LongText(pieces), pieces.join('')];
        expect(text).toHaveLength(whole.length);
        expect(text.slice(other, other + 2)).toBe(whole.slice(other, other + 2));
        expect(text.slice(from, to)).toBe(to < from ? '' : whole.slice(from, to));
        const start = Math.min(from, whole.length);
        expect(text.from(start).toString()).toBe(whole.slice(start));
        expect(text.equals(new LongText([...pieces]))).toBe(true);
        expect(text.equals(new LongText([...pieces, 'more']))).toBe(false);
      }),
    );
  });

  it('is decoded in pieces that end with a line each, whatever came in one chunk', async () => {
    const line = `${'é'.repeat(99)}\n`;
    const whole = line.repeat(4_000) + 'the end';
    const bytes = Buffer.from(whole);
    const text = await decodeInTurns([bytes.subarray(0, 300_001), bytes.subarray(300_001)]);
    expect(text.toString()).toBe(whole);
    expect(text.pieces.length).toBeGreaterThan(2);
    for (const piece of text.pieces.slice(0, -1)) {
      expect(piece.endsWith('\n')).toBe(true);
      expect(piece.length).toBeLessThan(150_000);
    }
    expect((await decodeInTurns([])).toString()).toBe('');
  });
});
