import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { type Response } from 'supertest';
import { type AuditEntry, AuditLog, MAX_AGE_MS } from '../../src/audit/audit-log.js';
import { userIdOf } from '../../src/auth/subjects.js';
import { StoreUnavailableError } from '../../src/sessions/session.repository.js';
import { CallbackReceiver } from '../support/callback-receiver.js';
import { STORES, useService } from '../support/service.js';
import { until } from '../support/until.js';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const INTERNAL = 'an-internal-token-of-the-test';
const API_TOKENS = [
  `support:sessions:read,sessions:end:${sha256('of-support')}`,
  `auditor:audit:read:${sha256('of-the-auditor')}`,
].join(' ');
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const SUPPORT = bearer('of-support');
const OPERATOR = bearer(INTERNAL);
const withNote = (note: string) => ({ 'x-audit-note': note });

afterEach(() => jest.restoreAllMocks());

describe.each(STORES)('the audit of operators, on %s,', (store) => {
  const receiver = new CallbackReceiver();
  beforeAll(() => receiver.start());
  afterAll(() => receiver.stop());
  const service = useService(store, () => ({
    INTERNAL_API_TOKEN: INTERNAL,
    API_TOKENS,
    CALLBACK_URL: receiver.url,
    CALLBACK_MAX_TRIES: '1',
    // A start that finds Redis slow writes the older layout at first, which has no device.
    ...(store === 'Redis' ? { STORE_LAYOUT: '2' } : {}),
  }));
  /** Entries before this instant are of other tests. */
  let since: string;
  let users = 0;
  let user: string;
  beforeEach(() => {
    receiver.answer = () => 204;
    user = `viewer-${++users}`;
    service.clock.advance(1_000);
    since = now();
  });
  const now = (): string => new Date(service.clock.now()).toISOString();
  const start = async (session_id: string, more: object = {}) => {
    const reply = await service.ask({ user_id: user, session_id, stream_id: 'test-pattern', ...more });
    expect(reply.status).toBe(201);
    return reply;
  };
  const list = async (query: Record<string, string> = {}): Promise<Response> =>
    service.send('get', `/internal/audit?${new URLSearchParams(query).toString()}`, bearer('of-the-auditor'));
  const entries = async (query: Record<string, string> = {}): Promise<AuditEntry[]> => {
    const { status, text } = await list({ since, ...query });
    expect(status).toBe(200);
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as AuditEntry);
  };
  const end = async (path = '', headers: Record<string, string> = SUPPORT): Promise<Response> =>
    service.send('delete', `/v1/users/${user}/sessions${path}`, headers);
  const liveSessions = async (): Promise<number> => (await service.sessions.list(user)).sessions.length;

  it('says who ended a session, when, why and in which request', async () => {
    await start('tv', { device: { id: 'living-room' } });
    const startedAt = now();
    service.clock.advance(5_000);
    const note = encodeURIComponent('Ticket 4711: Zoë’s 📺 was stolen');
    const reply = await end('/tv', { ...SUPPORT, ...withNote(note), 'x-request-id': 'of-the-console' });
    expect(reply.status).toBe(204);
    const found = await list({ user_id: user });
    expect(found.headers['content-type']).toMatch(/^application\/x-ndjson(;|$)/);
    expect(found.text.endsWith('}\n')).toBe(true);
    expect(await entries()).toEqual([
      {
        id: expect.any(String),
        at: now(),
        by: 'support',
        scope: 'sessions:end',
        action: 'sessions.end',
        target: { user_id: user, session_id: 'tv' },
        before: {
          sessions: [
            {
              session_id: 'tv',
              stream_id: 'test-pattern',
              device_id: 'living-room',
              started_at: startedAt,
            },
          ],
        },
        after: { ended: 1, reason: 'operator' },
        outcome: 'done',
        note: 'Ticket 4711: Zoë’s 📺 was stolen',
        request_id: 'of-the-console',
      },
    ]);
  });

  it('records the end of all sessions of a user once, with each session', async () => {
    for (const session of ['tv', 'phone']) await start(session);
    expect((await end('', OPERATOR)).status).toBe(204);
    const [entry, ...more] = await entries();
    expect(entry).toMatchObject({
      by: 'internal',
      target: { user_id: user },
      after: { ended: 2 },
      note: null,
    });
    expect((entry!.before!.sessions as { session_id: string }[]).map(({ session_id }) => session_id)).toEqual(
      ['tv', 'phone'].toSorted(),
    );
    expect(more).toEqual([]);
  });

  it('records the pause of the sweeps and its end, with the state before', async () => {
    const post = async (path: string, body?: object) =>
      service.send('post', `/internal/expiry/${path}`, { ...OPERATOR, ...withNote('night') }, body);
    const paused = await post('pause', { by: 'ops' });
    service.clock.advance(1_000);
    const running = await post('resume');
    expect(await entries()).toMatchObject([
      {
        action: 'expiry.resume',
        scope: 'expiry:pause',
        before: paused.body,
        after: running.body,
        target: {},
      },
      { action: 'expiry.pause', before: { paused: false }, after: paused.body, note: 'night' },
    ]);
    // It was not paused.
    await post('resume');
    expect(await entries()).toHaveLength(2);
  });

  it('records the replay of dead letters, and the resumption after a 410', async () => {
    const post = async (path: string, body?: object) =>
      service.send('post', `/internal/callbacks/${path}`, OPERATOR, body);
    const outbox = async () =>
      (await service.send('get', '/internal/callbacks', OPERATOR)).body.receivers[0] as {
        state: string;
        dead_letters: number;
        waiting: number;
      };
    // Events of the tests before.
    await until(async () => (await outbox()).waiting === 0);
    receiver.answer = () => 500;
    await start('tv');
    await end('/tv', {});
    await until(async () => (await outbox()).dead_letters === 1);
    receiver.answer = () => 204;
    await post('dead-letters/replay', { receiver: 'default' });
    await until(async () => (await outbox()).waiting === 0);
    receiver.answer = () => 410;
    service.clock.advance(1_000);
    await start('tv-2');
    await end('/tv-2', {});
    await until(async () => (await outbox()).state === 'stopped');
    receiver.answer = () => 204;
    await post('resume');
    expect(await entries()).toMatchObject([
      {
        action: 'callbacks.resume',
        target: { instance: hostname() },
        before: { stopped: ['default'] },
        after: { stopped: [] },
      },
      { action: 'callbacks.replay', target: { receiver: 'default' }, after: { replayed: 1, more: false } },
    ]);
    // Nothing is left to replay, and nothing is stopped.
    await post('dead-letters/replay');
    await post('resume');
    expect(await entries()).toHaveLength(2);
  });

  it('records a change of the log level', async () => {
    const { status, body } = await service.send('put', '/internal/log-level', OPERATOR, { level: 'silent' });
    expect(status).toBe(200);
    expect(await entries()).toMatchObject([
      {
        action: 'log-level.set',
        scope: 'log:write',
        target: { instance: hostname() },
        before: { level: 'silent' },
        after: body,
      },
    ]);
  });

  it('has no entry of what viewers do, of what was refused, and of what changed nothing', async () => {
    await start('tv');
    await start('phone');
    const statuses = [
      await end('/phone', withNote('%')),
      await end('/phone'),
      await end('/nothing'),
      await end('/tv', bearer('of-the-auditor')),
      await service.send('post', '/internal/expiry/pause', {}),
      await service.send('post', '/internal/expiry/pause', OPERATOR, { until: '2001-01-01T00:00:00Z' }),
      await service.send('post', '/internal/expire-idle-sessions', OPERATOR),
    ].map(({ status }) => status);
    expect(statuses).toEqual([204, 204, 404, 403, 401, 422, 200]);
    user = `viewer-${++users}`;
    expect((await end()).status).toBe(204);
    expect(await entries()).toEqual([]);
  });

  it.each([
    ['not percent-encoded UTF-8', '%E0%A4%A'],
    ['of invalid UTF-8', '%FF'],
    ['raw UTF-8', Buffer.from('Zoë').toString('latin1')],
    ['too long', 'x'.repeat(201)],
    ['of several lines', 'a%0Ab'],
  ])('refuses a note that is %s, before anything changes', async (_, note) => {
    await start('tv');
    const reply = await end('/tv', { ...SUPPORT, ...withNote(note) });
    expect([reply.status, reply.body.errors]).toEqual([
      422,
      [{ field: 'x-audit-note', message: expect.stringContaining('encodeURIComponent') }],
    ]);
    expect([await liveSessions(), await entries()]).toEqual([1, []]);
  });

  it('takes a note of 200 characters, and an empty one as none', async () => {
    const longest = '📺'.repeat(200);
    for (const note of [longest, '']) {
      service.clock.advance(1_000);
      await start('tv');
      await end('', { ...SUPPORT, ...withNote(encodeURIComponent(note)) });
      service.clock.advance(60_000);
    }
    expect((await entries()).map(({ note }) => note)).toEqual([null, longest]);
  });

  it('is asked by user, action, token, time and number', async () => {
    await start('tv');
    await end('/tv');
    service.clock.advance(1_000);
    const between = now();
    await service.send('put', '/internal/log-level', OPERATOR, { level: 'silent' });
    const actions = async (query: Record<string, string>) =>
      (await entries(query)).map(({ action }) => action);
    expect(await actions({})).toEqual(['log-level.set', 'sessions.end']);
    const queries: Record<string, string>[] = [
      { user_id: user },
      { action: 'sessions.end' },
      { by: 'support' },
      { until: since },
    ];
    for (const query of queries) expect([query, await actions(query)]).toEqual([query, ['sessions.end']]);
    expect(await actions({ limit: '1' })).toEqual(['log-level.set']);
    expect(await actions({ since: between })).toEqual(['log-level.set']);
    for (const [field, value] of [
      ['limit', '0'],
      ['limit', '10001'],
      ['since', 'yesterday'],
      ['until', '2016-12-31T23:59:60Z'],
      ['action', 'all'],
      ['user', 'ana'],
      ['user_id', 'x'.repeat(1_025)],
    ] as const) {
      const { status, body } = await list({ [field]: value });
      expect([field, status, body.errors?.[0].field]).toEqual([field, 422, field]);
    }
  });

  it('finds a user by the subject of the issuer', async () => {
    await start('tv');
    await end('/tv');
    const [entry] = await entries();
    const bySubject = { ...entry!, id: 'by-subject', target: { user_id: userIdOf('auth0|ana')! } };
    await service.app.get(AuditLog).append(bySubject);
    expect(await entries({ user_id: 'auth0|ana' })).toEqual([bySubject]);
  });

  it('needs the scope audit:read', async () => {
    const get = async (headers: Record<string, string>) => service.send('get', '/internal/audit', headers);
    expect((await get({})).status).toBe(401);
    const refused = await get(SUPPORT);
    expect([refused.status, refused.body.code]).toEqual([403, 'forbidden']);
    expect(refused.body.detail).toContain('audit:read');
    expect((await get(OPERATOR)).status).toBe(200);
  });

  it('shows no entry that is too old', async () => {
    await start('tv');
    await end('/tv');
    expect(await entries({ user_id: user })).toHaveLength(1);
    service.clock.advance(MAX_AGE_MS);
    expect(await entries({ user_id: user })).toHaveLength(1);
    service.clock.advance(1);
    expect(await entries({ user_id: user })).toEqual([]);
  });
});

