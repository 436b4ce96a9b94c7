import fc from 'fast-check';
import { type MediaPlaylist, type MultivariantPlaylist, PlaylistError, readPlaylist } from './playlist.js';

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

describe('a playlist of the gate', () => {
  it('differs from that of the origin only in its URIs', () => {
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
    const named = [...playlist.template.write('', '').matchAll(/^[78]-\w+\.m4s/gm)].map(String);
    expect(named).toHaveLength(2);
    expect(init).toMatch(/^a-[\w-]{12}\.mp4$/);
    expect(key).toMatch(/^a-[\w-]{12}\.key$/);
    expect(playlist.template.write('', '?q')).toBe(
      text
        .replace('init.mp4', `${init}?q`)
        .replace('../keys/1.key', `${key}?q`)
        .replace('\na.m4s', `\n${named[0]}?q`)
        .replace('https://origin.example/vod/film/720p/b.m4s?v=2', `${named[1]}?q`),
    );
    expect(Object.fromEntries(playlist.assets)).toEqual({
      [init!]: { path: 'film/720p/init.mp4', byteRange: { offset: 0, length: 720 } },
      [key!]: { path: 'film/keys/1.key' },
    });
    expect([...playlist.segments].map(([sequence, { path }]) => [sequence, path])).toEqual([
      [7, 'film/720p/a.m4s'],
      [8, 'film/720p/b.m4s?v=2'],
    ]);
  });

  it('gives a byte range its offset, because each segment has a name of its own', () => {
    const text = (second: string) =>
      [
        '#EXTM3U',
        '#EXT-X-TARGETDURATION:4',
        '#EXTINF:4,',
        '#EXT-X-BYTERANGE:100@20',
        'all.mp4',
        '#EXT-X-BYTERANGE: ' + second,
        '#EXT-X-KEY:METHOD=AES-128,URI="1.key"',
        '#EXTINF:4,',
        'all.mp4',
        '#EXT-X-ENDLIST',
      ].join('\n');
    const [short, long] = [text('50'), text('50@120')].map((one) => read(one).template.write('', ''));
    expect(short).toContain('50@120\n#EXT-X-KEY:METHOD=AES-128,URI="a-');
    expect(short).toBe(long);
  });

  it('has a number for each rendition of a multivariant playlist', () => {
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

  it('keeps all lines', () => {
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
          expect(written.replaceAll(/(\d+)-\w+\.ts/g, '$1.ts')).toBe(
            text.replace('end.ts', `${extra.length}.ts`),
          );
        },
      ),
    );
  });

  it('has a last segment without a duration in its last phase', () => {
    const { stream } = media(['#EXTINF:10,', 'a.ts', '#EXTINF:0,', 'b.ts', '#EXT-X-ENDLIST']);
    expect([stream.phases, stream.phaseOf(1)]).toEqual([1, 0]);
  });

  it('has expanded variables, because a player cannot resolve those of another playlist', () => {
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
    });
    expect(playlist.template.write('', '')).not.toContain('DEFINE');
    expect(playlist.template.write('', '')).toMatch(/#EXTINF:4,\{\$dir\}\n0-\w+\.m4s\n/);
    expect(() => read(text)).toThrow('a variable that the playlist does not define');
    expect(media(['#EXT-X-DEFINE:IMPORT="unused"', '#EXTINF:4,', 'a.ts']).kind).toBe('media');
  });

  it('has expanded variables in hexadecimal values, which have no quotes', () => {
    const { template, segments } = media([
      '#EXT-X-DEFINE:NAME="iv",VALUE="0xAB"',
      '#EXT-X-KEY:METHOD=AES-128,URI="k.key",IV={$iv}',
      '#EXTINF:4,',
      'a.ts',
    ]);
    expect(template.write('', '')).toMatch(/IV=0xAB$/m);
    expect(segments.get(0)?.key).toMatchObject({ iv: '0xAB' });
  });

  it('has expanded variables in all that is told of it', () => {
    const { renditions, variables } = read(
      [
        '#EXTM3U',
        '#EXT-X-DEFINE:NAME="a",VALUE="en"',
        '#EXT-X-DEFINE:NAME="b",VALUE="{$a}-GB"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="g",NAME="{$b}",LANGUAGE="{$a}",URI="{$b}.m3u8"',
        '#EXT-X-STREAM-INF:BANDWIDTH=1',
        'v.m3u8',
      ].join('\n'),
    ) as MultivariantPlaylist;
    expect(renditions[0]).toMatchObject({ name: 'en-GB', language: 'en' });
    expect(renditions[0]!.url.pathname).toBe('/vod/film/720p/en-GB.m3u8');
    expect(variables.get('b')).toBe('en-GB');
    const { segments } = media([
      '#EXT-X-DEFINE:NAME="n",VALUE="100"',
      '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://k",KEYFORMAT="x.{$n}"',
      '#EXT-X-MAP:URI="i.mp4",BYTERANGE="{$n}@20"',
      '#EXTINF:4,',
      'a.m4s',
    ]);
    expect(segments.get(0)).toMatchObject({
      key: { format: 'x.100' },
      init: { byteRange: { offset: 20, length: 100 } },
    });
  });

  it('resolves variables from the query of its own URL', () => {
    const playlist = readPlaylist(
      ['#EXTM3U', '#EXT-X-DEFINE:QUERYPARAM="token"', '#EXTINF:4,', 'a.ts?t={$token}', ''].join('\n'),
      {
        streamId: 'film',
        url: new URL('film/index.m3u8?token=a%20b', ROOT),
        root: ROOT,
        phaseSeconds: 10,
        variables: undefined,
        former: undefined,
      },
    ) as MediaPlaylist;
    expect(playlist.segments.get(0)).toMatchObject({ path: 'film/a.ts?t=a%20b' });
    expect(playlist.template.write('', '')).not.toContain('token');
  });

  it('is refused if its variables grow too long, whether by definition or by use', () => {
    const define = (name: string, value: string) => `#EXT-X-DEFINE:NAME="${name}",VALUE="${value}"`;
    const segment = (uri: string) => ['#EXTINF:4,', uri];
    const doubled = Array.from({ length: 40 }, (_, at) => define(`v${at + 1}`, `{$v${at}}{$v${at}}`));
    expect(() => media([define('v0', 'x'), ...doubled, ...segment('a.ts')])).toThrow(
      'the value of a variable has more than 4096 characters',
    );
    const long = define('v', 'x'.repeat(4_096));
    const note = (times: number) => `#EXT-X-NOTE:TEXT="${'{$v}'.repeat(times)}"`;
    const used = (times: number) => [long, note(times), note(2_048), ...segment('a.ts')];
    expect(media(used(2_048)).segments.size).toBe(1);
    expect(() => media(used(2_049))).toThrow('expands variables to more than 16777216 characters');
    // Each takes time, also where it stands for nothing.
    const short = define('v', '');
    expect(media([short, note(4_096), note(4_096), ...segment('a.ts')]).segments.size).toBe(1);
    for (const name of ['v', 'unknown']) {
      const references = `{$${name}}`.repeat(4_097);
      const list = `#EXT-X-NOTE:A="${references.slice(0, 30_000)}",B="${references.slice(30_000)}"`;
      const refused = 'a line has more than 4096 references to variables';
      expect(() => media([short, list.replace('A="', `A="${references}`), ...segment('a.ts')])).toThrow(
        refused,
      );
      expect(() => media([short, ...segment(references)])).toThrow(refused);
    }
    const imported = new Map([['v', 'x'.repeat(4_097)]]);
    const lines = ['#EXTM3U', '#EXT-X-DEFINE:IMPORT="v"', ...segment('a.ts'), ''];
    expect(() => read(lines.join('\n'), undefined, imported)).toThrow('more than 4096 characters');
  });

  it('may have any text as the title of a segment', () => {
    const titles = [
      'Édith – Non',
      '日本語',
      '100 % pur',
      'a, b="c"',
      "it's",
      '\u0000\u{1F600}',
      '#EXT-X-ENDLIST',
    ];
    const { segments } = media(titles.flatMap((title, at) => [`#EXTINF: 4.5 , ${title}`, `${at}.ts`]));
    expect([...segments.values()].map(({ path, durationSeconds }) => [path, durationSeconds])).toEqual(
      titles.map((_, at) => [`film/720p/${at}.ts`, 4.5]),
    );
  });

  it('has quotes around its URIs even if the origin has none, because a folder of the gate may contain commas', () => {
    const { template } = media(['#EXT-X-KEY:METHOD=AES-128,URI=k.key,IV=0x1', '#EXTINF:4,', 'a.ts']);
    expect(template.write('s/ana,tv/', '')).toMatch(
      /^#EXT-X-KEY:METHOD=AES-128,URI="s\/ana,tv\/a-[\w-]+\.key",IV=0x1$/m,
    );
  });

  it('has the quote that the origin forgot, so that a segment keeps its key', () => {
    const playlist = media(['#EXT-X-KEY:METHOD=AES-128,URI="k.key,IV=0x1', '#EXTINF:4,', 'a.ts']);
    expect(playlist.template.write('', '')).toMatch(
      /^#EXT-X-KEY:METHOD=AES-128,URI="a-[\w-]+\.key",IV=0x1$/m,
    );
    expect(playlist.segments.get(0)!.key).toEqual({
      method: 'AES-128',
      path: 'film/720p/k.key',
      iv: '0x1',
    });
  });

  it('omits a byte order mark', () => {
    expect(read('\uFEFF#EXTM3U\n#EXTINF:4,\na.ts\n').template.write('', '')).toMatch(/^#EXTM3U\n/);
  });

  it('is not made from a text that is no playlist', () => {
    for (const text of ['', '<html>', '<MPD>', '#EXTM3', '#EXTM3U\nsong.mp3', '#EXTM3U\n#EXT-X-ENDLIST'])
      expect(() => read(text)).toThrow(PlaylistError);
  });
});

