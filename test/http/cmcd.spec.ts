import request from 'supertest';
import { expectDocumented } from '../support/openapi.js';
import { STORES, useService } from '../support/service.js';

const X_MS = 10_000;

describe.each(STORES)('the reports of a player, on %s,', (store) => {
  const service = useService(store, () => ({ MAX_PAUSE_SECONDS: '60' }));
  const start = async (user_id: string, session_id = 'tab'): Promise<number> =>
    (await service.ask({ user_id, session_id, stream_id: 'test-pattern' })).status;
  const report = async (user: string, ...lines: readonly string[]) => {
    const path = `/v1/cmcd?user_id=${user}&session_id=tab`;
    const reply = await request(service.app.getHttpServer())
      .post(path)
      .set('content-type', 'application/cmcd')
      .send(lines.join('\n'));
    await expectDocumented(service.app, 'post', path, reply);
    return reply;
  };
  const live = async (user: string): Promise<string[]> =>
    (await service.sessions.list(user)).sessions.map(({ sessionId }) => sessionId);

  it('keep the place of a player that plays or is paused; a pause within MAX_PAUSE_SECONDS', async () => {
    for (const [user, state] of [
      ['plays', 'p'],
      ['rests', 'a'],
    ] as const) {
      expect(await start(user)).toBe(201);
      for (let round = 0; round < 4; round++) {
        service.clock.advance(2 * X_MS);
        expect((await report(user, `e=ps,sid="x",sta=${state},v=2`)).status).toBe(204);
      }
      service.clock.advance(2 * X_MS);
      expect(await live(user)).toEqual(state === 'p' ? ['tab'] : []);
    }
  });

  it('free the place at once when the player ends, fails or quits, and let it start again', async () => {
    for (const state of ['e', 'f', 'q']) {
      const user = `over-${state}`;
      expect(await start(user)).toBe(201);
      expect((await report(user, 'e=ps,sta=p,v=2', `e=ps,sta=${state},v=2`, 'e=t,v=2')).status).toBe(204);
      expect(await live(user)).toEqual([]);
      service.clock.advance(1);
      expect(await start(user)).toBe(201);
    }
  });

  it('are answered 410 once somebody else has ended the session, which then stays ended', async () => {
    expect(await start('ended')).toBe(201);
    await service.send('delete', '/v1/users/ended/sessions/tab');
    service.clock.advance(1);
    const { status, body } = await report('ended', 'e=ps,sta=p,v=2');
    expect([status, body.code, body.reason]).toEqual([410, 'session-ended', 'user']);
    for (const line of ['e=ps,sta=q,v=2', 'sta=a', 'bl=1000,v=2', '%%%', ''])
      expect([line, (await report('ended', line)).status]).toEqual([line, 410]);
    expect(await start('ended')).toBe(410);
  });

  it('are counted and otherwise ignored if they cannot be read', async () => {
    expect(await start('odd')).toBe(201);
    expect((await report('odd', '%%%', 'sid="', 'e=ps,sta=zzz')).status).toBe(204);
    expect(await live('odd')).toEqual(['tab']);
    const { text } = await service.send('get', '/metrics');
    expect(text).toMatch(/streamgate_cmcd_reports_total\{result="malformed"\} [1-9]/);
  });

  it.each(['application/json', 'text/plain', 'application/x-www-form-urlencoded'])(
    'are refused as %s, with the type that is taken',
    async (type) => {
      const reply = await request(service.app.getHttpServer())
        .post('/v1/cmcd?user_id=typed&session_id=tab')
        .set('content-type', type)
        .send('{"sta":"p","v":2}');
      expect([reply.status, reply.body.code]).toEqual([415, 'unsupported-media-type']);
      expect(reply.body.detail).toContain('application/cmcd');
    },
  );

  it('of no known session change nothing', async () => {
    expect((await report('nobody', 'e=ps,sta=p,v=2')).status).toBe(204);
    expect(await live('nobody')).toEqual([]);
  });

  it('a session that is given back with reason=left may start again; one that is ended may not', async () => {
    for (const [query, again] of [
      ['?reason=left', 201],
      ['?reason=user', 410],
      ['', 410],
    ] as const) {
      const user = `back-${again}-${query.length}`;
      expect(await start(user)).toBe(201);
      expect((await service.send('delete', `/v1/users/${user}/sessions/tab${query}`)).status).toBe(204);
      service.clock.advance(1);
      expect(await start(user)).toBe(again);
    }
    expect((await service.send('delete', '/v1/users/ana/sessions/tab?reason=none')).status).toBe(422);
  });
});
