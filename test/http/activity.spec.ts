import { STORES, useService } from '../support/service.js';

const TOKEN = 'a-token-of-some-length';

describe.each(STORES)('the activity that a CDN reports, on %s,', (store) => {
  const service = useService(store, () => ({ INTERNAL_API_TOKEN: TOKEN }));
  const authorization = `Bearer ${TOKEN}`;
  const report = async (...activity: readonly object[]) =>
    service.send('post', '/internal/activity', { authorization }, { activity });
  const start = async (user_id: string, session_id = 'tv'): Promise<number> => {
    expect((await service.ask({ user_id, session_id, stream_id: 'test-pattern' })).status).toBe(201);
    return service.clock.now();
  };
  const seen = (user_id: string, ms: number, session_id = 'tv') => ({
    user_id,
    session_id,
    at: new Date(ms).toISOString(),
  });
  /** The instants of the user's sessions, relative to `begun`, in seconds. */
  const sessions = async (user: string, begun: number): Promise<object[]> => {
    const { body } = await service.send('get', `/v1/users/${user}/sessions`);
    const since = (text: string): number => (Date.parse(text) - begun) / 1_000;
    return (body.sessions as Record<'session_id' | 'last_activity_at' | 'expires_at', string>[]).map(
      ({ session_id, last_activity_at, expires_at }) => ({
        session_id,
        active: since(last_activity_at),
        expires: since(expires_at),
      }),
    );
  };

  it('moves each session forward to its latest entry', async () => {
    const begun = await start('ana');
    await start('ana', 'phone');
    service.clock.advance(20_000);
    const { status, body } = await report(
      seen('ana', begun + 12_000),
      seen('ana', begun + 15_000),
      seen('ana', begun + 14_000),
      seen('ana', begun + 7_000, 'phone'),
    );
    expect([status, body]).toEqual([200, { noted: 4, ended: 0, unknown: 0 }]);
    expect(await sessions('ana', begun)).toEqual([
      { session_id: 'phone', active: 7, expires: 37 },
      { session_id: 'tv', active: 15, expires: 45 },
    ]);
  });

  it('never moves a session back or past now, and is idempotent', async () => {
    const begun = await start('ben');
    service.clock.advance(8_000);
    for (const ms of [begun - 60_000, begun + 5_000, begun + 3_600_000, begun + 3_600_000]) {
      expect((await report(seen('ben', ms))).body).toEqual({ noted: 1, ended: 0, unknown: 0 });
    }
    expect(await sessions('ben', begun)).toEqual([{ session_id: 'tv', active: 8, expires: 38 }]);
    await report(seen('ben', begun));
    expect(await sessions('ben', begun)).toEqual([{ session_id: 'tv', active: 8, expires: 38 }]);
  });

  it('creates no session, and does not bring back one that has expired or was ended', async () => {
    const begun = await start('eve');
    service.clock.advance(30_000);
    await start('eve', 'ended');
    await service.send('delete', '/v1/users/eve/sessions/ended');
    expect(
      (
        await report(
          seen('eve', begun + 1_000),
          seen('eve', begun + 30_000, 'ended'),
          seen('eve', begun, 'never-was'),
          seen('nobody', begun),
        )
      ).body,
    ).toEqual({ noted: 0, ended: 1, unknown: 3 });
    expect(await sessions('eve', begun)).toEqual([]);
    expect((await service.ask({ user_id: 'eve', session_id: 'tv', stream_id: 'test-pattern' })).status).toBe(
      201,
    );
  });

  it('is refused as a whole if an entry is invalid, with the field of each fault', async () => {
    const begun = await start('joe');
    service.clock.advance(5_000);
    const good = seen('joe', begun + 5_000);
    for (const [bad, field] of [
      [{ ...good, at: 'yesterday' }, 'activity.1.at'],
      [{ ...good, at: '2016-12-31T23:59:60Z' }, 'activity.1.at'],
      [{ ...good, at: 7 }, 'activity.1.at'],
      [{ ...good, session_id: 'a b' }, 'activity.1.session_id'],
      [{ ...good, user_id: '' }, 'activity.1.user_id'],
      [{ ...good, user_id: 'é'.repeat(600) }, 'activity.1.user_id'],
      [{ ...good, place: 'home' }, 'activity.1.place'],
      [{ user_id: 'joe', session_id: 'tv' }, 'activity.1.at'],
    ] as const) {
      const { status, body } = await report(good, bad);
      expect([status, body.code, body.errors?.[0]?.field]).toEqual([422, 'invalid-request', field]);
    }
    for (const activity of [
      [],
      Array.from({ length: 101 }, () => ({ user_id: 'j', session_id: 't', at: good.at })),
    ])
      expect((await report(...activity)).body).toMatchObject({
        status: 422,
        errors: [{ field: 'activity' }],
      });
    expect(await sessions('joe', begun)).toEqual([{ session_id: 'tv', active: 0, expires: 30 }]);
  });

  it('takes a batch of a hundred entries', async () => {
    const begun = await start('kim');
    service.clock.advance(10_000);
    const user_id = '0191b0c5-7c3e-7f6a-9d2e-5b8a1c4d6e7f';
    const { status, body } = await report(
      seen('kim', begun + 10_000),
      ...Array.from({ length: 99 }, (_, n) => seen(user_id, begun, `0191b0c5-7c3e-7f6a-9d2e-${1e11 + n}`)),
    );
    expect([status, body]).toEqual([200, { noted: 1, ended: 0, unknown: 99 }]);
    expect(await sessions('kim', begun)).toEqual([{ session_id: 'tv', active: 10, expires: 40 }]);
  });
});
