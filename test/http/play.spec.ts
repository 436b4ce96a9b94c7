import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, get } from 'node:http';
import { type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { brotliCompressSync, brotliDecompressSync, gunzipSync, gzipSync } from 'node:zlib';
import { LiveOrigin } from '../support/live-origin.js';
import { type Service, STORES, useService } from '../support/service.js';
import { until } from '../support/until.js';

const SAMPLE = join(__dirname, '../../samples/streams/test-pattern');
const PHASE_MS = 10_000;
/** A live playlist of segments of a second is read again after so long. */
const RELOADED_MS = 501;

/** A player: it only follows the URLs that it gets. */
function playerOf(service: Service, stream = 'test-pattern', user = 'ana') {
  const base = `/v1/play/${stream}/`;
  return {
    /** Of a session, without the first redirect. */
    get: async (path: string, session = 'tv') =>
      service.send('get', `${base}${path}?user_id=${user}&session_id=${session}`),
    raw: async (query: string) => service.send('get', `${base}index.m3u8${query}`),
    sessions: async () => (await service.sessions.list(user)).sessions,
  };
}

describe.each(STORES)('the gate, on %s,', (store) => {
  const service = useService(store);
  let user = 0;
  const fresh = () => playerOf(service, 'test-pattern', `viewer-${store.length}-${++user}`);

  it('gives a session for the first playlist by a redirect, which takes no place', async () => {
    const player = fresh();
    const reply = await player.raw(`?user_id=viewer-${store.length}-${user}&_extra=1&_extra=2`);
    expect(reply.status).toBe(302);
    const location = new URL(reply.headers.location!);
    expect(location.pathname).toBe('/v1/play/test-pattern/index.m3u8');
    expect(location.searchParams.getAll('_extra')).toEqual(['1', '2']);
    expect(location.searchParams.get('session_id')).toMatch(/^[0-9a-f-]{36}$/);
    expect(await player.sessions()).toEqual([]);
    expect((await service.send('get', location.pathname + location.search)).status).toBe(200);
    await until(async () => (await player.sessions()).length === 1);
  });

  it('gives the same session to a client that loads the first URL twice, and another one after it fetched something', async () => {
    fresh();
    const name = `viewer-${store.length}-${user}`;
    const given = async (from = {}): Promise<string> => {
      const url = `/v1/play/test-pattern/index.m3u8?user_id=${name}`;
      const { headers } = await service.send('get', url, from);
      return new URL(headers.location!).searchParams.get('session_id')!;
    };
    const first = await given();
    expect(await given()).toBe(first);
    // Two tabs that start at the same instant are two sessions.
    for (const from of [
      { origin: 'https://a.example' },
      { referer: 'https://a.example/' },
      { 'sec-fetch-mode': 'cors' },
    ])
      expect(await given(from)).not.toBe(await given(from));
    const last = await given();
    expect(await given()).toBe(last);
    await service.send('get', `/v1/play/test-pattern/0/index.m3u8?user_id=${name}&session_id=${last}`);
    expect(await given()).not.toBe(last);
  });

  it('holds a place for the time of a lease after a playlist, and keeps it after the first segment', async () => {
    const player = fresh();
    await player.get('index.m3u8');
    service.clock.advance(4_999);
    expect(await player.sessions()).toHaveLength(1);
    service.clock.advance(1);
    expect(await player.sessions()).toEqual([]);
    await player.get('index.m3u8');
    await player.get('0/0.ts');
    service.clock.advance(29_999);
    await until(async () => (await player.sessions()).length === 1);
  });

  it('replaces every URI of the playlists by one of the gate, and leaves everything else unchanged', async () => {
    const player = fresh();
    const root = await player.get('index.m3u8');
    expect(root.headers['content-type']).toBe('application/vnd.apple.mpegurl');
    expect(root.headers['cache-control']).toBe('no-store');
    const name = `viewer-${store.length}-${user}`;
    expect(root.text).toBe(
      readFileSync(join(SAMPLE, 'index.m3u8'), 'utf8')
        .replace('360p/index.m3u8', `s/${name},tv/0/index.m3u8`)
        .replace('720p/index.m3u8', `s/${name},tv/1/index.m3u8`),
    );
    const media = await service.send('get', `/v1/play/test-pattern/s/${name},tv/1/index.m3u8`);
    let count = 0;
    expect(media.text.replaceAll(/^(\d+)-[a-z0-9]+\.ts/gm, '$1.ts')).toBe(
      readFileSync(join(SAMPLE, '720p/index.m3u8'), 'utf8').replace(
        /^segment-\d+\.ts$/gm,
        () => `${count++}.ts`,
      ),
    );
    expect(count).toBe(16);
    // What a playlist names by a relative URI is of the session that the playlist is of.
    const segment = await service.send('get', `/v1/play/test-pattern/s/${name},tv/1/5.ts`);
    expect([segment.status, await player.sessions()]).toMatchObject([302, [{ sessionId: 'tv', phase: 2 }]]);
  });

  it('leads by a query to what was loaded by a query, as playlists of release 0.1 name it', async () => {
    const player = fresh();
    const viewer = `?user_id=viewer-${store.length}-${user}&session_id=tv`;
    let count = 0;
    const { text } = await player.get('1/index.m3u8');
    expect(text.replaceAll(/^(\d+)-[a-z0-9]+\.ts/gm, '$1.ts')).toBe(
      readFileSync(join(SAMPLE, '720p/index.m3u8'), 'utf8').replace(
        /^segment-\d+\.ts$/gm,
        () => `${count++}.ts${viewer}`,
      ),
    );
  });

  it('redirects a segment to its signed URL, which lives for X, and counts it as a request for its phase', async () => {
    const player = fresh();
    await player.get('index.m3u8');
    const reply = await player.get('1/5.ts');
    expect(reply.status).toBe(302);
    const url = new URL(reply.headers.location!);
    expect(url.pathname).toBe('/media/test-pattern/720p/segment-005.ts');
    expect(Number(url.searchParams.get('expires'))).toBe(service.clock.now() + PHASE_MS);
    const media = Buffer.from(await (await fetch(url)).arrayBuffer());
    expect(media.equals(readFileSync(join(SAMPLE, '720p/segment-005.ts')))).toBe(true);
    expect(await player.sessions()).toMatchObject([{ phase: 2, lastActivityAt: service.clock.now() }]);
  });

  it('counts one session for concurrent and repeated requests, and for other renditions', async () => {
    const player = fresh();
    await player.get('index.m3u8');
    const paths = ['0/index.m3u8', '1/index.m3u8', '0/0.ts', '1/0.ts', '0/4.ts', '0/0.ts', '1/5.ts'];
    const replies = await Promise.all([...paths, ...paths].map((path) => player.get(path)));
    expect(replies.map(({ status }) => status)).toEqual(
      [...paths, ...paths].map((path) => (path.endsWith('ts') ? 302 : 200)),
    );
    expect(await player.sessions()).toHaveLength(1);
    service.clock.advance(29_999);
    await player.get('0/0.ts');
    service.clock.advance(29_999);
    expect(await player.sessions()).toMatchObject([{ phase: 0 }]);
  });

  it('moves the session to another stream', async () => {
    const player = fresh();
    await player.get('0/9.ts');
    await playerOf(service, 'colour-bars', `viewer-${store.length}-${user}`).get('index.m3u8');
    expect(await player.sessions()).toMatchObject([{ streamId: 'colour-bars', phase: 0 }]);
  });

  it('refuses a fourth session with 403, repeats the refusal from memory, and admits it once a place is free', async () => {
    const player = fresh();
    for (const session of ['a', 'b', 'c']) await player.get('index.m3u8', session);
    const admit = jest.spyOn(service.sessions, 'admit');
    try {
      const denied = await player.get('index.m3u8', 'd');
      expect([denied.status, denied.headers['content-type']]).toEqual([403, 'application/problem+json']);
      expect(denied.body).toMatchObject({ code: 'session-limit-reached', status: 403, limit: 3 });
      expect(denied.body.sessions).toHaveLength(3);
      for (const path of ['0/index.m3u8', '0/0.ts', '0/0.ts'])
        expect(await player.get(path, 'd')).toMatchObject({
          status: 403,
          body: { code: 'session-limit-reached' },
        });
      expect(admit).toHaveBeenCalledTimes(1);
    } finally {
      admit.mockRestore();
    }
    await service.send('delete', `/v1/users/viewer-${store.length}-${user}/sessions/a`);
    // It is admitted at once, and so are its segments.
    expect((await player.get('index.m3u8', 'd')).status).toBe(200);
    expect((await player.get('0/0.ts', 'd')).status).toBe(302);
  });

  it('stops a session that was ended at its next playlist or segment', async () => {
    const player = fresh();
    await player.get('index.m3u8');
    await service.send('delete', `/v1/users/viewer-${store.length}-${user}/sessions/tv`);
    for (const path of ['0/1.ts', '0/index.m3u8', 'index.m3u8'])
      expect(await player.get(path)).toMatchObject({
        status: 403,
        body: { code: 'session-ended', reason: 'user' },
      });
  });

  it('keeps a place only if the redirect is delivered', async () => {
    const player = fresh();
    await player.get('index.m3u8');
    await until(async () => (await player.sessions()).length === 1);
    expect((await player.get('0/99.ts')).body).toMatchObject({ status: 404, code: 'phase-not-found' });
    expect(await player.sessions()).toMatchObject([{ phase: 0 }]);
  });

  it('reports the errors of a URL', async () => {
    const player = fresh();
    expect((await player.raw('')).body).toMatchObject({ status: 422, errors: [{ field: 'user_id' }] });
    expect((await player.raw('?user_id=ana&session_id=a/b')).body).toMatchObject({
      status: 422,
      errors: [{ field: 'session_id' }],
    });
    expect((await player.raw('?user_id=ana&user_id=bob')).body).toMatchObject({ status: 422 });
    expect((await service.send('get', '/v1/play/test-pattern/0/1.ts?user_id=ana')).body).toMatchObject({
      status: 422,
      errors: [{ field: 'session_id' }],
    });
    expect((await player.get('x/1.ts')).body).toMatchObject({
      status: 422,
      errors: [{ field: 'rendition' }],
    });
    for (const credential of ['ana,', ',tv', 'ana,a%2Fb', 'a%20b,tv'])
      expect((await service.send('get', `/v1/play/test-pattern/s/${credential}/0/1.ts`)).body).toMatchObject({
        status: 422,
        errors: [{ field: 'credential' }],
      });
    expect((await service.send('get', '/v1/play/test-pattern/s/no-ticket/0/1.ts')).body).toMatchObject({
      status: 401,
    });
    for (const path of ['2/index.m3u8', '9999/0.ts'])
      expect((await player.get(path)).body).toMatchObject({ code: 'stream-not-found' });
    for (const path of ['0/..%2f..%2fsecret', '0/a-nothing.key', '0/1x.ts'])
      expect((await player.get(path)).body).toMatchObject({ code: 'phase-not-found' });
    expect((await playerOf(service, 'nowhere').get('index.m3u8')).body).toMatchObject({
      code: 'stream-not-found',
    });
    expect(await player.sessions()).toEqual([]);
  });

  it('serves pages of any origin, and HEAD', async () => {
    const player = fresh();
    for (const reply of [
      await player.get('index.m3u8'),
      await player.get('0/0.ts'),
      await player.get('0/99.ts'),
    ])
      expect(reply.headers['access-control-allow-origin']).toBe('*');
    const url = await service.app.getUrl();
    const preflight = await fetch(`${url}/v1/play/test-pattern/0/0.ts`, { method: 'OPTIONS' });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-headers')!.split(', ')).toEqual(
      expect.arrayContaining([
        'range',
        'authorization',
        'content-type',
        'accept-encoding',
        'cache-control',
        'cmcd-object',
        'cmcd-request',
        'cmcd-session',
        'cmcd-status',
        'traceparent',
        'baggage',
        'sentry-trace',
      ]),
    );
    expect(
      (await fetch(`${url}/v1/phases`, { method: 'OPTIONS' })).headers.get('access-control-allow-origin'),
    ).toBe(null);
    const head = await fetch(`${url}/v1/play/test-pattern/index.m3u8?user_id=head&session_id=tv`, {
      method: 'HEAD',
    });
    expect([head.status, await head.text()]).toEqual([200, '']);
  });

  it('counts every redirect to a signed URL as watching, also by HEAD, and keeps the place', async () => {
    const player = fresh();
    const user_id = `viewer-${store.length}-${user}`;
    const url = `${await service.app.getUrl()}/v1/play/test-pattern/0/0.ts?user_id=${user_id}&session_id=tv`;
    const reply = await fetch(url, { method: 'HEAD', redirect: 'manual' });
    expect([reply.status, reply.headers.get('location')]).toEqual([
      302,
      expect.stringContaining('segment-000.ts'),
    ]);
    service.clock.advance(6_000); // longer than a lease
    expect(await player.sessions()).toHaveLength(1);
  });

  it('does not count a player that disconnects before the reply', async () => {
    const player = fresh();
    const admit = service.sessions.admit.bind(service.sessions);
    const withdraw = jest.spyOn(service.sessions, 'withdraw');
    const url = `${await service.app.getUrl()}/v1/play/test-pattern/index.m3u8?user_id=viewer-${store.length}-${user}&session_id=tv`;
    const connection = once(service.app.getHttpServer(), 'connection') as Promise<[Socket]>;
    const request = get(url, { agent: false });
    request.on('error', () => undefined); // the test closes it
    jest.spyOn(service.sessions, 'admit').mockImplementationOnce(async (asked) => {
      const admission = await admit(asked);
      const [socket] = await connection;
      const gone = once(socket, 'close');
      request.destroy();
      await gone;
      return admission;
    });
    await until(() => withdraw.mock.calls.length === 1);
    await withdraw.mock.results[0]!.value;
    expect(await player.sessions()).toEqual([]);
    jest.restoreAllMocks();
  });
});

