import { CallbackOutboxes } from '../../src/sessions/session-events.js';
import { STORES, useService } from '../support/service.js';

const TOKEN = 'a-token-of-some-length';
const RUNNING = { paused: false, partial: false, since: null, by: null, until: null };

describe.each(STORES)('the scheduled job, on %s,', (store) => {
  const service = useService(store, () => ({ INTERNAL_API_TOKEN: TOKEN }));
  const authorization = `Bearer ${TOKEN}`;
  const get = (path: string) => service.send('get', path, { authorization });
  const post = (path: string, body?: object) => service.send('post', path, { authorization }, body);
  const sweep = async () => (await post('/internal/expire-idle-sessions')).body;
  const now = (): string => new Date(service.clock.now()).toISOString();
  const start = async (user_id: string, session_id: string) => {
    expect((await service.ask({ user_id, session_id, stream_id: 'test-pattern' })).status).toBe(201);
  };
  beforeEach(async () => {
    await post('/internal/expiry/resume');
    for (const ms of [60_000, 10_000]) {
      service.clock.advance(ms);
      await sweep(); // claims the sessions of other tests
    }
  });

  it('claims each expired session once, however many callers sweep at the same time', async () => {
    for (const user of ['ana', 'ben', 'eve']) await start(user, 'tv');
    service.clock.advance(30_000);
    const sweeps = await Promise.all(Array.from({ length: 5 }, sweep));
    expect(sweeps.reduce((sum, { expired }) => sum + expired, 0)).toBe(3);
    expect(await sweep()).toEqual({ expired: 0, more: false, took_ms: expect.any(Number) });
  });

  it('announces claimed sessions to the outbox, so that callbacks are sent at once', async () => {
    let announced = 0;
    service.app.get(CallbackOutboxes).onNewEvents(() => announced++);
    await start('ana', 'tv');
    await sweep();
    expect(announced).toBe(0);
    service.clock.advance(30_000);
    await sweep();
    expect(announced).toBe(1);
  });

  it('pauses, shows by whom and since when, and resumes', async () => {
    expect((await get('/internal/expiry')).body).toEqual(RUNNING);
    await start('ana', 'tv');
    const since = now();
    const pause = await post('/internal/expiry/pause', { by: 'ops, ticket 4711' });
    expect([pause.status, pause.body]).toEqual([
      200,
      { paused: true, partial: false, since, by: 'ops, ticket 4711', until: null },
    ]);
    service.clock.advance(30_000);
    expect(await sweep()).toEqual({ expired: 0, more: true, took_ms: expect.any(Number) });
    expect((await get('/internal/expiry')).body).toEqual(pause.body);
    expect((await get('/metrics')).text).toMatch(/^streamgate_expiry_paused 1$/m);
    // The limit stays exact during a pause.
    for (const session of ['a', 'b', 'c']) await start('ana', session);
    const refused = await service.ask({ user_id: 'ana', session_id: 'd', stream_id: 'test-pattern' });
    expect([refused.status, refused.body.sessions.length]).toEqual([409, 3]);

    expect((await post('/internal/expiry/resume')).body).toEqual(RUNNING);
    expect((await get('/internal/expiry')).body).toEqual(RUNNING);
    expect((await get('/metrics')).text).toMatch(/^streamgate_expiry_paused 0$/m);
    service.clock.advance(30_000);
    expect(await sweep()).toMatchObject({ expired: 3, more: false }); // the first had made room before
  });

  it('pauses without a body, and until a given instant', async () => {
    expect((await post('/internal/expiry/pause')).body).toEqual({
      paused: true,
      partial: false,
      since: now(),
      by: null,
      until: null,
    });
    const until = new Date(service.clock.now() + 60_000).toISOString();
    expect((await post('/internal/expiry/pause', { until })).body).toMatchObject({ paused: true, until });
    service.clock.advance(60_000);
    expect((await get('/internal/expiry')).body).toEqual(RUNNING);
  });

  it.each([
    ['an unknown field', { for: 'ever' }, 'for'],
    ['a time that is none', { until: 'tomorrow' }, 'until'],
    ['a time that is past', { until: '2020-01-01T00:00:00Z' }, 'until'],
    ['nobody', { by: '' }, 'by'],
    ['a name of 101 characters', { by: 'x'.repeat(101) }, 'by'],
    ['a number for a name', { by: 7 }, 'by'],
    ['a list', [], 'body'],
  ])('422 for %s, and runs on', async (_, body, field) => {
    const reply = await post('/internal/expiry/pause', body);
    expect([reply.status, reply.body.errors[0].field]).toEqual([422, field]);
    expect((await get('/internal/expiry')).body).toEqual(RUNNING);
  });

  it.each([
    ['get', '/internal/expiry'],
    ['post', '/internal/expiry/pause'],
    ['post', '/internal/expiry/resume'],
    ['post', '/internal/expire-idle-sessions'],
    ['get', '/internal/callbacks'],
    ['get', '/internal/callbacks/dead-letters'],
    ['post', '/internal/callbacks/dead-letters/replay'],
  ] as const)('401 for %s %s without the token', async (method, path) => {
    const reply = await service.send(method, path);
    expect([reply.status, reply.body.code]).toEqual([401, 'unauthorized']);
    expect((await get('/internal/expiry')).body).toEqual(RUNNING);
  });

  it('keeps a paused session while keepalives come, up to the maximum', async () => {
    const keepAlive = (session: string, user = 'ana') =>
      service.send('post', `/v1/users/${user}/sessions/${session}/keepalive`);
    await start('ana', 'tv');
    service.clock.advance(25_000);
    const first = await keepAlive('tv');
    expect([first.status, first.body.session]).toMatchObject([
      200,
      { session_id: 'tv', state: 'active', last_activity_at: now(), phase: 0 },
    ]);
    service.clock.advance(10_000);
    expect(await sweep()).toMatchObject({ expired: 0 });
    for (let paused = 35; paused < 1_800; paused += 25) {
      expect((await keepAlive('tv')).status).toBe(200);
      service.clock.advance(25_000);
      await sweep();
    }
    const { body: last } = await keepAlive('tv'); // half an hour after its only phase
    expect(Date.parse(last.session.expires_at)).toBe(service.clock.now() + 5_000);
    service.clock.advance(5_000);
    expect((await keepAlive('tv')).body.code).toBe('session-not-found');
    expect(await sweep()).toMatchObject({ expired: 1 });

    expect((await keepAlive('nobody')).status).toBe(404);
    expect((await keepAlive('tv', 'eve')).status).toBe(404);
    await start('ana', 'phone');
    await service.send('delete', '/v1/users/ana/sessions/phone');
    expect((await keepAlive('phone')).body).toMatchObject({ code: 'session-ended', reason: 'user' });
    expect((await keepAlive('a b')).status).toBe(422);
  });
});