describe('the audit of a store that does not take entries', () => {
  const service = useService('the embedded store', () => ({ INTERNAL_API_TOKEN: INTERNAL }));
  const setLevel = async (request: string): Promise<number> =>
    (
      await service.app.inject({
        method: 'PUT',
        url: '/internal/log-level',
        headers: { ...OPERATOR, 'x-request-id': request },
        payload: { level: 'silent' },
      })
    ).statusCode;
  const requests = async (): Promise<string[]> =>
    (await service.app.inject({ url: '/internal/audit?limit=10000', headers: OPERATOR })).body
      .split('\n')
      .slice(0, -1)
      .map((line) => (JSON.parse(line) as AuditEntry).request_id);

  it('loses no change: the newest 1,000 entries wait in the instance, in their order', async () => {
    const log = service.app.get(AuditLog);
    jest.spyOn(log, 'append').mockRejectedValue(new StoreUnavailableError('away'));
    for (let n = 0; n < 1_001; n++) {
      service.clock.advance(1);
      expect(await setLevel(`r${n}`)).toBe(200);
    }
    expect(await requests()).toEqual([]);
    jest.restoreAllMocks();
    await until(async () => (await requests()).length > 0);
    expect(await requests()).toEqual(Array.from({ length: 1_000 }, (_, n) => `r${1_000 - n}`));
  });
});

