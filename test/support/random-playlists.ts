import fc from 'fast-check';

/** Where the random playlists are, and by what names the origin is known. */
export const ROOT = new URL('https://origin.example/vod/');
export const PUBLIC_BASE = 'https://cdn.example/films/';
export const PLAYLIST_URL = new URL('film/720p/index.m3u8', ROOT);

const NAMES = [
  'a.ts',
  'seg-7-v1-a1.ts',
  'é/日本 1.m4s',
  "it's(1);x,y=z~!@$&.ts",
  '100%25.ts',
  'a%2Bb.ts',
  'no-extension',
];
const FORMS: readonly ((name: string) => string)[] = [
  (name) => name,
  (name) => `./${name}`,
  (name) => `deep/../${name}`,
  (name) => `../${name}?v=2&expires=9`,
  (name) => `/vod/film/${name}`,
  (name) => `//origin.example/vod/film/${name}`,
  (name) => `https://ORIGIN.example/vod/film/${name}`,
  (name) => `${PUBLIC_BASE}film/${name}`,
  (name) => `${name}#fragment`,
  (name) => `https://ads.example/${name}`,
  (name) => `/outside/${name}`,
  () => '?only=a-query',
];

/** A URI as packagers write them; about one in six leads to another host. */
const uris = fc.tuple(fc.constantFrom(...FORMS), fc.constantFrom(...NAMES)).map(([form, name]) => form(name));

const quoted = fc.constantFrom('x', "Director's cut, with a comma", 'é', 'URI=y', '');
const space = fc.constantFrom('', '', '', ' ');

/** An attribute list whose URI may be anywhere in it. */
const listWith = (fixed: string, uri: fc.Arbitrary<string>, name = 'URI'): fc.Arbitrary<string> =>
  fc.tuple(uri, quoted, space, fc.boolean()).map(([to, text, white, first]) => {
    const own = `${name}="${to}"`;
    const other = `X-TEXT="${text}"`;
    return [fixed, ...(first ? [own, other] : [other, own])].join(`,${white}`);
  });

const beforeSegment = fc.oneof(
  fc.constantFrom(
    '',
    '# a remark: URI="kept.ts"',
    '#EXT-X-DISCONTINUITY',
    '#EXT-X-GAP',
    '#EXT-X-BITRATE:800',
  ),
  fc
    .nat(86_400_000)
    .map((ms) => `#EXT-X-PROGRAM-DATE-TIME:${new Date(Date.UTC(2026, 0, 1) + ms).toISOString()}`),
  listWith('METHOD=AES-128', uris).map((list) => `#EXT-X-KEY:${list}`),
  fc.constant('#EXT-X-KEY:METHOD=NONE'),
  listWith('BYTERANGE="100@20"', uris).map((list) => `#EXT-X-MAP:${list}`),
  listWith('ID="1",START-DATE="2026-01-01T00:00:00Z"', uris, 'X-ASSET-LIST').map(
    (list) => `#EXT-X-DATERANGE:${list}`,
  ),
  listWith('FLAG', uris).map((list) => `#EXT-X-UNKNOWN:${list}`),
  fc.constantFrom('#EXT-X-PART:DURATION=1,URI="p.mp4"', '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="h.mp4"'),
);

const segment = fc
  .tuple(
    fc.array(beforeSegment, { maxLength: 2 }),
    fc.integer({ min: 1, max: 6_000 }),
    fc.constantFrom('', 'title', 'Édith – 100 %, "x"'),
    fc.option(fc.tuple(fc.integer({ min: 1, max: 999 }), fc.nat(999)), { nil: undefined }),
    uris,
  )
  .map(([before, ms, title, range, uri]) => [
    ...before,
    `#EXTINF:${ms / 1_000},${title}`,
    ...(range ? [`#EXT-X-BYTERANGE:${range[0]}@${range[1]}`] : []),
    uri,
  ]);

/** Media playlists with all kinds of tags and URIs, and one segment of the origin at least. */
export const mediaPlaylists = fc
  .record({
    head: fc.subarray(['#EXT-X-VERSION:7', '#EXT-X-INDEPENDENT-SEGMENTS', '#EXT-X-START:TIME-OFFSET=0', '']),
    type: fc.constantFrom('', '#EXT-X-PLAYLIST-TYPE:VOD', '#EXT-X-PLAYLIST-TYPE:EVENT'),
    first: fc.oneof(fc.nat(20), fc.constant(1_764_448_000)),
    segments: fc.array(segment, { minLength: 1, maxLength: 12 }),
    end: fc.constantFrom('', '#EXT-X-ENDLIST'),
    newline: fc.constantFrom('\n', '\r\n'),
    ends: fc.boolean(),
  })
  .map(({ head, type, first, segments, end, newline, ends }) => {
    const lines = ['#EXTM3U', ...head, '#EXT-X-TARGETDURATION:6', `#EXT-X-MEDIA-SEQUENCE:${first}`, type];
    const all = [...lines, ...segments.flat(), '#EXTINF:2,', 'last.ts', end].filter((line) => line !== '');
    return all.join(newline) + (ends ? newline : '');
  });

/** Multivariant playlists with one variant of the origin at least. */
export const multivariantPlaylists = fc
  .array(
    fc.oneof(
      listWith('TYPE=AUDIO,GROUP-ID="a",NAME="English"', uris).map((list) => [`#EXT-X-MEDIA:${list}`]),
      listWith('BANDWIDTH=1', uris).map((list) => [`#EXT-X-I-FRAME-STREAM-INF:${list}`]),
      listWith('BANDWIDTH=1', uris).map((list) => [`#EXT-X-IMAGE-STREAM-INF:${list}`]),
      listWith('METHOD=AES-128', uris).map((list) => [`#EXT-X-SESSION-KEY:${list}`]),
      listWith('PATHWAY-ID="A"', uris, 'SERVER-URI').map((list) => [`#EXT-X-CONTENT-STEERING:${list}`]),
      fc.tuple(uris, quoted).map(([uri, name]) => [`#EXT-X-STREAM-INF:BANDWIDTH=2,X-NAME="${name}"`, uri]),
    ),
    { maxLength: 10 },
  )
  .map((parts) => ['#EXTM3U', ...parts.flat(), '#EXT-X-STREAM-INF:BANDWIDTH=3', 'own.m3u8', ''].join('\n'));
