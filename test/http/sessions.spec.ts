import { type StoreName, STORES, useService } from '../support/service.js';

describe.each(STORES)('sessions, on %s', (store: StoreName) => {
  const service = useService(store);
  const ask = (user_id: string, session_id: string, more: object = {}) =>
    service.ask({ user_id, session_id, stream_id: 'test-pattern', ...more });
  const list = async (user: string): Promise<string[]> => {
    const { body } = await service.send('get', `/v1/users/${user}/sessions`);
    return body.sessions.map(({ session_id }: { session_id: string }) => session_id);
  };

  it('are listed, oldest first; the list of a user without sessions is empty', async () => {
    const reply = await service.send('get', '/v1/users/nobody/sessions');
    expect([reply.status, reply.body]).toEqual([200, { user_id: 'nobody', limit: 3, sessions: [] }]);
    for (const session of ['z', 'y', 'x']) {
      await ask('lister', session);
      service.clock.advance(1);
    }
    expect(await list('lister')).toEqual(['z', 'y', 'x']);
  });

  it('end one by one: the place is free, the client gets the reason, and a repetition is no error', async () => {
    for (const session of ['a', 'b', 'c']) await ask('ender', session);
    service.clock.advance(1_000);
    const ended_at = new Date(service.clock.now()).toISOString();
    expect((await service.send('delete', '/v1/users/ender/sessions/b')).status).toBe(204);
    expect(await list('ender')).toEqual(['a', 'c']);
    expect((await ask('ender', 'd')).status).toBe(201);

    service.clock.advance(28_000);
    expect((await service.send('delete', '/v1/users/ender/sessions/b')).status).toBe(204);
    const reply = await ask('ender', 'b');
    expect([reply.status, reply.body]).toMatchObject([
      410,
      { code: 'session-ended', ended_at, reason: 'user' },
    ]);

    service.clock.advance(2_000);
    const late = await service.send('delete', '/v1/users/ender/sessions/b');
    expect([late.status, late.body.code]).toEqual([404, 'session-not-found']);
  });

  it('answer 404 if a user ends an unknown session or the session of another user', async () => {
    await ask('owner', 'tv');
    for (const path of ['/v1/users/owner/sessions/phone', '/v1/users/thief/sessions/tv'])
      expect((await service.send('delete', path)).body).toMatchObject({
        status: 404,
        code: 'session-not-found',
      });
    expect(await list('owner')).toEqual(['tv']);
  });

  it('end all together, also if there are none', async () => {
    for (const session of ['a', 'b']) await ask('leaver', session);
    for (let n = 0; n < 2; n++)
      expect((await service.send('delete', '/v1/users/leaver/sessions')).status).toBe(204);
    expect(await list('leaver')).toEqual([]);
    for (const session of ['a', 'b']) expect((await ask('leaver', session)).status).toBe(410);
    expect((await ask('leaver', 'c')).status).toBe(201);
  });

  it('are replaced by a new session in one step, with end_session_ids', async () => {
    for (const session of ['a', 'b', 'c']) await ask('swapper', session);
    const swapped = await ask('swapper', 'd', { end_session_ids: ['b', 'b', 'unknown'] });
    expect([swapped.status, swapped.body.sessions]).toEqual([201, { live: 3, limit: 3 }]);
    expect(await list('swapper')).toEqual(['a', 'c', 'd']);
    expect((await ask('swapper', 'b')).body).toMatchObject({ code: 'session-ended', reason: 'replaced' });
  });

  it('are replaced by one session only, if ten request the same place at the same time', async () => {
    for (const session of ['a', 'b', 'c']) await ask('crowd', session);
    const replies = await Promise.all(
      Array.from({ length: 10 }, (_, n) => ask('crowd', `new-${n}`, { end_session_ids: ['a'] })),
    );
    expect(replies.map(({ status }) => status).toSorted()).toEqual([
      201,
      ...Array.from({ length: 9 }, () => 409),
    ]);
    expect(await list('crowd')).toHaveLength(3);
  });

  it('continue until their expiry is claimed, and start again after it', async () => {
    const { body: first } = await ask('sleeper', 'tv', { phase: 2 });
    service.clock.advance(30_000);
    const resumed = await ask('sleeper', 'tv');
    expect([resumed.status, resumed.body.phase.index]).toEqual([201, 3]);
    expect(resumed.body.session.started_at).toBe(first.session.started_at);

    service.clock.advance(30_000);
    const sweep = async (): Promise<number> =>
      (await service.send('post', '/internal/expire-idle-sessions')).body.expired as number;
    // If the cron swept before it was stopped, this sweep comes after an outage, which gives a grace of X.
    const atOnce = await sweep();
    service.clock.advance(10_000);
    expect(atOnce + (await sweep())).toBeGreaterThanOrEqual(1);
    const anew = await ask('sleeper', 'tv');
    expect([anew.status, anew.body.phase.index]).toEqual([201, 0]);
    expect(anew.body.session.started_at).toBe(new Date(service.clock.now()).toISOString());
  });

  it('are admitted for exactly three of ten concurrent first requests', async () => {
    const replies = await Promise.all(
      Array.from({ length: 10 }, () => service.ask({ user_id: 'rush', stream_id: 'test-pattern' })),
    );
    expect(replies.map(({ status }) => status).toSorted()).toEqual([
      201,
      201,
      201,
      ...Array.from({ length: 7 }, () => 409),
    ]);
  });
});