describe('URIs of other hosts', () => {
  it('are not those that differ in http and https, where neither names a port', () => {
    const { segments } = media([
      '#EXTINF:4,',
      'http://origin.example/vod/film/720p/a.ts',
      '#EXTINF:4,',
      'http://origin.example:8080/vod/film/720p/b.ts',
    ]);
    expect([...segments.values()].map(({ path, foreign }) => [path, foreign])).toEqual([
      ['film/720p/a.ts', undefined],
      ['http://origin.example:8080/vod/film/720p/b.ts', true],
    ]);
  });

  const AD = 'https://ads.example/1.ts';

  it('stay absolute, next to segments of the origin', () => {
    const lines = [
      '#EXTINF:4,',
      'a.ts',
      '#EXT-X-DISCONTINUITY',
      '#EXTINF:4,',
      AD,
      '#EXTINF:4,',
      '/other/b.ts',
    ];
    const playlist = media(lines);
    const written = playlist.template.write('', '?q').split('\n');
    expect([written[3], written[6], written[8]]).toEqual([
      expect.stringMatching(/^0-\w+\.ts\?q$/),
      AD,
      'https://origin.example/other/b.ts',
    ]);
    expect([...playlist.segments.values()].map(({ path, foreign }) => [path, foreign])).toEqual([
      ['film/720p/a.ts', undefined],
      [AD, true],
      ['https://origin.example/other/b.ts', true],
    ]);
    expect(playlist.find('1.ts')).toBeUndefined();
  });

  it('are refused with the reason if all segments have one', () => {
    expect(() => media(['#EXTINF:4,', AD, '#EXT-X-ENDLIST'])).toThrow(
      `every segment is on another host: ${AD}`,
    );
    const before = live(13, 3);
    const during = ['#EXT-X-MEDIA-SEQUENCE:16', '#EXT-X-DISCONTINUITY', '#EXTINF:4,', AD];
    expect(media(during, before).stream.kind).toBe('live');
    expect(media(during).stream.kind).toBe('live');
  });

  it('never lead to a file of this machine', () => {
    const text = ['#EXTM3U', '#EXT-X-TARGETDURATION:4', '#EXT-X-KEY:METHOD=AES-128,URI="../../../etc/key"'];
    const root = new URL('file:///srv/streams/');
    const playlist = readPlaylist(
      [...text, '#EXTINF:4,', 'a.ts', '#EXTINF:4,', '/etc/passwd', ''].join('\n'),
      {
        streamId: 'film',
        url: new URL('film/index.m3u8', root),
        root,
        phaseSeconds: 10,
        variables: undefined,
        former: undefined,
      },
    ) as MediaPlaylist;
    expect(playlist.template.write('', '')).not.toMatch(/etc|file:|srv/);
    expect(playlist.segments.get(1)).toMatchObject({ foreign: true, path: 'about:invalid' });
  });

  it('count as those of the origin if they are below one of its public URLs', () => {
    const text = '#EXTM3U\n#EXTINF:4,\nhttps://cdn.example/films/film/a.ts?v=1#t=2\n#EXTINF:4,\nb.ts\n';
    const source = {
      streamId: 'film',
      root: ROOT,
      phaseSeconds: 10,
      variables: undefined,
      former: undefined,
    };
    const url = new URL('film/index.m3u8', ROOT);
    const playlist = readPlaylist(text, { ...source, url, ownBases: ['https://cdn.example/films'] });
    expect((playlist as MediaPlaylist).segments.get(0)).toMatchObject({ path: 'film/a.ts?v=1' });
    expect((readPlaylist(text, { ...source, url }) as MediaPlaylist).segments.get(0)).toMatchObject({
      foreign: true,
    });
  });

  it('do not hide the variants of the origin', () => {
    const text = [
      '#EXTM3U',
      '#EXT-X-CONTENT-STEERING:SERVER-URI="https://steering.example/s",PATHWAY-ID="A"',
      '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",URI="//audio.example/en.m3u8"',
      '#EXT-X-STREAM-INF:BANDWIDTH=1',
      'https://backup.example/v.m3u8',
      '#EXT-X-STREAM-INF:BANDWIDTH=1',
      'v.m3u8',
    ].join('\n');
    const playlist = read(text) as MultivariantPlaylist;
    expect(playlist).toMatchObject({ renditions: [{ type: 'variant' }], first: 0 });
    expect(playlist.template.write('', '?q')).toBe(
      text.replace('"//audio', '"https://audio').replace(/v\.m3u8$/, '0/index.m3u8?q'),
    );
    expect(() => read(text.replace(/v\.m3u8$/, 'https://other.example/v.m3u8'))).toThrow(
      'every variant of the multivariant playlist is on another host',
    );
  });

  it.each([
    ['EXT-X-DATERANGE', 'X-ASSET-LIST', 'ID="1",X-ASSET-LIST="@"'],
    ['EXT-X-DATERANGE', 'X-ASSET-URI', 'ID="1",X-ASSET-URI="@"'],
    ['EXT-X-SESSION-DATA', 'URI', 'DATA-ID="d",URI="@"'],
    ['EXT-X-SESSION-KEY', 'URI', 'METHOD=AES-128, URI="@"'],
    ['EXT-X-CONTENT-STEERING', 'SERVER-URI', 'SERVER-URI="@"'],
    ['EXT-X-UNKNOWN', 'URI', 'FLAG,URI="@"'],
    ['EXT-X-UNKNOWN', 'X-POSTER-URL', 'X-POSTER-URL="@"'],
  ])('in %s (%s) are unchanged, while those of the origin lead to the gate', (tag, _, list) => {
    const lines = (uri: string) => [
      `#${tag}:${list.replace('@', uri)}`,
      '#EXTINF:4,',
      'a.ts',
      '#EXT-X-ENDLIST',
    ];
    const playlist = media(lines('x/y.json?z=1'));
    const [name] = playlist.assets.keys();
    expect(playlist.assets.get(name!)).toEqual({ path: 'film/720p/x/y.json?z=1' });
    expect(playlist.template.write('', '?q')).toContain(list.replace('@', `${name}?q`));
    for (const foreign of ['https://x.example/y', 'skd://key', 'data:text/plain,x'])
      expect(media(lines(foreign)).template.write('', '?q')).toContain(list.replace('@', foreign));
    expect(media(lines('//x.example/y')).template.write('', '?q')).toContain('"https://x.example/y"');
  });
});

