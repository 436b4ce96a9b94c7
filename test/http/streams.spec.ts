import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { HeldOrigin } from '../support/held-origin.js';
import { useService } from '../support/service.js';
import { until } from '../support/until.js';

const SAMPLES = join(__dirname, '../../samples/streams');

describe('streams', () => {
  const service = useService('the embedded store');
  const phaseUrls = async (): Promise<string[]> => {
    const { body } = await service.ask({
      user_id: 'viewer',
      session_id: 'tv',
      stream_id: 'test-pattern',
      phase: 0,
    });
    return body.phase.segments.map(({ url }: { url: string }) => url);
  };

  it('are listed, and can be requested one by one', async () => {
    const { body } = await service.send('get', '/v1/streams');
    expect(body.streams).toEqual([
      { stream_id: 'colour-bars', kind: 'vod', duration_seconds: 60, phase_seconds: 10, phases: 6 },
      { stream_id: 'test-pattern', kind: 'vod', duration_seconds: 64, phase_seconds: 10, phases: 7 },
    ]);
    expect((await service.send('get', '/v1/streams/test-pattern')).body).toEqual(body.streams[1]);
  });

  it('contain each segment in exactly one phase', async () => {
    const paths: string[] = [];
    for (let last = false; !last;) {
      const { body } = await service.ask({ user_id: 'whole', session_id: 'tv', stream_id: 'test-pattern' });
      last = body.phase.last;
      paths.push(...body.phase.segments.map(({ url }: { url: string }) => new URL(url).pathname));
    }
    expect(paths).toEqual(
      Array.from(
        { length: 16 },
        (_, n) => `/media/test-pattern/360p/segment-${String(n).padStart(3, '0')}.ts`,
      ),
    );
  });

  it('are served byte for byte at signed URLs, also in ranges', async () => {
    const [url] = await phaseUrls();
    const file = readFileSync(join(SAMPLES, 'test-pattern/360p/segment-000.ts'));
    expect(Buffer.from(await (await fetch(url!)).arrayBuffer()).equals(file)).toBe(true);
    const part = await fetch(url!, { headers: { range: 'bytes=188-375' } });
    expect(part.status).toBe(206);
    expect(Buffer.from(await part.arrayBuffer()).equals(file.subarray(188, 376))).toBe(true);
  });

  it('tell the length of the file to a range beyond its end, and keep to a condition', async () => {
    const [url] = await phaseUrls();
    const { length } = readFileSync(join(SAMPLES, 'test-pattern/360p/segment-000.ts'));
    const beyond = await fetch(url!, { headers: { range: `bytes=${length}-` } });
    expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, `bytes */${length}`]);
    expect(await beyond.json()).toMatchObject({ code: 'range-not-satisfiable' });
    const other = await fetch(url!, { headers: { 'if-match': '"another"' } });
    expect([other.status, await other.json()]).toMatchObject([412, { code: 'precondition-failed' }]);
  });

  it('are refused at every other URL', async () => {
    const [url, other] = (await phaseUrls()) as [string, string];
    const change = (edit: (changed: URL) => void): string => {
      const changed = new URL(url);
      edit(changed);
      return changed.href;
    };
    const signature = new URL(other).searchParams.get('signature')!;
    for (const forged of [
      change((it) => (it.search = '')),
      change((it) => it.searchParams.set('expires', String(Number(it.searchParams.get('expires')) + 1))),
      change((it) => it.searchParams.set('expires', '1e99')),
      change((it) => it.searchParams.delete('signature')),
      change((it) => it.searchParams.set('signature', signature)),
      change((it) => it.searchParams.append('signature', signature)),
      change((it) => (it.pathname = it.pathname.replace('segment-000', 'segment-001'))),
      change((it) => (it.pathname = it.pathname.replace('/360p/', '/720p/'))),
      change((it) => (it.pathname = '/media/test-pattern/index.m3u8')),
      change((it) => (it.pathname = '/media/..%2f..%2fpackage.json')),
    ]) {
      const reply = await fetch(forged);
      expect([forged, reply.status, await reply.json()]).toMatchObject([
        forged,
        403,
        { code: 'url-invalid' },
      ]);
    }
  });

  it('are refused after the URL has expired, at most n·X after the phase was issued', async () => {
    const { body } = await service.ask({ user_id: 'late', stream_id: 'test-pattern' });
    const { url } = body.phase.segments[0] as { url: string };
    expect(Date.parse(body.phase.expires_at)).toBeLessThanOrEqual(service.clock.now() + 30_000);
    service.clock.advanceTo(body.phase.expires_at);
    service.clock.advance(-1);
    expect((await fetch(url)).status).toBe(200);
    service.clock.advance(1);
    const reply = await fetch(url);
    expect([reply.status, await reply.json()]).toMatchObject([403, { code: 'url-expired' }]);
  });

  it('have the same signed URLs for a tenth of X, and no longer', async () => {
    const [first] = await phaseUrls();
    service.clock.advance(999);
    expect((await phaseUrls())[0]).toBe(first);
    service.clock.advance(1);
    expect((await phaseUrls())[0]).not.toBe(first);
    // After the clock was set back, no URL may live longer than n·X.
    service.clock.advance(-60_000);
    const [url] = await phaseUrls();
    expect(Number(new URL(url!).searchParams.get('expires'))).toBe(service.clock.now() + 30_000);
  });
});

