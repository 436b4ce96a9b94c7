import { type AddressInfo, connect } from 'node:net';
import { text } from 'node:stream/consumers';
import request, { type Response } from 'supertest';
import { type StoreName, STORES, useService } from '../support/service.js';

/** A request for a phase that is valid except for its Host header. */
function phaseRequest(host: string): string {
  const body = JSON.stringify({ user_id: 'ana', session_id: 'phone', stream_id: 'test-pattern' });
  const headers = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n`;
  return `POST /v1/phases HTTP/1.1\r\n${host}${headers}\r\n${body}`;
}

const LONG = 'x'.repeat(65);
const VALID = { user_id: 'ana', stream_id: 'test-pattern' };

describe.each(STORES)('bad input, on %s', (store: StoreName) => {
  const service = useService(store);
  const post = (body: string, type = 'application/json'): Promise<Response> =>
    request(service.app.getHttpServer()).post('/v1/phases').set('content-type', type).send(body);

  /** Ana's sessions, which a refused request must not change. */
  let before: unknown;
  beforeAll(async () => {
    await service.ask({ ...VALID, session_id: 'tv' });
    before = (await service.sessions.list('ana')).sessions;
    service.clock.advance(1_000);
  });
  afterEach(async () => {
    expect((await service.sessions.list('ana')).sessions).toEqual(before);
  });

  it.each([
    ['nothing', {}, ['user_id', 'stream_id']],
    ['no stream', { user_id: 'ana' }, ['stream_id']],
    ['an empty id', { ...VALID, user_id: '' }, ['user_id']],
    ['an over-long id', { ...VALID, session_id: LONG }, ['session_id']],
    [
      'ids of other types',
      { user_id: 1, stream_id: null, session_id: {} },
      ['user_id', 'stream_id', 'session_id'],
    ],
    [
      'control characters',
      { ...VALID, session_id: 'tv\u0000', stream_id: 'a\nb' },
      ['session_id', 'stream_id'],
    ],
    ['a slash', { ...VALID, stream_id: '../secret' }, ['stream_id']],
    ['letters beyond ASCII', { ...VALID, user_id: 'añа' }, ['user_id']],
    ['ids that are dots', { ...VALID, user_id: '..', session_id: '.' }, ['user_id', 'session_id']],
    [
      'an id to end that is dots',
      { ...VALID, session_id: 'tv', end_session_ids: ['..'] },
      ['end_session_ids.0'],
    ],
    ['a trailing line feed', { ...VALID, user_id: 'ana\n' }, ['user_id']],
    ['an unknown field', { ...VALID, device: 'tv' }, ['device']],
    ['a negative phase', { ...VALID, session_id: 'tv', phase: -1 }, ['phase']],
    ['half a phase', { ...VALID, session_id: 'tv', phase: 1.5 }, ['phase']],
    ['an astronomical phase', { ...VALID, session_id: 'tv', phase: 1e99 }, ['phase']],
    ['a phase as text', { ...VALID, session_id: 'tv', phase: '1' }, ['phase']],
    [
      'one session to end, not in a list',
      { ...VALID, session_id: 'tv', end_session_ids: 'a' },
      ['end_session_ids'],
    ],
    [
      'a bad id among those to end',
      { ...VALID, session_id: 'tv', end_session_ids: ['a', ''] },
      ['end_session_ids.1'],
    ],
    [
      'too many to end',
      { ...VALID, end_session_ids: Array.from({ length: 101 }, (_, n) => `s${n}`) },
      ['end_session_ids'],
    ],
  ])('422 for %s, by the name of each field', async (_, body, fields) => {
    const reply = await service.ask(body);
    expect(reply.status).toBe(422);
    expect(reply.headers).toMatchObject({
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
    });
    expect(reply.body).toMatchObject({
      type: 'urn:streamgate:problem:invalid-request',
      code: 'invalid-request',
      status: 422,
      instance: reply.headers['x-request-id'],
    });
    expect(reply.body.errors.map(({ field }: { field: string }) => field).toSorted()).toEqual(
      fields.toSorted(),
    );
  });

  it('answers 422 for a body that is no object', async () => {
    for (const body of ['null', '[]', '"ana"', '7', '']) {
      const reply = await post(body);
      expect([reply.status, reply.body.errors[0].field]).toEqual([422, 'body']);
    }
  });

  it('answers 422 for `__proto__`, which changes no prototype', async () => {
    const reply = await post('{"user_id":"ana","stream_id":"test-pattern","__proto__":{"limit":99}}');
    expect([reply.status, reply.body.errors[0].field]).toEqual([422, '__proto__']);
    expect(({} as { limit?: number }).limit).toBeUndefined();
  });

  it('takes the last of duplicate keys', async () => {
    const reply = await post(
      '{"user_id":"ana","user_id":"ben","stream_id":"none","stream_id":"test-pattern"}',
    );
    expect([reply.status, reply.body.session.user_id]).toEqual([201, 'ben']);
  });

  it.each(['{', '{"user_id":"ana",}', 'user_id=ana', '{"user_id":"a"} x'])(
    'answers 400 for the malformed JSON %s',
    async (body) => {
      const reply = await post(body);
      expect([reply.status, reply.body.code]).toEqual([400, 'malformed-request']);
    },
  );

  it('answers 413 over 16 KiB, and not at 16 KiB', async () => {
    const padded = (bytes: number): string => {
      const body = JSON.stringify({ ...VALID, pad: '' });
      return JSON.stringify({ ...VALID, pad: 'x'.repeat(bytes - body.length) });
    };
    const over = await post(padded(16 * 1024 + 1));
    expect([over.status, over.body.code]).toEqual([413, 'payload-too-large']);
    expect((await post(padded(16 * 1024))).status).toBe(422);
  });

  it.each([
    'text/plain',
    'application/xml',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
  ])('415 for %s', async (type) => {
    const reply = await post(JSON.stringify(VALID), type);
    expect([reply.status, reply.body.code]).toEqual([415, 'unsupported-media-type']);
  });

  it.each(['gzip', 'br', 'GZIP', 'gzip, identity'])(
    'answers 415 for a body in the content coding %s, with those that it takes',
    async (coding) => {
      const reply = await request(service.app.getHttpServer())
        .post('/v1/phases')
        .set({ 'content-type': 'application/json', 'content-encoding': coding })
        .send(JSON.stringify(VALID));
      expect([reply.status, reply.body.code, reply.headers['accept-encoding']]).toEqual([
        415,
        'unsupported-media-type',
        'identity',
      ]);
    },
  );

  it('reads a body of the coding identity', async () => {
    const reply = await request(service.app.getHttpServer())
      .post('/v1/phases')
      .set({ 'content-type': 'application/json', 'content-encoding': 'identity' })
      .send('{');
    expect(reply.status).toBe(400);
  });

  it.each([
    ['get', '/v1/users/ana/sessions', 200],
    ['head', '/v1/streams', 200],
    ['delete', '/v1/users/nobody/sessions', 204],
    ['post', '/v1/users/nobody/sessions/tv/keepalive', 404],
    ['post', '/v1/cmcd?user_id=nobody&session_id=tv', 204],
    ['post', '/internal/expiry/resume', 200],
  ] as const)('ignores the content coding of %s %s without a body', async (method, path, status) => {
    const type = path.startsWith('/v1/cmcd') ? 'application/cmcd' : 'application/json';
    for (const headers of [{}, { 'content-type': type, 'content-length': '0' }]) {
      const agent = request(service.app.getHttpServer());
      const reply = await agent[method](path).set({ 'content-encoding': 'gzip', ...headers });
      expect(reply.status).toBe(status);
    }
  });

  it.each([
    ['another type', { 'content-type': 'text/plain' }],
    ['another coding', { 'content-type': 'application/json', 'content-encoding': 'gzip' }],
  ])('checks 413 before 415 for a body of %s', async (_, headers) => {
    const reply = await request(service.app.getHttpServer())
      .post('/v1/phases')
      .set(headers)
      .send('x'.repeat(17_000));
    expect([reply.status, reply.body.code]).toEqual([413, 'payload-too-large']);
  });

  it.each([
    ['no HTTP', 'HELO there\r\n\r\n', 400, 'malformed-request'],
    ['a method that nobody knows', 'FOO / HTTP/1.1\r\nHost: a\r\n\r\n', 400, 'malformed-request'],
    [
      'too large a header',
      `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
      431,
      'headers-too-large',
    ],
    ['an expectation', 'GET /v1/streams HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n', 417, 'expectation-failed'],
    ['CONNECT', 'CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n', 400, 'malformed-request'],
    ['no Host', phaseRequest(''), 400, 'malformed-request'],
    [
      'a Host that is none, of the gate, before all else',
      'GET /v1/play/film/0/0.ts HTTP/1.1\r\nHost: a"<>/x?y\r\nConnection: close\r\n\r\n',
      400,
      'malformed-request',
    ],
    ['a Host that is none', phaseRequest('Host: a"<>/x?y\r\n'), 400, 'malformed-request'],
  ])('a problem for %s', async (_, bytes, status, code) => {
    const socket = connect((service.app.getHttpServer().address() as AddressInfo).port, '127.0.0.1');
    socket.write(bytes);
    const [head, body] = (await text(socket)).split('\r\n\r\n') as [string, string];
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} [^]*content-type: application/problem\\+json`, 'i'));
    const [, instance] = /^x-request-id: (\S+)$/im.exec(head)!;
    expect(JSON.parse(body)).toMatchObject({ status, code, instance });
  });

  it.each([
    '/nope',
    '/v1',
    '/v1/phases/',
    '/v1/users',
    '/v1/users/ana',
    '/internal',
    '/media',
    '/v1//phases',
  ])('404 for the unknown path %s, whatever is sent there', async (path) => {
    for (const reply of [
      await request(service.app.getHttpServer()).get(path),
      await request(service.app.getHttpServer()).post(path).set('content-type', 'text/plain').send('{'),
    ])
      expect([reply.status, reply.headers['content-type'], reply.body.code]).toEqual([
        404,
        'application/problem+json',
        'not-found',
      ]);
  });

  it.each([
    ['get', '/v1/phases', 'POST'],
    ['put', '/v1/phases', 'POST'],
    ['post', '/v1/users/ana/sessions', 'GET, HEAD, DELETE'],
    ['get', '/v1/users/ana/sessions/tv', 'DELETE'],
    ['delete', '/v1/streams', 'GET, HEAD'],
    ['get', '/internal/expire-idle-sessions', 'POST'],
  ] as const)('405 for %s %s, with Allow', async (method, path, allow) => {
    const reply = await request(service.app.getHttpServer())[method](path);
    expect([reply.status, reply.headers.allow, reply.body.code]).toEqual([405, allow, 'method-not-allowed']);
  });

  it.each([
    '/v1/users/%00/sessions',
    `/v1/users/${LONG}/sessions`,
    '/v1/users/a%2Fb/sessions',
    '/v1/users/%2E%2E/sessions',
    '/v1/users/%2E/sessions',
    '/v1/streams/a%20b',
  ])('422 for the id in %s', async (path) => {
    const reply = await service.send('get', path);
    expect([reply.status, reply.body.code]).toEqual([422, 'invalid-request']);
  });

  it('answers 400 for a path that cannot be decoded', async () => {
    const reply = await request(service.app.getHttpServer()).get('/v1/users/%zz/sessions');
    expect([reply.status, reply.headers['content-type'], reply.body.code]).toEqual([
      400,
      'application/problem+json',
      'malformed-request',
    ]);
  });

  it.each(['.', '..', '...', 'no-such-stream', 'TEST-PATTERN'])(
    'answers 404 for the stream %s',
    async (stream_id) => {
      const reply = await service.ask({ user_id: 'ana', session_id: 'phone', stream_id });
      expect([reply.status, reply.body.code]).toEqual([404, 'stream-not-found']);
      const one = await service.send('get', `/v1/streams/${stream_id.replaceAll('.', '%2E')}`);
      expect(one.status).toBe(404);
    },
  );

  it.each(['.', '..'])('gives no URL that resolves elsewhere for the stream %s', async (stream_id) => {
    const inPath = stream_id.replaceAll('.', '%2E');
    for (const query of ['user_id=ana', 'user_id=ana&session_id=phone']) {
      const reply = await service.send('get', `/v1/play/${inPath}/index.m3u8?${query}`);
      expect([reply.status, reply.body.code]).toEqual([404, 'stream-not-found']);
    }
    const ticket = await service.send('post', '/v1/tickets', {}, { user_id: 'ana', stream_id });
    expect([ticket.status, ticket.body.code]).toEqual([404, 'stream-not-found']);
  });

  it.each([7, 1_000, 2_147_483_647])('answers 404 for phase %d, after the end', async (phase) => {
    for (const session_id of ['tv', 'phone']) {
      const reply = await service.ask({ ...VALID, session_id, phase });
      expect([reply.status, reply.body.code]).toEqual([404, 'phase-not-found']);
    }
  });

  it('accepts names of object properties as ids', async () => {
    for (const id of ['constructor', '__proto__', 'toString', 'hasOwnProperty']) {
      const reply = await service.ask({ user_id: id, session_id: id, stream_id: 'test-pattern' });
      expect([reply.status, reply.body.sessions.live]).toEqual([201, 1]);
      expect((await service.ask({ user_id: 'zoe', stream_id: id })).status).toBe(404);
    }
  });
});