describe('the audit where no token is configured', () => {
  const service = useService('the embedded store');

  it('has entries without a name', async () => {
    await service.send('put', '/internal/log-level', {}, { level: 'silent' });
    const { text } = await service.send('get', '/internal/audit');
    expect(JSON.parse(text)).toMatchObject({ by: null, action: 'log-level.set' });
  });

  interface Operation {
    readonly security?: readonly object[];
    readonly parameters?: readonly { readonly in: string; readonly name: string }[];
  }

  // A new route that an operator can change something by must be recorded, or be added here.
  it('covers every route by which an API token changes something, except reports of machines and jobs', async () => {
    const { body } = await service.send('get', '/docs/openapi.json');
    const operations = Object.entries(body.paths as Record<string, Record<string, Operation>>).flatMap(
      ([path, methods]) =>
        Object.entries(methods).map(([method, operation]) => ({
          name: `${method.toUpperCase()} ${path}`,
          isChange: method !== 'get' && operation.security?.some((one) => 'api-token' in one) === true,
          isRecorded: operation.parameters?.some(({ name }) => name === 'X-Audit-Note') === true,
        })),
    );
    const changes = operations.filter(({ isChange }) => isChange);
    expect(changes.filter(({ isRecorded }) => !isRecorded).map(({ name }) => name)).toEqual([
      'POST /internal/activity',
      'POST /internal/expire-idle-sessions',
    ]);
    expect(operations.filter(({ isRecorded, isChange }) => isRecorded && !isChange)).toEqual([]);
  });
});