describe('a stream with IDLE_PHASES=1', () => {
  const service = useService('the embedded store', () => ({ IDLE_PHASES: '1' }));

  it('has next_request_in_seconds below X, so that a client keeps its place', async () => {
    const ask = async () => service.ask({ user_id: 'punctual', session_id: 'tv', stream_id: 'test-pattern' });
    const first = await ask();
    expect([first.status, first.body.next_request_in_seconds]).toEqual([201, 9]);
    await until(async () => (await service.sessions.list('punctual')).sessions.length === 1);
    service.clock.advance(1_000 * first.body.next_request_in_seconds);
    expect((await ask()).status).toBe(200);
  });
});

describe('streams with MEDIA_BASE_URL', () => {
  const service = useService('the embedded store', () => ({
    MEDIA_BASE_URL: 'https://cdn.example/films',
    MEDIA_SIGNING: 'none',
    PHASE_SECONDS: '2.5',
  }));

  it('have URLs that begin with it, without a signature if MEDIA_SIGNING is none', async () => {
    const { body } = await service.ask({
      user_id: 'ana',
      session_id: 'tv',
      stream_id: 'colour-bars',
      phase: 0,
    });
    expect(body.phase.segments).toEqual([
      { url: 'https://cdn.example/films/colour-bars/360p/segment-000.ts', duration_seconds: 4, sequence: 0 },
    ]);
  });

  it('have phases in which no segment starts', async () => {
    const { body } = await service.ask({
      user_id: 'ana',
      session_id: 'tv',
      stream_id: 'colour-bars',
      phase: 2,
    });
    expect(body.phase).toMatchObject({ index: 2, start_seconds: 5, duration_seconds: 2.5, segments: [] });
  });
});

