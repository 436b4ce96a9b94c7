import { createHmac } from 'node:crypto';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { userIdOf } from '../../src/auth/subjects.js';
import { BY_SECRET, HS256, Issuer } from '../support/issuer.js';
import { endServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { until } from '../support/until.js';

type Line = Readonly<Record<string, unknown>>;

const KEY = 'a-key-of-pseudonyms-of-the-test';
const TOKEN = 'an-internal-token-of-the-test';
const pseudonym = (userId: string): string =>
  createHmac('sha256', KEY).update(userId).digest('base64url').slice(0, 16);

/** The lines of requests so far. */
function requestLines(service: ServiceProcess): Line[] {
  return service
    .output()
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as Line)
    .filter(({ msg, route }) => msg === 'request' && route !== '/health/live');
}

/** Waits until the log has a line with these fields, and returns it. */
async function lineWith(service: ServiceProcess, fields: Line): Promise<Line> {
  const find = (): Line | undefined =>
    requestLines(service).find((line) =>
      Object.entries(fields).every(([name, value]) => line[name] === value),
    );
  await until(() => find() !== undefined);
  return find()!;
}

describe('the line of a request in the log', () => {
  let service: ServiceProcess;
  beforeAll(async () => {
    service = await startServiceProcess({
      LOG_USER_IDS_SECRET: KEY,
      INTERNAL_API_TOKEN: TOKEN,
      MAX_SESSIONS_PER_USER: '1',
      LOG_SAMPLE_RENEWALS: '2',
      PHASE_SECONDS: '60',
      MAX_AHEAD_SECONDS: '3600',
    });
  });
  afterAll(endServiceProcesses);
  const ask = (session_id: string, fields: object = {}) =>
    service.ask({ user_id: 'ana', session_id, stream_id: 'test-pattern', ...fields });
  const operator = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };

  it('tells the decision, the session, the stream, the device and a pseudonym of the user', async () => {
    const reply = await ask('tv', { device: { id: 'living-room' } });
    expect(await lineWith(service, { reqId: reply.headers.get('x-request-id') })).toMatchObject({
      level: 'info',
      method: 'POST',
      route: '/v1/phases',
      status: 201,
      ms: expect.any(Number),
      decision: 'admitted',
      session_id: 'tv',
      stream_id: 'test-pattern',
      device_id: 'living-room',
      user: pseudonym('ana'),
      limit: 1,
      live: 1,
    });
  });

  it('tells of a refusal its problem, the limit, and how many sessions the user holds', async () => {
    const reply = await ask('phone');
    expect(reply.status).toBe(409);
    expect(await lineWith(service, { reqId: reply.headers.get('x-request-id') })).toMatchObject({
      status: 409,
      decision: 'refused',
      code: 'session-limit-reached',
      session_id: 'phone',
      user: pseudonym('ana'),
      limit: 1,
      live: 1,
    });
    expect(service.output()).not.toContain('"ana"');
  });

  it('tells a move, an end by an operator with the name of the token, and the refusal after it', async () => {
    await ask('tv', { stream_id: 'colour-bars' });
    await lineWith(service, { decision: 'moved', session_id: 'tv', stream_id: 'colour-bars' });
    await fetch(`${service.url}/v1/users/ana/sessions/tv`, { method: 'DELETE', headers: operator });
    const line = await lineWith(service, { decision: 'ended', status: 204 });
    expect(line).toMatchObject({ session_id: 'tv', by: 'internal', user: pseudonym('ana') });
    await ask('tv');
    await lineWith(service, { decision: 'ended', status: 410, code: 'session-ended', session_id: 'tv' });
  });

  it('is written for the first renewals of a second and one in 100 of the others, and for each refusal', async () => {
    await ask('radio');
    const before = requestLines(service).length;
    for (let at = 0; at < 205; at++) expect((await ask('radio', { phase: 0 })).status).toBe(200);
    expect((await ask('phone')).status).toBe(409);
    await until(() => requestLines(service).at(-1)?.status === 409);
    const lines = requestLines(service).slice(before);
    const renewals = lines.filter(({ decision }) => decision === 'renewed');
    expect(renewals.length).toBeLessThan(205);
    const counted = renewals.reduce((sum, { sampled }) => sum + Number(sampled ?? 1), 0);
    expect(counted).toBeLessThanOrEqual(205);
  });

  it('takes up and answers the ids of the caller, and no id that could forge a line', async () => {
    const trace = '0af7651916cd43dd8448eb211c80319c';
    const traceparent = `00-${trace}-b7ad6b7169203331-01`;
    const send = (headers: Record<string, string>) => fetch(`${service.url}/v1/streams`, { headers });
    const reply = await send({ 'x-request-id': 'of-the-caller/1', traceparent });
    expect([reply.headers.get('x-request-id'), reply.headers.get('traceparent')]).toEqual([
      'of-the-caller/1',
      traceparent,
    ]);
    expect(await lineWith(service, { reqId: 'of-the-caller/1' })).toMatchObject({ trace });
    const root = 'Root=1-67891233-abcdef012345678912345678';
    const amazon = await send({ 'x-request-id': 'by-amazon', 'x-amzn-trace-id': root });
    expect(amazon.headers.get('x-amzn-trace-id')).toBe(root);
    expect(await lineWith(service, { reqId: 'by-amazon' })).toMatchObject({ trace: root });
    for (const forged of ['a b', 'x'.repeat(129), '{"level":60}']) {
      const { headers } = await send({ 'x-request-id': forged, traceparent: 'none' });
      expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
      expect(headers.get('traceparent')).toBeNull();
    }
  });

  describe('of a request that is refused before it has a route', () => {
    const put = (level: string) =>
      fetch(`${service.url}/internal/log-level`, {
        method: 'PUT',
        headers: operator,
        body: JSON.stringify({ level }),
      });
    /** The id of the request, as the problem has it. */
    const sendRaw = async (head: string, id: string): Promise<string> => {
      const { port, hostname } = new URL(service.url);
      const socket = connect(Number(port), hostname);
      socket.write(`${head}\r\nHost: a\r\nX-Request-Id: ${id}\r\n\r\n`);
      const { instance } = JSON.parse((await text(socket)).split('\r\n\r\n')[1]!) as { instance: string };
      return instance;
    };
    afterAll(() => put('info'));

    it.each([
      ['an expectation', 'GET /v1/streams HTTP/1.1\r\nExpect: x', 417, 'expectation-failed'],
      ['CONNECT', 'CONNECT a:80 HTTP/1.1', 400, 'malformed-request'],
      ['a bad path', 'GET /v1/streams/%zz HTTP/1.1\r\nConnection: close', 400, 'malformed-request'],
    ])('has the id of the caller and the level debug: %s', async (name, head, status, code) => {
      const id = name.replaceAll(' ', '-');
      await put('info');
      expect(await sendRaw(head, 'hidden')).toBe('hidden');
      await put('debug');
      expect(await sendRaw(head, id)).toBe(id);
      expect(await lineWith(service, { reqId: id, status, code })).toMatchObject({ level: 'debug' });
      expect(service.output()).not.toContain('hidden');
    });

    it.each([
      ['an unknown method', 'FOO / HTTP/1.1', 400, 'malformed-request'],
      ['a large header', `GET / HTTP/1.1\r\nX: ${'x'.repeat(20_000)}`, 431, 'headers-too-large'],
    ])('has an id of its own: %s', async (_, head, status, code) => {
      await put('debug');
      const reqId = await sendRaw(head, 'of-the-caller');
      expect(await lineWith(service, { reqId, status, code })).toMatchObject({ level: 'debug' });
    });
  });

  it('is not written after an operator has raised the level, until it is lowered again', async () => {
    const put = (body: object) =>
      fetch(`${service.url}/internal/log-level`, {
        method: 'PUT',
        headers: operator,
        body: JSON.stringify(body),
      });
    const raised = await put({ level: 'error', minutes: 1 });
    const { level, until: end } = (await raised.json()) as { level: string; until: string };
    expect([raised.status, level]).toEqual([200, 'error']);
    expect(Date.parse(end)).toBeGreaterThan(Date.now());
    const silent = await fetch(`${service.url}/v1/streams`, { headers: { 'x-request-id': 'silent' } });
    expect(silent.status).toBe(200);
    expect((await put({ level: 'info' })).status).toBe(200);
    await fetch(`${service.url}/v1/streams`, { headers: { 'x-request-id': 'written' } });
    await lineWith(service, { reqId: 'written' });
    expect(service.output()).not.toContain('silent');
    expect((await put({ level: 'loud' })).status).toBe(422);
    const unknown = await fetch(`${service.url}/internal/log-level`, { method: 'PUT' });
    expect(unknown.status).toBe(422);
  });
});

