import fc from 'fast-check';
import { type MediaPlaylist, type MultivariantPlaylist, readPlaylist } from './playlist.js';

const ROOT = new URL('https://origin.example/vod/');
const read = (
  text: string,
  former?: MediaPlaylist,
  variables?: MultivariantPlaylist['variables'],
  phaseSeconds = 10,
) =>
  readPlaylist(text, {
    streamId: 'film',
    url: new URL('film/720p/index.m3u8', ROOT),
    root: ROOT,
    phaseSeconds,
    variables,
    former,
  });
const media = (lines: string[], former?: MediaPlaylist) =>
  read(['#EXTM3U', '#EXT-X-TARGETDURATION:4', ...lines, ''].join('\n'), former) as MediaPlaylist;
const live = (first: number, count: number, former?: MediaPlaylist) =>
  media(
    [
      `#EXT-X-MEDIA-SEQUENCE:${first}`,
      ...Array.from({ length: count }, (_, at) => ['#EXTINF:4,', `${first + at}.ts`]).flat(),
    ],
    former,
  );

describe('a playlist as the gate writes it', () => {
  it('differs from the origin’s in its URIs alone', () => {
    const text = [
      '#EXTM3U',
      '#EXT-X-VERSION:6\r',
      '## a remark: URI="kept.ts"',
      '#EXT-X-TARGETDURATION:4',
      '#EXT-X-MEDIA-SEQUENCE:7',
      '#EXT-X-MAP:URI="init.mp4",BYTERANGE="720@0"',
      '#EXT-X-KEY:METHOD=AES-128,URI="../keys/1.key",IV=0x1234',
      '#EXTINF:3.96,title, with "URI=x"',
      '#EXT-X-BYTERANGE:100@0',
      'a.m4s',
      '',
      '#EXT-X-DISCONTINUITY',
      '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://keys.example/1",KEYFORMAT="com.apple.streamingkeydelivery"',
      '#EXTINF:4,',
      'https://origin.example/vod/film/720p/b.m4s?v=2  ',
      '#EXT-X-ENDLIST',
    ].join('\n');
    const playlist = read(text) as MediaPlaylist;
    const [init, key] = [...playlist.assets.keys()];
    expect(init).toMatch(/^a-[\w-]{12}\.mp4$/);
    expect(key).toMatch(/^a-[\w-]{12}\.key$/);
    expect(playlist.template.write('', '?q')).toBe(
      text
        .replace('init.mp4', `${init}?q`)
        .replace('../keys/1.key', `${key}?q`)
        .replace('\na.m4s', '\n7.m4s?q')
        .replace('https://origin.example/vod/film/720p/b.m4s?v=2', '8.m4s?q'),
    );
    expect(Object.fromEntries(playlist.assets)).toEqual({
      [init!]: 'film/720p/init.mp4',
      [key!]: 'film/keys/1.key',
    });
    expect([...playlist.segments].map(([sequence, { path }]) => [sequence, path])).toEqual([
      [7, 'film/720p/a.m4s'],
      [8, 'film/720p/b.m4s?v=2'],
    ]);
  });

  it('numbers every rendition that a multivariant one names, each once', () => {
    const text = [
      '#EXTM3U',
      '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",URI="audio/en.m3u8"',
      '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="English",URI="subs/en.m3u8"',
      '#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="c",NAME="English",INSTREAM-ID="CC1"',
      '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="iframes.m3u8"',
      '#EXT-X-STREAM-INF:BANDWIDTH=2,AUDIO="a"',
      'high.m3u8',
      '#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"',
      'low.m3u8',
      '#EXT-X-STREAM-INF:BANDWIDTH=3,AUDIO="a"',
      'high.m3u8',
    ].join('\n');
    const playlist = read(text) as MultivariantPlaylist;
    expect(playlist.renditions.map(({ url }) => url.pathname.split('720p/')[1])).toEqual([
      'audio/en.m3u8',
      'subs/en.m3u8',
      'iframes.m3u8',
      'high.m3u8',
      'low.m3u8',
    ]);
    expect(playlist.first).toBe(3);
    expect(playlist.template.write('', '?q')).toBe(
      text
        .replace('audio/en.m3u8', '0/index.m3u8?q')
        .replace('subs/en.m3u8', '1/index.m3u8?q')
        .replace('iframes.m3u8', '2/index.m3u8?q')
        .replaceAll('high.m3u8', '3/index.m3u8?q')
        .replace('low.m3u8', '4/index.m3u8?q'),
    );
  });

  it('has all the lines that it had, however many there are', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('#EXT-X-DISCONTINUITY', '# remark', '', '#EXT-X-GAP'), { maxLength: 30 }),
        fc.constantFrom('\n', '\r\n'),
        (extra, newline) => {
          const lines = extra.flatMap((line, at) => [line, '#EXTINF:4,', `${at}.ts`]);
          const text = ['#EXTM3U', '#EXT-X-TARGETDURATION:4', ...lines, '#EXTINF:4,', 'end.ts', ''].join(
            newline,
          );
          const written = (read(text) as MediaPlaylist).template.write('', '');
          expect(written).toBe(text.replace('end.ts', `${extra.length}.ts`));
        },
      ),
    );
  });

  it('has a last segment without a duration in its last phase', () => {
    const { stream } = media(['#EXTINF:10,', 'a.ts', '#EXTINF:0,', 'b.ts', '#EXT-X-ENDLIST']);
    expect([stream.phases, stream.phaseOf(1)]).toEqual([1, 0]);
  });

  it('has its variables expanded in URIs, and nowhere else', () => {
    const root = read(
      [
        '#EXTM3U',
        '#EXT-X-DEFINE:NAME="q",VALUE="high"',
        '#EXT-X-DEFINE:NAME="dir",VALUE="v7"',
        '#EXT-X-STREAM-INF:BANDWIDTH=1,VIDEO-RANGE=SDR',
        '{$q}/{$dir}.m3u8',
      ].join('\n'),
    ) as MultivariantPlaylist;
    expect(root.renditions).toMatchObject([{ type: 'variant', bandwidth: 1 }]);
    expect(root.renditions[0]!.url.pathname).toBe('/vod/film/720p/high/v7.m3u8');
    const lines = [
      '#EXT-X-DEFINE:IMPORT="dir"',
      '#EXT-X-MAP:URI="{$dir}/init.mp4"',
      '#EXTINF:4,{$dir}',
      '{$dir}/a.m4s',
    ];
    const text = ['#EXTM3U', '#EXT-X-TARGETDURATION:4', ...lines, ''].join('\n');
    const playlist = read(text, undefined, root.variables) as MediaPlaylist;
    expect(playlist.segments.get(0)).toMatchObject({
      path: 'film/720p/v7/a.m4s',
      initPath: 'film/720p/v7/init.mp4',
    });
    expect(playlist.template.write('', '')).toContain('#EXT-X-DEFINE:IMPORT="dir"\n');
    expect(playlist.template.write('', '')).toContain('#EXTINF:4,{$dir}\n0.m4s\n');
    expect(() => read(text)).toThrow('that nothing gives');
    expect(() => media(['#EXT-X-DEFINE:QUERYPARAM="token"', '#EXTINF:4,', 'a.ts'])).toThrow('from a query');
    expect(() => media(['#EXT-X-DEFINE:NAME="a",VALUE="/other/"', '#EXTINF:4,', '{$a}x.ts'])).toThrow(
      'leads out',
    );
  });

  it('is refused where a URI leads out of the origin, and names no one else’s key', () => {
    expect(() => media(['#EXTINF:4,', 'https://elsewhere.example/a.ts'])).toThrow('leads out');
    expect(() => media(['#EXTINF:4,', '/other/a.ts'])).toThrow('leads out');
    expect(() => media(['#EXT-X-MAP:URI="../../../init.mp4"', '#EXTINF:4,', 'a.ts'])).toThrow('leads out');
    const drm = media(['#EXT-X-KEY:METHOD=AES-128,URI="https://keys.example/1"', '#EXTINF:4,', 'a.ts']);
    expect(drm.template.write('', '?q')).toContain('URI="https://keys.example/1"');
  });
});

