import { StoreUnavailableError } from '../../src/sessions/session.repository.js';
import { useService } from '../support/service.js';
import { elsewhere } from '../support/stores.js';
import { until } from '../support/until.js';

/** STORE_DOWN_POLICY=open, with a store that is away when the test wants it. X = 10 s, n = 3. */
describe('the service without its store, if the policy is open,', () => {
  const service = useService('the embedded store', () => ({ STORE_DOWN_POLICY: 'open' }));
  let users = 0;
  let user = '';
  beforeEach(() => {
    user = `viewer-${++users}`;
  });
  afterEach(() => jest.restoreAllMocks());
  const away = new StoreUnavailableError('away', { announced: true, away: true });
  const takeAway = (): void => {
    for (const call of ['admit', 'confirm', 'withdraw', 'check'] as const)
      jest.spyOn(service.sessions, call).mockRejectedValue(away);
  };
  const ask = (session_id: string | undefined, more: object = {}, stream_id = 'test-pattern') =>
    service.ask({ user_id: user, stream_id, ...(session_id && { session_id }), ...more });
  /** A session that the store has confirmed. */
  const start = async (session = 'tv', more: object = {}) => {
    const reply = await ask(session, more);
    expect(reply.status).toBe(201);
    await until(async () => {
      const { sessions } = await service.sessions.list(user);
      return sessions.some(({ sessionId }) => sessionId === session);
    });
    service.clock.advance(1_000);
    return (await ask(session, { phase: 0 })).body;
  };
  const outcomes = async (): Promise<Record<string, number>> => {
    const { text } = await service.send('get', '/metrics');
    const lines = text.matchAll(/^streamgate_outage_admissions_total\{outcome="(\w+)"\} (\d+)$/gm);
    return Object.fromEntries([...lines].map(([, outcome, count]) => [outcome!, Number(count)]));
  };

  it('continues a known session, phase by phase, until the instant that the store had promised', async () => {
    const { session } = await start();
    takeAway();
    const heldFor = Date.parse(session.expires_at) - service.clock.now();
    service.clock.advance(9_000);
    const next = await ask('tv');
    expect([next.status, next.body.degraded, next.body.phase.index]).toEqual([200, true, 1]);
    expect(next.body.session).toMatchObject({
      expires_at: session.expires_at,
      started_at: session.started_at,
    });
    service.clock.advance(10_000);
    expect((await ask('tv')).body).toMatchObject({ degraded: true, phase: { index: 2 } });
    service.clock.advance(heldFor - 19_000 - 1);
    expect((await ask('tv', { phase: 2 })).body).toMatchObject({ degraded: true });
    service.clock.advance(1);
    const late = await ask('tv', { phase: 2 });
    expect([late.status, late.body.code]).toEqual([503, 'store-unavailable']);
    expect(late.headers['retry-after']).toBeDefined();
  });

  it('tells instants in whole milliseconds, although its own clock is finer', async () => {
    await start();
    takeAway();
    const { clock } = service;
    jest.spyOn(clock, 'monotonic').mockImplementation(() => clock.now() + 0.25);
    const { body } = await ask('tv');
    expect([body.degraded, body.session.last_activity_at]).toEqual([
      true,
      new Date(clock.now() + 1).toISOString(),
    ]);
  });

  it('refuses a new session, one of another user, and a request that ends others', async () => {
    await start();
    takeAway();
    for (const [session, more] of [
      [undefined, {}],
      ['phone', {}],
      ['tv', { user_id: 'somebody-else' }],
      ['tv', { end_session_ids: ['phone'] }],
    ] as const)
      expect((await ask(session, more)).status).toBe(503);
  });

  it('hands out no more than would be played X after the place is free', async () => {
    const { session } = await start();
    takeAway();
    const promised = Date.parse(session.expires_at);
    let last = session;
    for (let phase = 1; phase < 7; phase++) {
      const reply = await ask('tv', { phase });
      if (reply.status !== 200) break;
      last = reply.body.session;
    }
    expect(Date.parse(last.plays_until)).toBeLessThanOrEqual(promised + 10_000);
    expect(last.expires_at).toBe(session.expires_at);
  });

  it('moves a known session to another stream, and says that a phase does not exist', async () => {
    await start();
    takeAway();
    const moved = await ask('tv', {}, 'colour-bars');
    expect([moved.status, moved.body.degraded, moved.body.session.stream_id]).toEqual([
      200,
      true,
      'colour-bars',
    ]);
    expect((await ask('tv', { phase: 99 }, 'colour-bars')).status).toBe(404);
  });

  it('tells it in a minimal reply too, and serves players at the gate', async () => {
    await start();
    takeAway();
    const minimal = await service.send(
      'post',
      '/v1/phases',
      { prefer: 'return=minimal' },
      { user_id: user, session_id: 'tv', stream_id: 'test-pattern' },
    );
    expect(minimal.body).toMatchObject({ degraded: true, phase: { index: 1 } });
    const segment = `/v1/play/test-pattern/1/index.m3u8?user_id=${user}&session_id=`;
    expect((await service.send('get', `${segment}tv`)).status).toBe(200);
    expect((await service.send('get', `${segment}phone`)).status).toBe(503);
  });

  it('is ready, degraded, for n·X, so that load balancers keep it', async () => {
    await service.send('get', '/health/ready');
    takeAway();
    service.clock.advance(29_999);
    const ready = async () => service.send('get', '/health/ready');
    expect((await ready()).body).toEqual({ status: 'degraded' });
    service.clock.advance(1);
    expect((await ready()).status).toBe(503);
  });

  it('goes by the store as soon as it is back, and counts a session that it refuses then', async () => {
    await start();
    await start('phone');
    const before = await outcomes();
    takeAway();
    expect((await ask('tv')).status).toBe(200);
    expect((await ask('laptop')).status).toBe(503);
    jest.restoreAllMocks();
    await elsewhere(service.sessions).end(user, ['tv'], 'user');
    expect((await ask('tv')).status).toBe(410);
    const phone = await ask('phone');
    expect([phone.status, phone.body.degraded]).toEqual([200, undefined]);
    const after = await outcomes();
    const gained = Object.keys(after).map((outcome) => [outcome, after[outcome]! - (before[outcome] ?? 0)]);
    expect(Object.fromEntries(gained)).toEqual({ continued: 1, refused: 1, lost: 1 });
    takeAway();
    expect((await ask('tv')).status).toBe(503);
  });
});

describe('the service without its store, if the policy is closed,', () => {
  const service = useService('the embedded store');
  afterEach(() => jest.restoreAllMocks());

  it('refuses every session', async () => {
    const asked = { user_id: 'ana', session_id: 'tv', stream_id: 'test-pattern' };
    expect((await service.ask(asked)).status).toBe(201);
    const away = new StoreUnavailableError('away', { announced: true, away: true });
    jest.spyOn(service.sessions, 'admit').mockRejectedValue(away);
    expect((await service.ask(asked)).status).toBe(503);
  });
});