describe('streams of an origin that redirects', () => {
  const [origin, other, stranger] = [new HeldOrigin(), new HeldOrigin(), new HeldOrigin()];
  beforeAll(() => Promise.all([origin, other, stranger].map(async (one) => one.start())));
  afterAll(() => Promise.all([origin, other, stranger].map(async (one) => one.stop())));
  const service = useService('the embedded store', () => ({
    STREAM_ORIGIN: origin.template,
    STREAM_ORIGIN_REDIRECTS: `https://never.example, ${new URL(other.template).origin}`,
  }));
  const at = (one: HeldOrigin, path: string): string => new URL(path, one.template).href;
  const ask = async (stream_id: string) => service.ask({ user_id: stream_id, stream_id });
  const firstUrl = async (stream_id: string): Promise<string> =>
    (await ask(stream_id)).body.phase.segments[0].url.split('?')[0];

  it('are read with at most 64 requests at once; a request that waits too long gets 502', async () => {
    const ids = Array.from({ length: 200 }, (_, n) => `made-up-${n}`);
    for (const id of ids) void origin.hold(id);
    const replies = await Promise.all(ids.map(ask));
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([502]));
    const asked = ids.filter((id) => origin.requestsFor(id) > 0).length;
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThan(100);
    expect((await ask('film')).status).toBe(201);
  });

  it('are looked up with at most eight requests at once, so that lookups of made-up ids do not keep viewers waiting', async () => {
    const ids = Array.from({ length: 120 }, (_, n) => `looked-for-${n}`);
    for (const id of ids) void origin.hold(id);
    const looks = ids.map(async (id) => service.send('get', `/v1/streams/${id}`));
    await until(() => ids.filter((id) => origin.requestsFor(id) > 0).length === 8);
    // The queue is bounded: further lookups are refused at once.
    expect(await Promise.race(looks)).toMatchObject({ status: 502 });
    expect((await ask('a-film-to-watch')).status).toBe(201);
    // A stream in memory is answered without waiting.
    for (const path of ['', '/renditions'])
      expect((await service.send('get', `/v1/streams/a-film-to-watch${path}`)).status).toBe(200);
    expect(ids.filter((id) => origin.requestsFor(id) > 0)).toHaveLength(8);
    origin.release();
    await Promise.all(looks);
  });

  it('are read again without waiting behind made-up ids if somebody watches them', async () => {
    const watch = async () =>
      (await service.ask({ user_id: 'ana', session_id: 'tv', stream_id: 'live' })).status;
    expect(await watch()).toBe(201);
    const ids = Array.from({ length: 80 }, (_, n) => `made-up-again-${n}`);
    for (const id of ids) void origin.hold(id);
    const asked = Promise.all(ids.map(ask));
    await until(() => ids.filter((id) => origin.requestsFor(id) > 0).length === 64);
    const reads = origin.requestsFor('live');
    service.clock.advance(501); // half a target duration
    const statuses = new Set<number>();
    await until(async () => {
      statuses.add(await watch());
      return origin.requestsFor('live') > reads;
    });
    expect(statuses).toEqual(new Set([200]));
    expect(ids.filter((id) => origin.requestsFor(id) > 0)).toHaveLength(64);
    origin.release();
    await asked;
  });

  it('are read after a redirect inside the origin', async () => {
    origin.redirects.set('moved', '/vod/v7/here/index.m3u8');
    expect(await firstUrl('moved')).toBe(at(origin, '/vod/v7/here/0.ts'));
  });

  it('are read from an origin in STREAM_ORIGIN_REDIRECTS, and keep the media URLs of their own origin', async () => {
    origin.redirects.set('lent', at(other, '/elsewhere/lent/index.m3u8'));
    expect(await firstUrl('lent')).toBe(at(origin, '/vod/lent/0.ts'));
    expect(other.requestsFor('lent')).toBe(1);
  });

  it.each([
    ['to an origin that is not listed', () => at(stranger, '/vod/secret/index.m3u8')],
    ['to another folder of the origin', () => '/private/secret/index.m3u8'],
    ['to an internal address', () => 'http://169.254.169.254/latest/meta-data/'],
    ['to an invalid URL', () => 'http://['],
    ['to itself', () => 'index.m3u8'],
  ])('are refused if they redirect %s', async (where, location) => {
    const stream = where.replaceAll(' ', '-');
    origin.redirects.set(stream, location());
    expect((await ask(stream)).body).toMatchObject({ status: 502, code: 'origin-unavailable' });
    expect([stranger.requestsFor('secret'), origin.requestsFor('secret')]).toEqual([0, 0]);
    expect(origin.requestsFor(stream)).toBeLessThan(5);
  });
});