describe('the gate, of a session that was ended,', () => {
  const service = useService('the embedded store', () => ({ PHASE_SECONDS: '0.5' }));

  it('asks the store once per X whether the session was admitted again, and then admits it', async () => {
    const player = playerOf(service);
    await player.get('0/0.ts');
    await service.send('delete', '/v1/users/ana/sessions/tv');
    expect((await player.get('0/1.ts')).status).toBe(403);
    // After n·X the store has removed the record of the ended session. The gate still refuses a segment.
    service.clock.advance(1_501);
    const [admit, list] = [jest.spyOn(service.sessions, 'admit'), jest.spyOn(service.sessions, 'list')];
    for (let asked = 0; asked < 12; asked++) {
      expect(await player.get('0/1.ts')).toMatchObject({ status: 403, body: { code: 'session-ended' } });
      service.clock.advance(100);
    }
    expect(admit).not.toHaveBeenCalled();
    // The store was asked at once, because X had passed, and then every X.
    expect(list).toHaveBeenCalledTimes(3);
    jest.restoreAllMocks();
    await service.ask({ user_id: 'ana', session_id: 'tv', stream_id: 'test-pattern' });
    service.clock.advance(500);
    expect((await player.get('0/1.ts')).status).toBe(302);
  });
});

describe('the gate, where segments are longer than X,', () => {
  const service = useService('the embedded store', () => ({ PHASE_SECONDS: '2' }));

  it('counts a player as playing to the end of the segment that it was handed out', async () => {
    const player = playerOf(service);
    await player.get('0/0.ts');
    await until(async () => (await player.sessions()).length === 1);
    expect(await player.sessions()).toMatchObject([{ playsUntil: service.clock.now() + 4_000 }]);
    await player.get('0/1.ts');
    const playsUntil = service.clock.now() + 8_000;
    await until(async () => (await player.sessions())[0]!.playsUntil === playsUntil);
  });
});

