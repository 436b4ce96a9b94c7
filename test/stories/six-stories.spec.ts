import { type StoreName, STORES, useService } from '../support/service.js';

/** X and n·X of the service under test, in milliseconds. */
const X = 10_000;
const N_X = 30_000;

let users = 0;
/** A user that no other test uses. */
const someUser = (): string => `user-${++users}`;

describe.each(STORES)('on %s', (store: StoreName) => {
  const service = useService(store);
  const start = async (user_id: string, session_id: string, stream_id = 'test-pattern') => {
    const reply = await service.ask({ user_id, session_id, stream_id });
    expect(reply.status).toBe(201);
    return reply;
  };
  const liveSessions = async (user: string): Promise<string[]> => {
    const { body } = await service.send('get', `/v1/users/${user}/sessions`);
    return body.sessions.map(({ session_id }: { session_id: string }) => session_id);
  };

  it('1. As a user with no current session, I request a first session.', async () => {
    const user_id = someUser();
    const reply = await service.ask({ user_id, stream_id: 'test-pattern' });

    expect(reply.status).toBe(201);
    const { session, phase, sessions, next_request_in_seconds } = reply.body;
    expect(session).toMatchObject({ user_id, stream_id: 'test-pattern', state: 'active', phase: 0 });
    expect(session.session_id).toMatch(
      /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    expect(reply.headers.location).toBe(`/v1/users/${user_id}/sessions/${session.session_id}`);
    expect(session.started_at).toBe(new Date(service.clock.now()).toISOString());
    expect(Date.parse(session.idle_at) - Date.parse(session.last_activity_at)).toBe(X);
    expect(Date.parse(session.expires_at) - Date.parse(session.last_activity_at)).toBe(N_X);
    expect(phase).toMatchObject({ index: 0, start_seconds: 0, duration_seconds: 10, last: false });
    expect(phase.segments).toHaveLength(3); // they start at 0, 4 and 8 s
    expect(sessions).toEqual({ live: 1, limit: 3 });
    expect(next_request_in_seconds).toBe(10);

    const media = await fetch(phase.segments[0].url);
    expect(media.status).toBe(200);
    expect(media.headers.get('content-type')).toBe('video/mp2t');
    const bytes = Buffer.from(await media.arrayBuffer());
    expect(bytes.length).toBeGreaterThan(10_000);
    expect([bytes[0], bytes[188]]).toEqual([0x47, 0x47]); // MPEG-TS packets

    expect(await liveSessions(user_id)).toEqual([session.session_id]);
  });

  it('2. As a user streaming Z, I fetch another phase of Z.', async () => {
    const user_id = someUser();
    const first = await start(user_id, 'tv');
    service.clock.advance(X);
    const next = await service.ask({ user_id, session_id: 'tv', stream_id: 'test-pattern' });

    expect(next.status).toBe(200);
    expect(next.headers.location).toBeUndefined();
    expect(next.body.phase).toMatchObject({ index: 1, start_seconds: 10, last: false });
    expect(next.body.phase.segments).toHaveLength(2); // at 12 and 16 s
    expect(next.body.session.started_at).toBe(first.body.session.started_at);
    expect(
      Date.parse(next.body.session.last_activity_at) - Date.parse(first.body.session.last_activity_at),
    ).toBe(X);

    const seek = await service.ask({ user_id, session_id: 'tv', stream_id: 'test-pattern', phase: 5 });
    expect(seek.body.phase.index).toBe(5);
    const last = await service.ask({ user_id, session_id: 'tv', stream_id: 'test-pattern' });
    expect(last.body.phase).toMatchObject({ index: 6, start_seconds: 60, duration_seconds: 4, last: true });
    const past = await service.ask({ user_id, session_id: 'tv', stream_id: 'test-pattern' });
    expect([past.status, past.body.code]).toEqual([404, 'phase-not-found']);
    const again = await service.ask({ user_id, session_id: 'tv', stream_id: 'test-pattern', phase: 6 });
    expect([again.status, again.body.sessions.live]).toEqual([200, 1]);
  });

  it('3. As a user with fewer than 3 streaming sessions, I request a new session.', async () => {
    const user_id = someUser();
    await start(user_id, 'tv');
    await start(user_id, 'phone');
    const third = await start(user_id, 'tablet', 'colour-bars');

    expect(third.body.sessions).toEqual({ live: 3, limit: 3 });
    expect(await liveSessions(user_id)).toEqual(['phone', 'tablet', 'tv']);
  });

  it('4. As a user with 3 streaming sessions, I cannot get a fourth, while my existing three go on.', async () => {
    const user_id = someUser();
    for (const session of ['tv', 'phone', 'tablet']) {
      await start(user_id, session);
      service.clock.advance(1_500);
    }
    const fourth = await service.ask({ user_id, session_id: 'laptop', stream_id: 'test-pattern' });

    expect(fourth.status).toBe(409);
    expect(fourth.headers['content-type']).toBe('application/problem+json');
    expect(fourth.body).toMatchObject({ code: 'session-limit-reached', limit: 3 });
    expect(fourth.body.sessions.map((one: { session_id: string }) => one.session_id)).toEqual([
      'tv',
      'phone',
      'tablet',
    ]);
    // The TV sent the oldest request, 4.5 s ago, and expires after 30 s without one.
    expect(fourth.body.retry_after_seconds).toBe(25.5);
    expect(fourth.headers['retry-after']).toBe('26');

    for (const session_id of ['tv', 'phone', 'tablet']) {
      const reply = await service.ask({ user_id, session_id, stream_id: 'test-pattern' });
      expect([reply.status, reply.body.phase.index]).toEqual([200, 1]);
    }
    expect(await liveSessions(user_id)).toEqual(['tv', 'phone', 'tablet']);
  });

  it.each([
    ['before any sweep has run', async () => undefined],
    ['after a sweep', async () => (await service.send('post', '/internal/expire-idle-sessions')).body],
  ])(
    '5. My idle session is terminated after n·X and its place is free for another, %s.',
    async (when, sweep) => {
      // First, sweep the sessions of the other stories. An hour without a sweep is an outage, so that they expire X later.
      for (const ms of [3_600_000, X]) {
        service.clock.advance(ms);
        await service.send('post', '/internal/expire-idle-sessions');
      }
      const user_id = someUser();
      const { body } = await start(user_id, 'tv');
      await start(user_id, 'phone');
      await start(user_id, 'tablet');
      const refused = await service.ask({ user_id, session_id: 'laptop', stream_id: 'test-pattern' });
      service.clock.advance(20_000);
      for (const session_id of ['phone', 'tablet'])
        await service.ask({ user_id, session_id, stream_id: 'test-pattern' });

      const { body: list } = await service.send('get', `/v1/users/${user_id}/sessions`);
      expect(list.sessions.map((one: { state: string }) => one.state).toSorted()).toEqual([
        'active',
        'active',
        'idle',
      ]);

      // A millisecond before that instant the session still holds its place.
      service.clock.advanceTo(body.session.expires_at);
      service.clock.advance(-1);
      const early = await service.ask({ user_id, session_id: 'laptop', stream_id: 'test-pattern' });
      expect(early.status).toBe(409);
      expect(early.body.retry_after_seconds).toBe(0.001);
      expect(early.headers['retry-after']).toBe('1');

      service.clock.advance(1);
      expect(refused.body.retry_after_seconds * 1000).toBe(N_X);
      expect(await liveSessions(user_id)).toEqual(['phone', 'tablet']);
      const swept = await sweep();
      expect(swept?.expired ?? 0).toBe(when === 'after a sweep' ? 1 : 0);
      const reply = await service.ask({ user_id, session_id: 'laptop', stream_id: 'test-pattern' });
      expect([reply.status, reply.body.sessions.live]).toEqual([201, 3]);
      const late = await service.ask({ user_id, session_id: 'tv', stream_id: 'test-pattern' });
      expect(late.status).toBe(409);
    },
  );

  it('6. I use one session for more than one stream, one at a time: another stream moves the session.', async () => {
    const user_id = someUser();
    const { body: first } = await start(user_id, 'tv');
    await service.ask({ user_id, session_id: 'tv', stream_id: 'test-pattern' });
    service.clock.advance(1_000);
    const moved = await service.ask({ user_id, session_id: 'tv', stream_id: 'colour-bars' });

    expect(moved.status).toBe(200);
    expect(moved.body.session).toMatchObject({
      stream_id: 'colour-bars',
      started_at: first.session.started_at,
      phase: 0,
    });
    expect(moved.body.sessions.live).toBe(1);
    expect(moved.body.phase.segments[0].url).toContain('/colour-bars/');
    const { body: list } = await service.send('get', `/v1/users/${user_id}/sessions`);
    expect(list.sessions).toHaveLength(1);
    expect(list.sessions[0]).toMatchObject({ session_id: 'tv', stream_id: 'colour-bars' });

    const back = await service.ask({ user_id, session_id: 'tv', stream_id: 'test-pattern' });
    expect(back.body.phase.index).toBe(0); // a moved session starts at the first phase
  });
});