describe('a live playlist', () => {
  it('is written without low-latency tags, because the gate cannot hold requests back', () => {
    const lines = ['#EXT-X-MEDIA-SEQUENCE:4', '#EXTINF:4,', '4.ts'];
    const fast = [
      '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3',
      '#EXT-X-PART-INF:PART-TARGET=1',
      ...lines,
      '#EXT-X-PART:DURATION=1,URI="5.0.ts"',
      '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="5.1.ts"',
      '#EXT-X-RENDITION-REPORT:URI="../low/index.m3u8",LAST-MSN=4,LAST-PART=0',
      '#EXT-X-PREFETCH:https://origin.example/vod/film/720p/5.ts',
    ];
    const playlist = media(fast);
    expect([...playlist.segments].map(([sequence]) => sequence)).toEqual([4]);
    expect(playlist.template.write('', '')).toBe(media(lines).template.write('', ''));
  });

  it('is refused if it is an update for another reader, because such an update may lack keys', () => {
    const update = ['#EXT-X-MEDIA-SEQUENCE:100', '#EXT-X-SKIP:SKIPPED-SEGMENTS=5', '#EXTINF:4,', '105.ts'];
    expect(() => media(update, live(99, 6))).toThrow('the playlist skips segments');
  });

  it('uses the target duration for a segment with an invalid duration', () => {
    for (const duration of ['', 'x', '9'.repeat(400), '86401', '-1']) {
      const { stream } = media([`#EXTINF:${duration},`, 'a.ts', '#EXT-X-ENDLIST']);
      expect(stream).toMatchObject({ kind: 'vod', durationSeconds: 4, phases: 1 });
    }
    expect(() => read('#EXTM3U\n#EXTINF:x,\na.ts\n')).toThrow('neither a target duration nor a segment');
    const silent = media(['#EXTINF:0,', 'a.ts', '#EXTINF:0,', 'b.ts', '#EXT-X-ENDLIST']);
    expect(silent.stream.durationSeconds).toBe(8);
  });

  it('remembers segments that have left it, as many as it lists', () => {
    const sequences = (playlist: MediaPlaylist) => [...playlist.segments].map(([sequence]) => sequence);
    const later = live(16, 6, live(13, 6));
    expect(sequences(later)).toEqual([13, 14, 15, 16, 17, 18, 19, 20, 21]);
    expect(later.template.write('', '')).not.toContain('15.ts');
    expect(sequences(live(30, 6, later))).toEqual([16, 17, 18, 19, 20, 21, 30, 31, 32, 33, 34, 35]);
    expect(later.find('13.ts')).toMatchObject({ segment: { sequence: 13 } });
    expect(later.find('12.ts')).toBeUndefined();
  });

  it('is parsed only once while it does not change', () => {
    const first = live(13, 6);
    expect(live(13, 6, first)).toBe(first);
    expect(live(14, 6, first)).not.toBe(first);
    expect(live(12, 6, first)).toBe(first); // an older version from a cache
  });

  it('is read anew where the former text ended within a line, because the origin was writing it', () => {
    const begin = '#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:4\n#EXTINF:4,\n4.ts\n#EXTINF:4,\n';
    const half = read(`${begin}fi`) as MediaPlaylist;
    const whole = read(`${begin}five.ts\n`, half) as MediaPlaylist;
    expect([...whole.segments.values()].map(({ path }) => path)).toContain('film/720p/five.ts');
    expect(whole.template.write('', '').match(/^\d+-/gm)).toEqual(['4-', '5-']);
  });

  it('gives each segment a name that never leads to other media', () => {
    const list = (first: number, run: string, former?: MediaPlaylist) =>
      media(
        [
          `#EXT-X-MEDIA-SEQUENCE:${first}`,
          ...Array.from({ length: 6 }, (_, at) => [
            '#EXTINF:4,',
            `${run}/l_${run}_${first + at}.ts?t=${run}`,
          ]).flat(),
        ],
        former,
      );
    const names = (playlist: MediaPlaylist) => playlist.template.write('', '').match(/^\d+-.*/gm)!;
    const first = list(1419, '157');
    const [name = ''] = names(first);
    const [second, third] = [list(2, '169', first), list(1417, '170')];
    expect(first.find(name)?.segment.path).toContain('l_157_1419');
    expect(second.find(name)?.segment.path).toContain('l_157_1419'); // remembered
    expect(third.find(name)).toBeUndefined(); // also in another instance
    expect(third.find('1419.ts')?.segment.path).toContain('l_170_1419');
    // The suffix is the same on each line, so that it compresses well.
    expect(new Set(names(first).map((one) => one.slice(one.indexOf('-')))).size).toBe(1);
    for (const playlist of [first, second, third])
      for (const one of names(playlist))
        expect(playlist.find(one)?.segment.sequence).toBe(Number.parseInt(one));
    for (const odd of ['1x.ts', '-1.ts', '1-.ts', '1e3.ts', '99999999999999999999.ts'])
      expect(first.find(odd)).toBeUndefined();
  });
});