describe('the gate of a live stream', () => {
  const origin = new LiveOrigin();
  beforeAll(() => origin.start());
  afterAll(() => origin.stop());
  const service = useService('the embedded store', () => ({ STREAM_ORIGIN: origin.template }));
  const player = playerOf(service, 'news');

  it('follows the window, with one read for concurrent requests, and counts a reload as activity', async () => {
    const replies = await Promise.all(Array.from({ length: 20 }, () => player.get('index.m3u8')));
    expect(new Set(replies.map(({ text }) => text)).size).toBe(1);
    expect(replies[0]!.text).toMatch(/0\/100-[a-z0-9]+\.ts$/m);
    expect(origin.reads).toBe(1);
    // Phase 10 is not whole yet.
    expect(await player.sessions()).toMatchObject([{ phase: 9, streamId: 'news' }]);
    origin.first = 103;
    service.clock.advance(RELOADED_MS);
    expect((await player.get('index.m3u8')).text).toContain('0/108-');
    service.clock.advance(5_000);
    await player.get('0/index.m3u8');
    expect(await player.sessions()).toMatchObject([{ lastActivityAt: service.clock.now() }]);
  });

  it('still serves a segment that has just left the window', async () => {
    const left = await player.get('0/101.ts');
    expect(left.status).toBe(302);
    expect(await (await fetch(left.headers.location!)).text()).toBe('media of /live/news/101.ts');
    expect((await player.get('0/90.ts')).body).toMatchObject({ code: 'phase-not-found' });
    expect((await player.get('1/101.ts')).body).toMatchObject({ code: 'stream-not-found' });
  });

  it('hands out a phase once it is whole, with what has left the window', async () => {
    const newest = async () =>
      (await service.ask({ user_id: 'live', session_id: 'tv', stream_id: 'news', phase: 10 })).body;
    expect(await newest()).toMatchObject({ status: 404, code: 'phase-not-found' }); // 109 may come yet
    origin.first = 104;
    service.clock.advance(RELOADED_MS);
    const { segments } = (await newest()).phase;
    expect(segments.map(({ url }: { url: string }) => new URL(url).pathname.split('/').at(-1))).toEqual(
      Array.from({ length: 10 }, (_, at) => `${100 + at}.ts`),
    );
  });
});

