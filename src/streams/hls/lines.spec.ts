import fc from 'fast-check';
import { LineScanner } from './lines.js';

const attributesOf = (list: string): [string, string, boolean][] => {
  const line = new LineScanner(`#EXT-X-TAG:${list}`);
  line.advance();
  return [...line.attributes()].map(({ name, value, quoted }) => [name, value, quoted]);
};

describe('a list of attributes', () => {
  it('is read up to its 1,000th', () => {
    const list = Array.from({ length: 2_000 }, (_, at) => `A${at}=${at}`);
    expect(attributesOf(list.join(',')).map(([name]) => name)).toEqual(
      list.slice(0, 1_000).map((one) => one.split('=')[0]),
    );
  });
});

describe('the lines of a playlist', () => {
  it.each([
    ['line feeds', '#EXTM3U\n#EXTINF:4,\na.ts\n'],
    ['carriage returns and line feeds', '#EXTM3U\r\n#EXTINF:4,\r\na.ts\r\n'],
    ['carriage returns', '#EXTM3U\r#EXTINF:4,\ra.ts\r'],
    ['blank lines and white space', '\n  \n#EXTM3U \n\t#EXTINF : 4,\n\n  a.ts\t\n\n'],
    ['no end of the last line', '#EXTM3U\n#EXTINF:4,\na.ts'],
  ])('are the same with %s', (_, text) => {
    const line = new LineScanner(text);
    const seen: string[][] = [];
    while (line.advance()) seen.push([line.tag, line.value()]);
    expect(seen).toEqual([
      ['#EXTM3U', ''],
      ['#EXTINF', '4,'],
      ['', 'a.ts'],
    ]);
  });

  it('cover each character of the text exactly once', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('\n', '\r', ' ', '#EXT', '#', 'a', ':', '=', '"', 'é')),
        (parts) => {
          const text = parts.join('');
          const line = new LineScanner(text);
          let end = 0;
          while (line.advance()) {
            expect(text.slice(end, line.from).trim()).toBe('');
            expect(text.slice(line.to, line.next).trim()).toBe('');
            expect(line.from).toBeLessThan(line.to);
            end = line.next;
          }
          expect(text.slice(end).trim()).toBe('');
        },
      ),
    );
  });
});

describe('an attribute list', () => {
  it('is split as RFC 8216bis, 4.2, specifies', () => {
    expect(attributesOf('A=1,B="x,y=z",C=1280x720,D=0xAb,E=ENUM')).toEqual([
      ['A', '1', false],
      ['B', 'x,y=z', true],
      ['C', '1280x720', false],
      ['D', '0xAb', false],
      ['E', 'ENUM', false],
    ]);
  });

  it('may have apostrophes in its values', () => {
    expect(attributesOf(`NAME="Director's cut",URI="it's.m3u8"`)).toEqual([
      ['NAME', "Director's cut", true],
      ['URI', "it's.m3u8", true],
    ]);
  });

  it.each([
    [
      'white space',
      ' A = 1 , B = "x" ',
      [
        ['A', '1', false],
        ['B', 'x', true],
      ],
    ],
    [
      'an attribute without a value',
      'A,B="x",C',
      [
        ['A', '', false],
        ['B', 'x', true],
        ['C', '', false],
      ],
    ],
    [
      'an empty value',
      'A=,B=""',
      [
        ['A', '', false],
        ['B', '', true],
      ],
    ],
    [
      'an apostrophe before a value',
      "A='x,B=1",
      [
        ['A', "'x", false],
        ['B', '1', false],
      ],
    ],
    ['empty entries', ',,A=1,,', [['A', '1', false]]],
    ['a quoted string without an end', 'A="x,b=1', [['A', 'x,b=1', true]]],
    [
      'a quoted string without an end before another attribute',
      'URI="k.key?a=1,b , IV=0x01',
      [
        ['URI', 'k.key?a=1,b', true],
        ['IV', '0x01', false],
      ],
    ],
    [
      'a quoted string without an end before another quoted string',
      'URI="k.key,KEYFORMAT="identity",C="x,D=",E=1',
      [
        ['URI', 'k.key', true],
        ['KEYFORMAT', 'identity', true],
        ['C', 'x,D=', true],
        ['E', '1', false],
      ],
    ],
    [
      'characters after a quoted string',
      'A="x"y,B=1',
      [
        ['A', 'x', true],
        ['B', '1', false],
      ],
    ],
  ])('may have %s', (_, list, expected) => {
    expect(attributesOf(list)).toEqual(expected);
  });

  it('has the position of each value', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.stringMatching(/^[A-Z-]{1,5}$/), fc.stringMatching(/^[^"\n\r]{0,8}$/)), {
          minLength: 1,
        }),
        (pairs) => {
          const text = `#EXT-X-TAG:${pairs.map(([name, value]) => `${name}="${value}"`).join(',')}`;
          const line = new LineScanner(text);
          line.advance();
          const found = [...line.attributes()];
          expect(found.map(({ name, value }) => [name, value])).toEqual(pairs);
          expect(found.map(({ from, to }) => text.slice(from, to))).toEqual(pairs.map(([, value]) => value));
        },
      ),
    );
  });
});