describe('a live playlist', () => {
  it('has phases by media sequence, which every instance numbers alike', () => {
    // Three segments of 4 s make a phase of about 10 s; 13 and 14 are what is left of one.
    const { stream } = live(13, 6);
    expect(stream).toMatchObject({ kind: 'live', phases: 7, live: { oldest: 5, start: 5 } });
    expect([13, 14, 15, 16, 18].map((sequence) => stream.phaseOf(sequence))).toEqual([5, 5, 5, 5, 6]);
    expect(stream.phase(6)).toMatchObject({ startSeconds: 72, durationSeconds: 4, last: false });
    expect(live(14, 6).stream.phase(6)).toMatchObject({ durationSeconds: 8 });
    expect(live(14, 6).stream.phase(5).segments).toEqual(stream.phase(5).segments);
  });

  it('is told without low latency, which a gate that holds no answer back cannot keep', () => {
    const lines = ['#EXT-X-MEDIA-SEQUENCE:4', '#EXTINF:4,', '4.ts'];
    const fast = [
      '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3',
      '#EXT-X-PART-INF:PART-TARGET=1',
      ...lines,
      '#EXT-X-PART:DURATION=1,URI="5.0.ts"',
      '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="5.1.ts"',
      '#EXT-X-RENDITION-REPORT:URI="../low/index.m3u8",LAST-MSN=4,LAST-PART=0',
    ];
    const playlist = media(fast);
    expect([...playlist.segments].map(([n]) => n)).toEqual([4]);
    expect(playlist.template.write('', '')).toBe(media(lines).template.write('', ''));
  });

  it('is refused where its numbers do not fit', () => {
    expect(() => live(2 ** 32, 3)).toThrow('too large');
    const day = '#EXTM3U\n#EXT-X-TARGETDURATION:86400\n#EXTINF:86400,\na.ts\n#EXT-X-ENDLIST';
    expect(() => read(day, undefined, undefined, 1e-5)).toThrow('too large');
    for (const duration of ['9'.repeat(400), '86401', '-1'])
      expect(() => media([`#EXTINF:${duration},`, 'a.ts', '#EXT-X-ENDLIST'])).toThrow(
        'a duration that can be',
      );
  });

  it('is a phase at least, however short its window', () => {
    expect(live(5, 1).stream).toMatchObject({ phases: 2, live: { oldest: 1, start: 1 } });
  });

  it('remembers what has just left it, as long as it had itself', () => {
    const later = live(16, 6, live(13, 6));
    expect([...later.segments].map(([n]) => n).toSorted((a, b) => a - b)).toEqual([
      13, 14, 15, 16, 17, 18, 19, 20, 21,
    ]);
    expect(later.template.write('', '')).not.toContain('15.ts');
    expect([...live(30, 6, later).segments].map(([n]) => n)).toEqual([30, 31, 32, 33, 34, 35]);
  });

  it('is read once as long as it does not change', () => {
    const first = live(13, 6);
    expect(live(13, 6, first)).toBe(first);
    expect(live(14, 6, first)).not.toBe(first);
  });

  it('keeps its numbers when it ends, where it slid or was seen to live', () => {
    const end = (first: number, former?: MediaPlaylist) =>
      media(
        [
          `#EXT-X-MEDIA-SEQUENCE:${first}`,
          ...Array.from({ length: 6 }, (_, at) => ['#EXTINF:4,', `${first + at}.ts`]).flat(),
          '#EXT-X-ENDLIST',
        ],
        former,
      ).stream;
    const live0 = live(0, 6);
    for (const stream of [end(13), end(13, live(13, 6)), end(0, live0)])
      expect(stream).toMatchObject({ kind: 'live', ended: true, phases: stream.phaseOf(1e6) + 1 });
    expect(end(13).phase(6)).toMatchObject({ startSeconds: 72, last: true });
    expect(end(13).phase(5)).toMatchObject({ last: false });
    expect(end(0, media(['#EXTINF:4,', 'a.ts', '#EXT-X-ENDLIST']))).toMatchObject({ kind: 'vod' });
    expect(end(0)).toMatchObject({ kind: 'vod', phases: 3 });
  });

  it('that keeps all goes by time, is joined at its edge, and is finished when it ends', () => {
    const lines = [
      '#EXT-X-PLAYLIST-TYPE:EVENT',
      ...Array.from({ length: 10 }, () => ['#EXTINF:4,', 'a.ts']).flat(),
    ];
    const { stream } = media(lines);
    expect(stream).toMatchObject({ kind: 'live', phases: 4, live: { oldest: 0, start: 2 } });
    expect(stream.phase(3)).toMatchObject({ last: false });
    expect(stream.phase(1)).toMatchObject({ startSeconds: 10, segments: [{}, {}] });
    expect(media([...lines, '#EXT-X-ENDLIST']).stream).toMatchObject({
      kind: 'vod',
      durationSeconds: 40,
      live: undefined,
    });
  });
});