describe('a live stream that ends', () => {
  const origin = new LiveOrigin();
  beforeAll(() => origin.start());
  afterAll(() => origin.stop());
  const service = useService('the embedded store', () => ({
    STREAM_ORIGIN: origin.template,
    PHASE_SECONDS: '2',
  }));
  const player = playerOf(service, 'news', 'ben');
  const ask = async (phase?: number) => {
    const chosen = phase === undefined ? {} : { phase };
    return (await service.ask({ user_id: 'ana', session_id: 'tv', stream_id: 'news', ...chosen })).body;
  };

  it('keeps its phase numbers to its last phase', async () => {
    origin.first = 100; // to 105: phases 50 to 52
    expect((await ask()).phase).toMatchObject({ index: 51, last: false });
    await player.get('index.m3u8');
    origin.first = 102;
    origin.ended = true;
    service.clock.advance(RELOADED_MS);
    expect((await player.get('index.m3u8')).text).toContain('#EXT-X-ENDLIST');
    expect((await ask()).phase).toMatchObject({ index: 52, last: false });
    expect((await ask()).phase).toMatchObject({ index: 53, last: true, segments: [{}, {}] });
    expect(await ask(54)).toMatchObject({ code: 'phase-not-found' });
    // No segments will be added, so that it is not read again every half target duration.
    const { reads } = origin;
    service.clock.advance(5_000);
    await player.get('index.m3u8');
    expect(origin.reads).toBe(reads);
    expect((await player.get('0/101.ts')).status).toBe(302);
  });
});