describe('a segment in a phase', () => {
  const RANGES = [
    '#EXT-X-MAP:URI="all.mp4",BYTERANGE="100@20"',
    '#EXTINF:4,',
    '#EXT-X-BYTERANGE:300@132',
    'all.mp4',
    '#EXTINF:4,',
    '#EXT-X-BYTERANGE:250',
    'all.mp4',
    '#EXTINF:4,',
    '#EXT-X-BYTERANGE:50',
    'other.mp4',
    '#EXT-X-ENDLIST',
  ];

  it('has its byte range, and that of its initialisation section', () => {
    const { segments } = media(RANGES).stream.phase(0);
    const init = { path: 'film/720p/all.mp4', byteRange: { offset: 20, length: 100 } };
    expect(segments).toMatchObject([
      { init, byteRange: { offset: 132, length: 300 } },
      { init, byteRange: { offset: 432, length: 250 } },
      { init, byteRange: { offset: 0, length: 50 } },
    ]);
  });

  it('has its key, its sequence number, its date, and its discontinuity', () => {
    const { segments } = media([
      '#EXT-X-MEDIA-SEQUENCE:7',
      '#EXT-X-PLAYLIST-TYPE:VOD',
      '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://k",KEYFORMAT="com.apple.streamingkeydelivery"',
      '#EXT-X-KEY:METHOD=AES-128,URI="1.key",IV=0x0102',
      '#EXTINF:4,',
      'a.ts',
      '#EXT-X-DISCONTINUITY',
      '#EXT-X-KEY:METHOD=NONE',
      '#EXT-X-PROGRAM-DATE-TIME:2026-01-01T01:00:08.5+01:00',
      '#EXTINF:2,',
      'ad.ts',
      '#EXT-X-KEY:METHOD=AES-128,URI="2.key"',
      '#EXT-X-GAP',
      '#EXTINF:2,',
      'b.ts',
      '#EXT-X-ENDLIST',
    ]).stream.phase(0);
    expect(segments).toEqual([
      {
        path: 'film/720p/a.ts',
        durationSeconds: 4,
        sequence: 7,
        key: { method: 'AES-128', path: 'film/720p/1.key', iv: '0x0102' },
      },
      {
        path: 'film/720p/ad.ts',
        durationSeconds: 2,
        sequence: 8,
        discontinuity: true,
        programDateTime: '2026-01-01T00:00:08.500Z',
      },
      {
        path: 'film/720p/b.ts',
        durationSeconds: 2,
        sequence: 9,
        gap: true,
        key: { method: 'AES-128', path: 'film/720p/2.key' },
      },
    ]);
  });

  it('has the key of each format until the next one of that format', () => {
    const fairPlay = (name: string) =>
      `#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://${name}",KEYFORMAT="com.apple.streamingkeydelivery"`;
    const { segments } = media([
      fairPlay('1'),
      '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="1.key"',
      '#EXTINF:4,',
      'a.ts',
      fairPlay('2'),
      '#EXT-X-KEY:URI="without-method.key"',
      '#EXTINF:4,',
      'b.ts',
      '#EXT-X-KEY:METHOD=NONE',
      fairPlay('3'),
      '#EXTINF:4,',
      'c.ts',
    ]);
    expect([...segments.values()].map(({ key }) => key?.path)).toEqual([
      'film/720p/1.key',
      'film/720p/1.key',
      'skd://3',
    ]);
  });

  it('has keys of 16 formats at a time at most', () => {
    const keys = (count: number) =>
      Array.from(
        { length: count },
        (_, at) => `#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://k",KEYFORMAT="${at}"`,
      );
    const segment = ['#EXTINF:4,', 'a.ts'];
    const again = ['#EXT-X-KEY:METHOD=NONE,KEYFORMAT="16"', ...keys(16)];
    expect(media([...keys(16), ...again, ...segment]).segments.size).toBe(1);
    expect(() => media([...keys(17), ...segment])).toThrow('keys of more than 16 formats at a time');
  });

  it('has the key of its initialisation section if that differs', () => {
    const key = (name: string) => `#EXT-X-KEY:METHOD=AES-128,URI="${name}.key",IV=0x1`;
    const map = '#EXT-X-MAP:URI="i.mp4"';
    const lines = [
      map,
      key('1'),
      'a',
      key('2'),
      map,
      'b',
      key('3'),
      'c',
      '#EXT-X-KEY:METHOD=NONE',
      'd',
      map,
      'e',
    ];
    const { segments } = media(lines.flatMap((line) => (line.startsWith('#') ? line : ['#EXTINF:4,', line])));
    expect([...segments.values()].map(({ init }) => init?.key?.path ?? init?.key?.method)).toEqual([
      'NONE',
      undefined,
      'film/720p/2.key',
      'film/720p/2.key',
      undefined,
    ]);
    const sample = media([map, '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="1.key"', '#EXTINF:4,', 'a']);
    expect(sample.segments.get(0)!.init).toEqual({ path: 'film/720p/i.mp4' });
  });

  it('has an initialisation vector if its sequence number is too large for a client', () => {
    const playlist = media([
      '#EXT-X-MEDIA-SEQUENCE:18446744073709551615',
      '#EXT-X-KEY:METHOD=AES-128,URI="1.key"',
      '#EXTINF:4,',
      'a.ts',
      '#EXTINF:4,',
      'b.ts',
    ]);
    expect([...playlist.segments.values()].map(({ key }) => key?.iv)).toEqual([
      '0x0000000000000000ffffffffffffffff',
      '0x00000000000000010000000000000000',
    ]);
  });
});