describe('streams of a folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'streamgate-origin-'));
  const put = (path: string, ...lines: string[]): void => {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    const isMedia = lines.some((line) => line.startsWith('#EXTINF')) || lines.length === 1;
    const head = ['#EXTM3U', ...(isMedia ? ['#EXT-X-TARGETDURATION:10'] : [])];
    writeFileSync(join(folder, path), [...head, ...lines, ''].join('\n'));
  };
  beforeAll(() => {
    put('plain/index.m3u8', '#EXTINF:10,', 'a.ts', '#EXTINF:10,', 'b.ts?v=2', '#EXT-X-ENDLIST');
    put(
      'mp4/index.m3u8',
      '#EXT-X-MAP:URI="../shared/init.mp4"',
      '#EXTINF:5,',
      '#EXT-X-BYTERANGE:100@20',
      'all.mp4',
      '#EXTINF:5,',
      '#EXT-X-BYTERANGE:50',
      'all.mp4',
      '#EXT-X-ENDLIST',
    );
    put('live/index.m3u8', '#EXT-X-MEDIA-SEQUENCE:7', '#EXTINF:10,', 'a.ts', '#EXTINF:10,', 'b.ts');
    put('empty/index.m3u8', '#EXT-X-ENDLIST');
    put(
      'choice/index.m3u8',
      '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",LANGUAGE="en",URI="en/index.m3u8"',
      '#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360,CODECS="avc1.64001e,mp4a.40.2",AUDIO="a"',
      'mid/index.m3u8',
      '#EXT-X-STREAM-INF:BANDWIDTH=300000,AUDIO="a"',
      'low/index.m3u8',
    );
    for (const rendition of ['en', 'mid', 'low'])
      put(`choice/${rendition}/index.m3u8`, '#EXTINF:10,', 'a.ts', '#EXTINF:10,', 'b.ts', '#EXT-X-ENDLIST');
    const ofCdn = ['https://cdn.example/films/plain/a.ts', 'http://old.example/plain/a.ts'];
    put('named/index.m3u8', ...ofCdn.flatMap((uri) => ['#EXTINF:5,', uri]), '#EXT-X-ENDLIST');
    put('lost/index.m3u8', '#EXT-X-STREAM-INF:BANDWIDTH=1', 'nowhere/index.m3u8');
    put('climbs/index.m3u8', '#EXTINF:10,', 'file:///etc/passwd', '#EXT-X-ENDLIST');
    put('odd:name@1/index.m3u8', '#EXTINF:10,', 'a.ts', '#EXT-X-ENDLIST');
    writeFileSync(join(folder, 'plain/a.ts'), 'bytes');
    mkdirSync(join(folder, 'no-playlist'));
    writeFileSync(join(folder, 'a-file'), '');
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  const service = useService('the embedded store', () => ({
    STREAM_ORIGIN: relative('.', folder),
    STREAM_ORIGIN_ALIASES: 'https://cdn.example/films, http://old.example/',
  }));
  const phase = async (stream_id: string, index = 0) =>
    (await service.ask({ user_id: `of-${stream_id}`, session_id: 'tv', stream_id, phase: index })).body;

  it('are listed if they have a valid playlist', async () => {
    const { body } = await service.send('get', '/v1/streams');
    expect(body.streams.map(({ stream_id }: { stream_id: string }) => stream_id)).toEqual([
      'choice',
      'live',
      'mp4',
      'named',
      'odd:name@1',
      'plain',
    ]);
  });

  it('are served from the folder', async () => {
    const [{ url }] = (await phase('plain')).phase.segments;
    expect(await (await fetch(url as string)).text()).toBe('bytes');
  });

  it('are signed where their playlist names them by another address of the origin', async () => {
    const urls = (await phase('named')).phase.segments.map(({ url }: { url: string }) => url);
    expect(urls).toHaveLength(2);
    for (const url of urls) expect(await (await fetch(url as string)).text()).toBe('bytes');
  });

  it('keep the query of a segment in its signed URL', async () => {
    const [{ url }] = (await phase('plain', 1)).phase.segments;
    expect(url).toMatch(/\/media\/plain\/b\.ts\?v=2&expires=\d+&signature=[\w-]{43}$/);
  });

  it('may have renditions, and a session can choose one for each phase', async () => {
    const ask = async (rendition?: number) => {
      const chosen = rendition === undefined ? {} : { rendition };
      return (
        await service.ask({ user_id: 'chooser', session_id: 'tv', stream_id: 'choice', phase: 1, ...chosen })
      ).body;
    };
    const played = async (rendition?: number): Promise<string> =>
      new URL((await ask(rendition)).phase.segments[0].url as string).pathname;
    expect(await played()).toBe('/media/choice/mid/b.ts');
    expect(await Promise.all([0, 1, 2].map(played))).toEqual([
      '/media/choice/en/b.ts',
      '/media/choice/mid/b.ts',
      '/media/choice/low/b.ts',
    ]);
    expect(await ask(3)).toMatchObject({ status: 404, code: 'stream-not-found' });
    expect(await ask(-1)).toMatchObject({ status: 422, errors: [{ field: 'rendition' }] });
    expect((await service.sessions.list('chooser')).sessions).toHaveLength(1);
    expect((await service.send('get', '/v1/streams/choice/renditions')).body).toEqual({
      renditions: [
        { rendition: 0, type: 'audio', name: 'English', language: 'en' },
        {
          rendition: 1,
          type: 'variant',
          bandwidth: 900_000,
          codecs: 'avc1.64001e,mp4a.40.2',
          resolution: { width: 640, height: 360 },
        },
        { rendition: 2, type: 'variant', bandwidth: 300_000 },
      ],
    });
    expect((await service.send('get', '/v1/streams/plain/renditions')).body).toEqual({
      renditions: [{ rendition: 0, type: 'variant' }],
    });
    const known = { user_id: 'chooser', session_id: 'tv', stream_id: 'plain', rendition: 1 };
    expect((await service.ask(known)).body).toMatchObject({ code: 'stream-not-found' });
    expect((await service.send('get', '/v1/streams/never/renditions')).body).toMatchObject({ status: 404 });
  });

  it('may be live: phases are numbered by media sequence, and a session starts at the live edge', async () => {
    const { body } = await service.send('get', '/v1/streams/live');
    expect(body).toEqual({ stream_id: 'live', kind: 'live', phase_seconds: 10 });
    const joined = (await service.ask({ user_id: 'late', session_id: 'tv', stream_id: 'live' })).body;
    expect(joined.phase).toMatchObject({ index: 7, last: false, segments: [{ duration_seconds: 10 }] });
    expect(joined.phase.segments[0].url).toContain('/media/live/a.ts?');
    expect(await phase('live', 6)).toMatchObject({ code: 'phase-not-found' });
    expect(await phase('live', 9)).toMatchObject({ code: 'phase-not-found' });
    expect((await phase('live', 8)).phase.segments[0].url).toContain('/media/live/b.ts?');
  });

  it('may have any valid id as a name', async () => {
    expect((await phase('odd:name@1')).phase.segments).toHaveLength(1);
  });

  it('may be fragmented MP4 in one file', async () => {
    const { segments } = (await phase('mp4')).phase;
    expect(segments).toMatchObject([
      { byte_range: { offset: 20, length: 100 } },
      { byte_range: { offset: 120, length: 50 } },
    ]);
    expect(segments[0].init.url).toMatch(/\/media\/shared\/init\.mp4\?expires=/);
  });

  it.each(['empty', 'lost', 'climbs'])(
    'with an unusable playlist (%s) are refused with 502, and take no place',
    async (stream_id) => {
      expect(await phase(stream_id)).toMatchObject({ status: 502, code: 'origin-unavailable' });
      expect((await service.sessions.list(`of-${stream_id}`)).sessions).toEqual([]);
    },
  );

  it('do not exist if the folder has no playlist', async () => {
    for (const stream_id of ['no-playlist', 'a-file', 'never'])
      expect((await phase(stream_id)).status).toBe(404);
  });

  it('have 404 for a signed segment that is not in the folder', async () => {
    const [{ url }] = (await phase('plain', 1)).phase.segments;
    const reply = await fetch(url as string);
    expect([reply.status, await reply.json()]).toMatchObject([404, { code: 'not-found' }]);
  });
});