describe('the gate of encrypted and fragmented streams', () => {
  const folder = mkdtempSync(join(tmpdir(), 'streamgate-gate-'));
  const put = (path: string, text: string): void => {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  beforeAll(() => {
    put(
      'film/index.m3u8',
      [
        '#EXTM3U',
        '#EXT-X-TARGETDURATION:5',
        '#EXT-X-KEY:METHOD=AES-128,URI="1.key"',
        '#EXT-X-MAP:URI="init.mp4"',
        '#EXTINF:5,',
        '#EXT-X-BYTERANGE:4@2',
        'all.m4s',
        '#EXT-X-KEY:METHOD=NONE',
        '#EXTINF:5,',
        'all.m4s',
        '#EXT-X-ENDLIST',
      ].join('\n'),
    );
    put(
      'one-file/index.m3u8',
      [
        '#EXTM3U',
        '#EXT-X-TARGETDURATION:5',
        '#EXT-X-MAP:URI="../film/all.m4s",BYTERANGE="2@0"',
        '#EXTINF:5,',
        '#EXT-X-BYTERANGE:3@2',
        '../film/all.m4s',
        '#EXT-X-MAP:URI="../film/all.m4s",BYTERANGE="2@3"',
        '#EXTINF:5,',
        '#EXT-X-BYTERANGE:5@5',
        '../film/all.m4s',
        '#EXT-X-ENDLIST',
      ].join('\n'),
    );
    put(
      'i-frames/index.m3u8',
      [
        '#EXTM3U',
        '#EXT-X-TARGETDURATION:5',
        '#EXT-X-I-FRAMES-ONLY',
        '#EXTINF:5,',
        '#EXT-X-BYTERANGE:4@3000',
        'all.ts',
        '#EXT-X-ENDLIST',
      ].join('\n'),
    );
    put('i-frames/all.ts', 'tables'.padEnd(4_000, '.'));
    put('film/1.key', 'key');
    put('many/session.key', 'of the session');
    put(
      'many/index.m3u8',
      [
        '#EXTM3U',
        '#EXT-X-SESSION-KEY:METHOD=AES-128,URI="session.key"',
        '#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="skd://keys.example/1"',
        '#EXT-X-STREAM-INF:BANDWIDTH=1',
        '../film/index.m3u8',
      ].join('\n'),
    );
    put('film/init.mp4', 'init');
    put('film/all.m4s', '0123456789');
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  const service = useService('the embedded store', () => ({ STREAM_ORIGIN: folder }));

  it('redirects to keys, initialisation sections and byte ranges', async () => {
    const player = playerOf(service, 'film');
    const { text } = await player.get('0/index.m3u8');
    const [key, init] = [...text.matchAll(/URI="(a-[^"?]+)[?"]/g)].map(([, name]) => name!);
    const fetched = async (path: string, headers = {}) => {
      const { headers: reply } = await player.get(path);
      return (await fetch(reply.location!, { headers })).text();
    };
    expect(await fetched(`0/${key}`)).toBe('key');
    expect(await fetched(`0/${init}`)).toBe('init');
    expect(await fetched('0/0.m4s', { range: 'bytes=2-5' })).toBe('2345');
  });

  it('has signed URLs of the keys of segments and of initialisation sections in its phases', async () => {
    const { body } = await service.ask({ user_id: 'ana', stream_id: 'film' });
    const [encrypted, plain] = body.phase.segments;
    expect(encrypted.init.key).toBeUndefined();
    expect(plain.key).toBeUndefined();
    for (const { url } of [encrypted.key, plain.init.key])
      expect(await (await fetch(url)).text()).toBe('key');
  });

  it('gives no more of a file by a URL than the range that the URL is for', async () => {
    const { headers } = await playerOf(service, 'film').get('0/0.m4s');
    const { body } = await service.ask({ user_id: 'ana', session_id: 'api', stream_id: 'film' });
    const init = await playerOf(service, 'one-file').get('0/index.m3u8');
    const { headers: ofInit } = await playerOf(service, 'one-file').get(
      `0/${/URI="(a-[^"?]+)/.exec(init.text)![1]}`,
    );
    const fetched = async (url: string, range?: string) => {
      const more = { 'if-range': '"another"' };
      const reply = await fetch(url, { headers: range === undefined ? more : { range, ...more } });
      return reply.ok ? reply.text() : reply.status;
    };
    for (const url of [headers.location!, body.phase.segments[0].url as string])
      expect([
        await fetched(url, 'bytes=3-'),
        await fetched(url, 'bytes=2-9'),
        await fetched(url, 'bytes=1-5'),
        await fetched(url, 'bytes=6-'),
        await fetched(url, 'bytes=2-3,0-9'),
        await fetched(url, 'bytes=-9'),
        await fetched(url),
      ]).toEqual(['345', '2345', 403, 403, 403, 403, '2345']);
    // Two sections in one file have one name: its URL is for what they span.
    expect(await fetched(ofInit.location!, 'bytes=0-9')).toBe('01234');
    expect(await fetched(ofInit.location!, 'bytes=5-9')).toBe(403);
  });

  it('gives the tables at the beginning of a transport stream by the URL of an I-frame', async () => {
    const { headers } = await playerOf(service, 'i-frames').get('0/0.ts');
    const fetched = async (range: string) => {
      const reply = await fetch(headers.location!, { headers: { range } });
      return reply.ok ? reply.text() : reply.status;
    };
    expect(await fetched('bytes=0-5')).toBe('tables');
    expect(await fetched('bytes=3000-3003')).toBe('....');
    for (const range of ['bytes=0-', 'bytes=0-1316', 'bytes=2999-3003', 'bytes=-5'])
      expect(await fetched(range)).toBe(403);
  });

  it('keeps the place of a player that fetches only keys, because a signed URL counts as media', async () => {
    const nameIn = (text: string): string => /URI="(?:s\/[^/]+\/)?(a-[^?"]+)/.exec(text)![1]!;
    for (const [stream, user, at] of [
      ['film', 'of-a-rendition', '0/'],
      ['many', 'of-the-session', ''],
    ] as const) {
      const player = playerOf(service, stream, user);
      const name = nameIn((await player.get(`${at}index.m3u8`)).text);
      expect((await player.get(at + name)).status).toBe(302);
      service.clock.advance(6_000); // longer than a lease
      expect([stream, await player.sessions()]).toMatchObject([stream, [{ sessionId: 'tv' }]]);
    }
  });

  it('redirects to keys that the first playlist lists, and leaves key URIs of other servers unchanged', async () => {
    const player = playerOf(service, 'many');
    const { text } = await player.get('index.m3u8');
    expect(text).toContain('URI="skd://keys.example/1"');
    const [, name] = /URI="s\/[^/]+\/(a-[\w-]+\.key)"/.exec(text)!;
    const { headers } = await player.get(name!);
    expect((await service.send('get', `/v1/play/many/s/ana,tv/${name}`)).headers.location).toBe(
      headers.location,
    );
    expect(await (await fetch(headers.location!)).text()).toBe('of the session');
    expect((await player.get('a-other.key')).body).toMatchObject({ status: 404, code: 'phase-not-found' });
    const steered = await service.send(
      'get',
      `/v1/play/many/s/ana,tv/${name}?_HLS_pathway=%22B%22&b=1&_HLS_x=a&_HLS_pathway=%22A%22&_HLS_throughput=a@b`,
    );
    expect(new URL(steered.headers.location!).search).toMatch(
      /^\?_HLS_pathway=%22A%22&expires=[^&]+&signature=[^&]+$/,
    );
    expect(await (await fetch(steered.headers.location!)).text()).toBe('of the session');
    const { text: media } = await player.get('0/index.m3u8');
    const segment = media
      .split('\n')
      .find((line) => line !== '' && !line.startsWith('#'))!
      .split('?', 1)[0];
    const plain = await service.send('get', `/v1/play/many/s/ana,tv/0/${segment}?_HLS_pathway=A`);
    expect(plain.status).toBe(302);
    expect(plain.headers.location).not.toContain('_HLS_');
    const sessionless = await service.send('get', `/v1/play/many/${name}?user_id=ana`);
    expect(sessionless.body).toMatchObject({ status: 422, errors: [{ field: 'session_id' }] });
  });
});

describe('the gate, asked by clients that take compressed replies,', () => {
  const folder = mkdtempSync(join(tmpdir(), 'streamgate-dvr-'));
  const SEGMENTS = 1_800;
  let origin: string;
  beforeAll(() => {
    const lines = Array.from(
      { length: SEGMENTS },
      (_, n) => `#EXTINF:${(3.84 + ((n * 7) % 13) / 100).toFixed(3)},\nsegment-${100_000 + n}.ts`,
    );
    origin = ['#EXTM3U', '#EXT-X-TARGETDURATION:4', ...lines, '#EXT-X-ENDLIST', ''].join('\n');
    mkdirSync(join(folder, 'dvr'));
    writeFileSync(join(folder, 'dvr/index.m3u8'), origin);
    mkdirSync(join(folder, 'short'));
    writeFileSync(
      join(folder, 'short/index.m3u8'),
      '#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n0.ts\n#EXT-X-ENDLIST\n',
    );
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  const service = useService('the embedded store', () => ({ STREAM_ORIGIN: folder }));
  const load = async (accepted: string, user = 'ana', stream = 'dvr') => {
    const url = `${await service.app.getUrl()}/v1/play/${stream}/s/${user},tv/0/index.m3u8`;
    const reply = Promise.withResolvers<IncomingMessage>();
    get(url, { headers: { 'accept-encoding': accepted }, agent: false }, reply.resolve).on(
      'error',
      reply.reject,
    );
    const { statusCode, headers } = await reply.promise;
    const body = await buffer(await reply.promise);
    return { statusCode, encoding: headers['content-encoding'], vary: headers.vary, body };
  };

  it('sends a long playlist in no more bytes than the origin would, compressed, and 30 %', async () => {
    const plain = await load('identity');
    expect(plain).toMatchObject({ statusCode: 200, encoding: undefined, vary: 'accept-encoding' });
    for (const [accepted, encoding, decompress, compress] of [
      ['gzip, deflate', 'gzip', gunzipSync, gzipSync],
      ['gzip, deflate, br', 'br', brotliDecompressSync, brotliCompressSync],
      ['br;q=0, gzip;q=0.5', 'gzip', gunzipSync, gzipSync],
    ] as const) {
      const reply = await load(accepted);
      expect([reply.statusCode, reply.encoding]).toEqual([200, encoding]);
      expect(decompress(reply.body).toString()).toBe(plain.body.toString());
      expect(reply.body.length).toBeLessThan(1.3 * compress(origin).length);
    }
  });

  it('is the same text for every viewer, which is compressed once', async () => {
    const replies = await Promise.all(['ben', 'cyd'].map(async (user) => load('br', user)));
    expect(replies[0]!.body.equals(replies[1]!.body)).toBe(true);
    expect((await service.sessions.list('cyd')).sessions.map(({ sessionId }) => sessionId)).toEqual(['tv']);
  });

  it('repeats nothing of a request in a playlist but who plays', async () => {
    const { text } = await playerOf(service, 'dvr').raw(
      '?user_id=eve&session_id=tv&echo=a-guess&CMCD=sid%3D%22a-guess%22',
    );
    expect([text.includes('#EXTINF'), text.includes('a-guess')]).toEqual([true, false]);
  });

  it('sends what is short as it is', async () => {
    const { statusCode, encoding, body } = await load('br', 'dan', 'short');
    expect([statusCode, encoding, body.toString()]).toEqual([
      200,
      undefined,
      expect.stringContaining('#EXTINF:4'),
    ]);
  });
});