describe('LOG_USER_IDS and LOG_CALLER', () => {
  afterEach(endServiceProcesses);

  it('name the user by its id, and the file and line of each statement', async () => {
    const service = await startServiceProcess({ LOG_USER_IDS: 'plain', LOG_CALLER: 'true' });
    await service.ask({ user_id: 'ana', stream_id: 'test-pattern' });
    const line = await lineWith(service, { route: '/v1/phases' });
    expect(line).toMatchObject({ user: 'ana', at: expect.stringMatching(/^log\.ts:\d+$/) });
  });

  it('name the user by the subject of the token too, if it is not the id', async () => {
    const service = await startServiceProcess({ ...BY_SECRET, LOG_USER_IDS: 'plain' });
    const issuer = new Issuer(() => Date.now());
    for (const sub of ['auth0|ana', 'ben']) {
      const headers = {
        authorization: `Bearer ${await issuer.token(HS256, { sub })}`,
        'content-type': 'application/json',
      };
      const body = JSON.stringify({ stream_id: 'test-pattern' });
      await fetch(`${service.url}/v1/phases`, { method: 'POST', headers, body });
    }
    expect(await lineWith(service, { user: userIdOf('auth0|ana') })).toMatchObject({ subject: 'auth0|ana' });
    expect(await lineWith(service, { user: 'ben' })).not.toHaveProperty('subject');
  });

  it('leave the user out', async () => {
    const service = await startServiceProcess({ LOG_USER_IDS: 'none' });
    await service.ask({ user_id: 'ana', stream_id: 'test-pattern' });
    const line = await lineWith(service, { route: '/v1/phases' });
    expect(Object.keys(line)).not.toEqual(expect.arrayContaining(['user']));
    expect(service.output()).not.toContain('"ana"');
  });
});
