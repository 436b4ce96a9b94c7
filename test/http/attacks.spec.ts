import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { type RequestListener, type Server, type ServerResponse, createServer } from 'node:http';
import { type AddressInfo, type Socket, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { STALLED_MS } from '../../src/http/connections.js';
import { type Service, useService } from '../support/service.js';
import { endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { until } from '../support/until.js';

/**
 * Deliberate attacks. SECURITY.md lists the threats and the test of each. bad-input.spec.ts tests input that is only
 * invalid.
 */

afterEach(endServiceProcesses);

function open(service: Service): Socket {
  const { port } = service.app.getHttpServer().address() as AddressInfo;
  return connect(port, '127.0.0.1').on('error', () => undefined);
}

/** Sends these bytes, and returns all replies until the service closes the connection. */
async function exchange(service: Service, bytes: string): Promise<string> {
  const socket = open(service);
  socket.write(bytes);
  return text(socket);
}

/** Sends these bytes, and returns the beginning of the reply. The reply may be an event stream, which does not end. */
async function firstBytes(service: Service, bytes: string): Promise<string> {
  const socket = open(service);
  socket.write(bytes);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return chunk.toString();
}

/** A server of the test, for the suite that calls this. */
function useServer(listener: RequestListener): () => string {
  let server: Server;
  beforeAll(async () => {
    server = createServer(listener).listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  return () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('a path that leaves the folder of streams', () => {
  const folder = mkdtempSync(join(tmpdir(), 'streamgate-'));
  mkdirSync(join(folder, 'streams/film'), { recursive: true });
  writeFileSync(join(folder, 'secret.ts'), 'THE SECRET');
  mkdirSync(join(folder, 'secret'));
  const playlist = ['#EXTM3U', '#EXT-X-TARGETDURATION:4', '#EXTINF:4,', 'a.ts', '#EXT-X-ENDLIST', ''].join(
    '\n',
  );
  writeFileSync(join(folder, 'secret/index.m3u8'), playlist);
  writeFileSync(join(folder, 'streams/film/index.m3u8'), playlist);
  writeFileSync(join(folder, 'streams/film/a.ts'), 'a segment');
  const service = useService('the embedded store', () => ({
    STREAM_ORIGIN: join(folder, 'streams'),
    // Without signatures every file of the folder is public, so that only the boundary of the folder is tested.
    MEDIA_SIGNING: 'none',
  }));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  const get = (path: string) =>
    exchange(service, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);

  it.each([
    '/media/../secret.ts',
    '/media/film/../../secret.ts',
    '/media/..%2fsecret.ts',
    '/media/%2e%2e/secret.ts',
    '/media/%2e%2e%2fsecret.ts',
    '/media/film/..%2f..%2fsecret.ts',
    '/media/..%5csecret.ts',
    '/media/..\\secret.ts',
    '/media/%252e%252e%252fsecret.ts',
    '/media/..%c0%afsecret.ts',
    '/media//../secret.ts',
    '/media/film/a.ts%00/../../../secret.ts',
    `/media/${'film/%2e%2e/'.repeat(200)}..%2fsecret.ts`,
  ])('finds nothing by %s', async (path) => {
    expect(await get('/media/film/a.ts')).toContain('a segment');
    const reply = await get(path);
    expect(reply).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect(reply).not.toContain('THE SECRET');
  });

  it.each(['..', '../secret', '..%2fsecret', '%2e%2e%2fsecret', '..\\secret', '.%2e'])(
    'finds no stream by the id %s',
    async (id) => {
      const asked = await service.ask({ user_id: 'eve', stream_id: id });
      expect([404, 422]).toContain(asked.status);
      for (const path of [`/v1/streams/${id}`, `/v1/play/${id}/index.m3u8?user_id=eve&session_id=a`])
        expect(await get(path)).toMatch(/^HTTP\/1\.1 (400|404|422) /);
    },
  );
});

describe('an origin that redirects to another server', () => {
  const asked: string[] = [];
  const inside = useServer((request, response) => {
    asked.push(request.url!);
    response.end('#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n#EXT-X-ENDLIST\n');
  });
  const uri: Record<string, () => string> = {
    'another-host': inside,
    'another-path': () => '/admin',
    climbing: () => '../../../admin',
    'no-scheme': () => inside().replace('http:', ''),
    file: () => 'file:///etc/passwd',
    'with-user': () => inside().replace('//', '//origin@'),
  };
  const origin = useServer((request, response) => {
    const [, , kind, name] = request.url!.split('/') as [string, string, string, string];
    if (kind.startsWith('redirect-')) {
      response
        .writeHead(Number(kind.slice('redirect-'.length)), { location: `${inside()}/redirected` })
        .end();
      return;
    }
    const [what, where] = kind.split('.') as [string, string];
    const target = uri[where]!();
    if (name !== 'index.m3u8') response.writeHead(404).end();
    else if (what === 'variant')
      response.end(`#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n${target}/index.m3u8\n`);
    else response.end(`#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n${target}/a.ts\n#EXT-X-ENDLIST\n`);
  });
  const service = useService('the embedded store', () => ({
    STREAM_ORIGIN: `${origin()}/vod/{stream_id}/index.m3u8`,
  }));

  it.each([
    ...[301, 302, 303, 307, 308].map((status) => `redirect-${status}`),
    ...Object.keys(uri).flatMap((where) => [`variant.${where}`, `segment.${where}`]),
  ])('reaches nobody, and nobody is sent there: %s', async (stream_id) => {
    const reply = await service.ask({ user_id: 'eve', stream_id });
    expect([reply.status, reply.body.code]).toEqual([502, 'origin-unavailable']);
    const gate = await service.send('get', `/v1/play/${stream_id}/index.m3u8?user_id=eve&session_id=a`);
    expect([gate.status, gate.headers.location]).toEqual([502, undefined]);
    expect(asked).toEqual([]);
  });
});

describe('a request that hides another', () => {
  const service = useService('the embedded store');
  const HIDDEN = 'GET /v1/users/hidden/sessions HTTP/1.1\r\nHost: a\r\n\r\n';
  const post = (headers: string, body: string) =>
    `POST /v1/phases HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n${headers}\r\n${body}`;

  // If a proxy and the service disagree about the end of a request, the rest becomes a part of the next client's request.
  it.each([
    ['both lengths', post(`Content-Length: 6\r\nTransfer-Encoding: chunked\r\n`, `0\r\n\r\n${HIDDEN}`)],
    [
      'the lengths the other way',
      post(`Transfer-Encoding: chunked\r\nContent-Length: 6\r\n`, `0\r\n\r\n${HIDDEN}`),
    ],
    ['two lengths', post(`Content-Length: 2\r\nContent-Length: ${HIDDEN.length}\r\n`, `{}${HIDDEN}`)],
    ['a list of lengths', post(`Content-Length: 2, 2\r\n`, `{}${HIDDEN}`)],
    ['a signed length', post(`Content-Length: +2\r\n`, `{}${HIDDEN}`)],
    ['a folded length', post(`Content-Length:\r\n 2\r\n`, `{}${HIDDEN}`)],
    ['a folded header', post(`X: a\r\n b\r\nContent-Length: 2\r\n`, `{}${HIDDEN}`)],
    ['a space before the colon', post(`Content-Length : 2\r\n`, `{}${HIDDEN}`)],
    ['an encoding that is none', post(`Transfer-Encoding: xchunked\r\n`, `0\r\n\r\n${HIDDEN}`)],
    [
      'an encoding twice',
      post(`Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n`, `0\r\n\r\n${HIDDEN}`),
    ],
    [
      'chunks of a size that is none',
      post(`Transfer-Encoding: chunked\r\n`, `0x2\r\n{}\r\n0\r\n\r\n${HIDDEN}`),
    ],
    ['a line feed alone', post(`X: a\nContent-Length: 2\r\n`, `{}${HIDDEN}`)],
    ['a carriage return alone', post(`X: a\rContent-Length: 2\r\n`, `{}${HIDDEN}`)],
  ])('is refused whole, with its connection: %s', async (_, bytes) => {
    const replies = await exchange(service, bytes);
    expect(replies.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 400']);
    expect(replies).toMatch(/connection: close/i);
    expect(replies).not.toContain('hidden');
  });
});

describe('names of properties that every object has', () => {
  const service = useService('the embedded store', () => ({ INTERNAL_API_TOKEN: 'a-token-of-the-test' }));
  const POLLUTED = '{"polluted": true}';

  it.each([
    ['post', '/v1/phases', `{"user_id": "a", "stream_id": "b", "constructor": {"prototype": ${POLLUTED}}}`],
    ['post', '/internal/expiry/pause', `{"__proto__": ${POLLUTED}}`],
    ['post', '/internal/expiry/pause', `{"constructor": {"prototype": ${POLLUTED}}}`],
    ['get', '/v1/play/film/index.m3u8?user_id=a&__proto__[polluted]=1&__proto__.polluted=1', undefined],
    ['get', '/v1/play/film/index.m3u8?user_id=a&constructor[prototype][polluted]=1', undefined],
  ] as const)('change no other object: %s %s', async (method, url, payload) => {
    const headers = { 'content-type': 'application/json', authorization: 'Bearer a-token-of-the-test' };
    const { statusCode } = await service.app.inject({
      method,
      url,
      ...(payload ? { payload, headers } : {}),
    });
    expect(statusCode).toBeLessThan(500);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });
});

describe('input that is made to be slow', () => {
  const MEGABYTES = 3 * 1024 * 1024;
  const fill = (part: string) => part.repeat(Math.floor(MEGABYTES / part.length));
  const HOSTILE: Record<string, string> = {
    blank: `#EXTM3U\n${fill(' ')}\n`,
    lines: `#EXTM3U${fill('\n')}`,
    comments: `#EXTM3U\n${fill('#\n')}`,
    quotes: `#EXTM3U\n#EXT-X-STREAM-INF:${fill('"')}\na.m3u8\n`,
    attributes: `#EXTM3U\n#EXT-X-STREAM-INF:${fill('A=1,')}\na.m3u8\n`,
    commas: `#EXTM3U\n#EXT-X-MAP:URI="a"${fill(',')}\n#EXTINF:4,\na.ts\n`,
    equals: `#EXTM3U\n#EXT-X-KEY:METHOD=NONE,${fill('=')}\n#EXTINF:4,\na.ts\n`,
    digits: `#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4.${fill('9')},\na.ts\n#EXT-X-ENDLIST\n`,
    dots: `#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n${fill('../')}a.ts\n#EXT-X-ENDLIST\n`,
    percents: `#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n${fill('%2e%2e/')}a.ts\n#EXT-X-ENDLIST\n`,
    segments: `#EXTM3U\n#EXT-X-TARGETDURATION:4\n${fill('#EXTINF:4,\na.ts\n')}#EXT-X-ENDLIST\n`,
    byteranges: `#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-VERSION:4\n${fill('#EXTINF:4,\n#EXT-X-BYTERANGE:1\na.ts\n')}`,
    dates: `#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PROGRAM-DATE-TIME:${fill('2')}\n#EXTINF:4,\na.ts\n`,
  };
  const origin = useServer((request, response) => {
    response.end(HOSTILE[request.url!.split('/')[1]!]);
  });
  const service = useService('the embedded store', () => ({
    STREAM_ORIGIN: `${origin()}/{stream_id}/x.m3u8`,
  }));
  /** The longest time in milliseconds that the event loop was blocked, so that no other request was answered. */
  const longestTurn = async (work: () => Promise<unknown>): Promise<number> => {
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    await work().finally(() => {
      longest = Math.max(longest, performance.now() - last);
      clearInterval(timer);
    });
    return longest;
  };

  it.each(Object.keys(HOSTILE))('takes no longer than its size: a playlist of %s', async (stream_id) => {
    let status = 0;
    const longest = await longestTurn(async () => {
      ({ status } = await service.ask({ user_id: stream_id, stream_id }));
    });
    expect([201, 404, 502]).toContain(status);
    // A parser with backtracking would take hours.
    expect(longest).toBeLessThan(10_000);
  });

  it('takes no longer than its size: a path, a query, an id, a header', async () => {
    const times = (part: string) => `${part.repeat(Math.floor(14_000 / part.length))}!`;
    const requests = [
      ...['a', '/', '%2e', '..%2f', '%', '%e0', ':', '@a.', '~', '-', '/v1/users/'].flatMap((part) => [
        `GET /${times(part)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
        `GET /v1/users/${times(part)}/sessions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
        `GET /media/${times(part)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
        `GET /v1/play/film/0/${times(part)}?user_id=a&session_id=b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
        `GET /v1/play/film/index.m3u8?user_id=${times(part)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
      ]),
      `GET /v1/play/film/index.m3u8?${times('a=&')} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
      `GET /v1/streams HTTP/1.1\r\nHost: ${times('a.')}\r\nConnection: close\r\n\r\n`,
      `POST /internal/expiry/pause HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer${times(' ')}\r\nConnection: close\r\n\r\n`,
      `GET /v1/users/a/events HTTP/1.1\r\nHost: a\r\nLast-Event-ID: ${times('1')}\r\nConnection: close\r\n\r\n`,
    ];
    for (const bytes of requests) {
      const longest = await longestTurn(async () => {
        expect(await firstBytes(service, bytes)).toMatch(/^HTTP\/1\.1 [234]/);
      });
      expect([bytes.slice(0, 60), longest < 2_000]).toEqual([bytes.slice(0, 60), true]);
    }
  });
});

describe('a body without an end', () => {
  const service = useService('the embedded store');

  it('is answered 413 as soon as it exceeds its limit, and its connection is closed', async () => {
    const head = 'POST /v1/phases HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n';
    const bytes = 16 * 1024 + 1;
    const chunk = `${bytes.toString(16)}\r\n${' '.repeat(bytes)}\r\n`;
    // The body has no last chunk, which would mark its end.
    expect(await exchange(service, `${head}Transfer-Encoding: chunked\r\n\r\n${chunk}`)).toMatch(
      /^HTTP\/1\.1 413 /,
    );
  });
});

describe('a request that is sent slowly, without an end', () => {
  const service = useService('the embedded store');
  const DRIPS = {
    headers: ['GET /v1/streams HTTP/1.1\r\nHost: a\r\n', 'X-A: b\r\n'],
    'a header': ['GET /v1/streams HTTP/1.1\r\nHost: a\r\nX-A: ', 'b'],
    'a path': ['GET /v1', '/a'],
    'a body': [
      'POST /v1/phases HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n',
      ' ',
    ],
    chunks: [
      'POST /v1/phases HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
      '1\r\n \r\n',
    ],
    nothing: ['', ''],
  };

  it('is answered 408 after the time-out, although bytes still arrive', async () => {
    const server = service.app.getHttpServer();
    // Node gives a body the longer of the two.
    expect([server.requestTimeout, server.headersTimeout]).toEqual([10_000, 10_000]);
    // The test shortens the time-outs, so that it does not wait.
    Object.assign(server, { requestTimeout: 300, headersTimeout: 300 });
    const started = performance.now();
    const replies = await Promise.all(
      Object.values(DRIPS).map(async ([first, drip]) => {
        const socket = open(service);
        socket.write(first!);
        const timer = setInterval(() => socket.writable && socket.write(drip!), 50);
        return text(socket).finally(() => {
          clearInterval(timer);
        });
      }),
    );
    expect(performance.now() - started).toBeLessThan(5_000);
    for (const reply of replies) expect(reply).toMatch(/^HTTP\/1\.1 408 [^]*"code":"request-timeout"/);
  });
});

describe('a client that pipelines requests without reading replies', () => {
  const PLAYLIST = '#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n#EXT-X-ENDLIST\n';
  const asked: string[] = [];
  const held: ServerResponse[] = [];
  const origin = useServer((request, response) => {
    const [, stream] = request.url!.split('/') as [string, string];
    asked.push(stream);
    if (stream === 'slow') held.push(response);
    else response.end(PLAYLIST);
  });
  const service = useService('the embedded store', () => ({
    STREAM_ORIGIN: `${origin()}/{stream_id}/index.m3u8`,
  }));
  const get = (path: string, header = ''): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${header}\r\n`;

  it('is served one request after the other', async () => {
    const replies = exchange(
      service,
      get('/v1/streams/slow') + get('/v1/streams/next', 'Connection: close\r\n'),
    );
    await until(() => held.length === 1);
    // On another connection.
    expect((await service.app.inject('/v1/streams/another')).statusCode).toBe(200);
    expect(asked).toEqual(['slow', 'another']);
    held[0]!.end(PLAYLIST);
    expect((await replies).match(/HTTP\/1\.1 200|"stream_id":"\w+"/g)).toEqual([
      'HTTP/1.1 200',
      '"stream_id":"slow"',
      'HTTP/1.1 200',
      '"stream_id":"next"',
    ]);
  });

  it('may have ten requests waiting, repeatedly', async () => {
    const socket = open(service).setEncoding('utf8');
    let replies = '';
    socket.on('data', (bytes: string) => (replies += bytes));
    const answered = (): number => replies.match(/HTTP\/1\.1 200/g)?.length ?? 0;
    for (let sent = 11; sent <= 33; sent += 11) {
      socket.write(get('/health/live').repeat(11));
      await until(() => answered() >= sent || socket.closed);
      expect(answered()).toBe(sent);
    }
    socket.destroy();
  });

  it('is disconnected if hundreds of requests wait', async () => {
    const socket = open(service).resume();
    socket.write(get('/health/live').repeat(200));
    await once(socket, 'close');
    expect((await service.app.inject('/health/live')).statusCode).toBe(200);
  });
});

describe('a client that never reads its reply', () => {
  const folder = mkdtempSync(join(tmpdir(), 'streamgate-'));
  mkdirSync(join(folder, 'film'));
  writeFileSync(join(folder, 'film/a.ts'), '');
  // Larger than the buffers of the kernel, but a sparse file.
  truncateSync(join(folder, 'film/a.ts'), 256 * 1024 * 1024);
  beforeAll(() => {
    const repeat = globalThis.setInterval;
    // The test shortens the interval.
    jest
      .spyOn(globalThis, 'setInterval')
      .mockImplementation(((run: () => void, ms: number) =>
        repeat(run, ms === STALLED_MS ? 200 : ms)) as typeof setInterval);
  });
  const service = useService('the embedded store', () => ({ STREAM_ORIGIN: folder, MEDIA_SIGNING: 'none' }));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  it('is disconnected when no byte was sent within STALLED_MS', async () => {
    const server = service.app.getHttpServer();
    const connections = promisify(server.getConnections.bind(server));
    const socket = open(service);
    socket.write('GET /media/film/a.ts HTTP/1.1\r\nHost: a\r\n\r\n');
    await until(async () => (await connections()) === 1);
    await until(async () => (await connections()) === 0, 10_000);
    expect(await connections()).toBe(0);
    socket.destroy();
  });

  it('is not disconnected while it reads slowly', async () => {
    const socket = open(service);
    let bytes = 0;
    socket.write('GET /media/film/a.ts HTTP/1.1\r\nHost: a\r\n\r\n');
    for (const started = performance.now(); performance.now() - started < 2_000; await sleep(50))
      bytes += (socket.read() as Buffer | null)?.length ?? 0;
    expect([socket.closed, bytes > 0]).toEqual([false, true]);
    socket.destroy();
  });
});

describe('a client that resets its connections', () => {
  const BODY = JSON.stringify({ user_id: 'ana', stream_id: 'test-pattern', session_id: 'tv' });
  const REQUEST = `POST /v1/phases HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n`;
  const REQUESTS = [
    `${REQUEST}Content-Length: ${BODY.length}\r\n\r\n${BODY}`,
    `${REQUEST}Content-Length: 500\r\n\r\n${BODY}`,
    'GET /v1/users/ana/events HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET /v1/play/test-pattern/index.m3u8?user_id=ana&session_id=tv HTTP/1.1\r\nHost: a\r\n\r\n',
  ];

  it.each<Record<string, string>>([{}, { TRUSTED_PROXIES: '127.0.0.1' }])(
    'makes no line of a fault, and is counted as one address all the same: %j',
    async (environment) => {
      const service = await startServiceProcess({
        ...environment,
        LOG_LEVEL: 'info',
        RATE_LIMIT_PER_ADDRESS: '20',
      });
      const reset = (bytes: string) =>
        new Promise<void>((resolve) => {
          const socket = connect(Number(new URL(service.url).port), '127.0.0.1', () => {
            socket.write(bytes, () => socket.resetAndDestroy());
          });
          socket.on('error', () => undefined).on('close', resolve);
        });
      const refused = async (): Promise<number> =>
        Number(
          /limit="address"\} (\d+)/.exec(await (await fetch(`${service.url}/metrics`)).text())?.[1] ?? 0,
        );
      // Whether a reset arrives before its request is read is up to the kernel, so that many are sent.
      await until(async () => {
        await Promise.all(Array.from({ length: 400 }, (_, at) => reset(REQUESTS[at % REQUESTS.length]!)));
        return (await refused()) > 0;
      });
      await until(async () => (await fetch(`${service.url}/health/ready`)).status === 200);
      expect(service.output()).not.toMatch(/"level":"(error|fatal)"|internal-error|aborted/);
    },
  );
});

describe('ten thousand silent connections', () => {
  it('do not keep other requests from being answered, and are closed', async () => {
    const allowed = Number(execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' })) - 1_000;
    const wanted = Math.min(10_000, Number.isNaN(allowed) ? 10_000 : allowed);
    if (wanted < 10_000)
      process.stderr.write(`This machine allows ${wanted} idle connections, not 10,000.\n`);
    const service = await startServiceProcess({});
    const port = Number(new URL(service.url).port);
    const sockets: Socket[] = [];
    let closed = 0;
    while (sockets.length < wanted) {
      const some = Array.from({ length: Math.min(250, wanted - sockets.length) }, () =>
        connect(port, '127.0.0.1')
          .on('error', () => undefined)
          .on('close', () => closed++)
          .resume(),
      );
      sockets.push(...some);
      await Promise.all(some.map((socket) => once(socket, 'connect')));
    }
    expect(closed).toBe(0);
    const started = performance.now();
    const { status } = await service.ask({ user_id: 'ana', stream_id: 'test-pattern' });
    expect([status, performance.now() - started < 1_000]).toEqual([201, true]);
    // A request must arrive within 10 s after its connection was opened.
    await until(() => closed === wanted, 25_000);
    expect((await service.ask({ user_id: 'ana', stream_id: 'test-pattern' })).status).toBe(201);
  });
});

describe('lines of the log', () => {
  it('are one JSON object each, for any input, without escape sequences', async () => {
    const service = await startServiceProcess({
      LOG_LEVEL: 'trace',
      STREAM_ORIGIN: 'http://127.0.0.1:9/{stream_id}/x',
    });
    const forged = '\n{"level":60,"msg":"FORGED"}\r\n\u001b[31m\u009b31mFORGED\u0085\u2028\u2029';
    const encoded = encodeURIComponent(forged);
    const json = (body: object) => ({
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    await fetch(`${service.url}/${encoded}`);
    await fetch(`${service.url}/v1/users/${encoded}/sessions?x=${encoded}`);
    await fetch(`${service.url}/v1/streams`, {
      headers: { 'user-agent': '\\n{"level":60} %0aFORGED', 'x-request-id': 'FORGED' },
    });
    await service.ask({ user_id: forged, stream_id: forged });
    await service.ask({ user_id: 'ana', stream_id: 'film' });
    // The only text from a client that is logged.
    expect((await fetch(`${service.url}/internal/expiry/pause`, json({ by: forged }))).status).toBeLessThan(
      500,
    );
    const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
    socket.end(`GET /\u001b[31m HTTP/1.1\r\nHost: a\r\nUser-Agent: \u001b[31m\r\n\r\n`);
    await text(socket);
    await service.end();
    const lines = service.output().trim().split('\n');
    expect(lines.length).toBeGreaterThan(6);
    for (const line of lines) {
      expect(JSON.parse(line)).not.toMatchObject({ msg: 'FORGED' });
      // Characters that end a line, or start a control sequence of a terminal.
      expect(line).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}]/u);
    }
  });
});

describe('the information that strangers can get', () => {
  const service = useService('the embedded store');

  it('does not include the software of the service', async () => {
    for (const path of ['/v1/streams', '/nothing', '/docs', '/', '/v1/users/%/sessions', '/metrics']) {
      const { headers } = await service.app.inject(path);
      expect([path, headers.server, headers['x-powered-by'], headers.via]).toEqual([
        path,
        undefined,
        undefined,
        undefined,
      ]);
    }
    expect(await exchange(service, 'HELO\r\n\r\n')).not.toMatch(/^(server|x-powered-by|via):/im);
  });

  it('does not include users, streams or sessions, from the metrics', async () => {
    const ids = { user_id: 'SECRET-USER', session_id: 'SECRET-SESSION', stream_id: 'test-pattern' };
    await service.ask(ids);
    await service.send('delete', '/v1/users/SECRET-USER/sessions/SECRET-SESSION');
    await service.ask({ ...ids, session_id: 'SECRET-OTHER' });
    const { text: metrics } = await service.send('get', '/metrics');
    expect(metrics).toContain('streamgate_sessions_live 1');
    expect(metrics).not.toMatch(/SECRET|test-pattern/);
    const labels = [...metrics.matchAll(/^(?:streamgate|http)_\w+\{(.*)\} /gm)].flatMap(([, all]) =>
      [...all!.matchAll(/(\w+)="/g)].map(([, label]) => label!),
    );
    expect([...new Set(labels)].toSorted()).toEqual([
      'bridged',
      'commit',
      'http_request_method',
      'http_response_status_code',
      'http_route',
      'le',
      'level',
      'limit',
      'node',
      'outcome',
      'reason',
      'source',
      'version',
    ]);
  });
});
