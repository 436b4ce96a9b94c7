import addFormats from 'ajv-formats';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { Webhook } from 'standardwebhooks';
import { CallbackOutboxes, EVENT_TYPES } from '../../src/sessions/session-events.js';
import { StoreUnavailableError } from '../../src/sessions/session.repository.js';
import { EVENT } from '../../src/sessions/sessions.schemas.js';
import { CallbackReceiver, type Delivery } from '../support/callback-receiver.js';
import { BY_SECRET, HS256, Issuer } from '../support/issuer.js';
import { type Service, STORES, useService } from '../support/service.js';
import { endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { until } from '../support/until.js';

const secretOf = (letter: string): string => `whsec_${Buffer.from(letter.repeat(32)).toString('base64')}`;
const [NEW_SECRET, OLD_SECRET, ANOTHER] = ['n', 'o', 'x'].map(secretOf) as [string, string, string];
const TOKEN = 'a-token-of-some-length';
const SECRETIVE = '/hooks/SECRET-PATH?token=SECRET-TOKEN';
const UNKNOWN = 'msg_AAAAAAAAAAAAAAAAAAAAAAAAAAA';

const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats.default(ajv);
const isEvent = ajv.compile(EVENT);

let users = 0;

/** The service on a clock that starts at the real time, because signatures older than 5 min are not valid. */
function useServiceNow(...given: Parameters<typeof useService>): Service {
  const service = useService(...given);
  service.clock.advanceTo(new Date().toISOString());
  return service;
}

/** A receiver for the calling suite. To be called before `useService`, whose environment contains its URL. */
function useReceiver(): CallbackReceiver {
  const receiver = new CallbackReceiver();
  beforeAll(() => receiver.start());
  beforeEach(() => {
    receiver.answer = () => 204;
  });
  afterAll(() => receiver.stop());
  return receiver;
}

/** The requests of a user, who is another one in each test, and of an operator. */
function useUser(service: Service, authorization = '') {
  const user = { id: '' };
  beforeEach(() => {
    user.id = `viewer-${++users}`;
  });
  const headers: Record<string, string> = authorization === '' ? {} : { authorization };
  const get = async (path: string) => service.send('get', path, headers);
  const post = async (path: string, body?: object) => service.send('post', path, headers, body);
  const sweep = () => post('/internal/expire-idle-sessions');
  const outbox = async () => (await get('/internal/callbacks')).body;
  const replay = async (body?: object) => post('/internal/callbacks/dead-letters/replay', body);
  /** Makes the service look for events now. Without this a test would wait up to a second. */
  const wake = (): void => {
    service.app.get(CallbackOutboxes).announceNewEvents();
  };
  return {
    user,
    get,
    post,
    now: () => new Date(service.clock.now()).toISOString(),
    ask: (session_id: string, more: object = {}) =>
      service.ask({ user_id: user.id, session_id, stream_id: 'test-pattern', ...more }),
    end: (session_id: string) => service.send('delete', `/v1/users/${user.id}/sessions/${session_id}`),
    sweep,
    wake,
    /** Lets all sessions expire, and claims them. */
    letExpire: async () => {
      await sweep(); // so that the time that passes does not look like an outage
      service.clock.advance(30_000);
      await sweep();
      if ((await service.sessions.list(user.id)).sessions.length === 0) return;
      // The session has more left to play.
      service.clock.advance(30_000);
      await sweep();
    },
    outbox,
    /** Delivers everything, the dead letters of the previous test too. */
    deliverAll: async () => {
      await replay();
      wake();
      await until(async () => {
        const { waiting, dead_letters } = await outbox();
        return waiting + dead_letters === 0;
      });
    },
    deadLetters: async () => (await get('/internal/callbacks/dead-letters')).body.dead_letters,
    replay,
    metrics: async () =>
      Object.fromEntries(
        [...(await get('/metrics')).text.matchAll(/^streamgate_(\w+) (\S+)$/gm)].map(([, name, value]) => [
          name!,
          Number(value),
        ]),
      ),
  };
}

/** `GET /internal/callbacks` when every event was delivered. */
const NOTHING = { waiting: 0, oldest_at: null, dead_letters: 0, lost: 0 };
const NOTHING_WAITS = {
  ...NOTHING,
  receivers: [{ name: 'default', ...NOTHING, state: 'working', since: null, failure: null }],
};

describe.each(STORES)('a callback, on %s,', (store) => {
  const receiver = useReceiver();
  const service = useServiceNow(store, () => ({
    CALLBACK_URL: receiver.url + SECRETIVE,
    CALLBACK_SECRET: `${NEW_SECRET} ${OLD_SECRET}`,
    CALLBACK_MAX_TRIES: '2',
    INTERNAL_API_TOKEN: TOKEN,
  }));
  const viewer = useUser(service, `Bearer ${TOKEN}`);
  const { user, ask, end, now, wake, outbox, deadLetters, replay } = viewer;
  const arrived = (): Delivery[] => receiver.of(user.id);
  /** Waits until this number of callbacks for the test's user have arrived, and returns them. */
  const arrive = async (count = 1): Promise<Delivery[]> => {
    wake();
    await until(() => arrived().length >= count);
    return arrived();
  };
  /** Makes dead letters of the ends of these sessions; returns the ids of the events. */
  const loseEndsOf = async (...sessions: string[]): Promise<string[]> => {
    receiver.answer = ({ event }) => (event.data.user_id === user.id ? 503 : 204);
    for (const session of sessions) {
      await ask(session);
      await end(session);
    }
    wake();
    await until(async () => (await outbox()).dead_letters === sessions.length);
    return sessions.map((session) => arrived().find(({ event }) => event.data.session_id === session)!.id);
  };
  beforeEach(async () => {
    await viewer.deliverAll();
  });

  it('can be verified with each of the secrets, as Standard Webhooks specifies', async () => {
    await ask('tv');
    await end('tv');
    const [{ body, headers, event }] = (await arrive()) as [Delivery];
    for (const secret of [NEW_SECRET, OLD_SECRET])
      expect(new Webhook(secret).verify(body, headers)).toEqual(event);
  });

  it('cannot be verified with another secret, or after a change', async () => {
    await ask('tv');
    await end('tv');
    const [{ body, headers, id }] = (await arrive()) as [Delivery];
    const verify = (changes: object, changed = body, secret = NEW_SECRET) => {
      return () => new Webhook(secret).verify(changed, { ...headers, ...changes });
    };
    expect(verify({})).not.toThrow();
    const refusal = 'No matching signature found';
    expect(verify({}, body, ANOTHER)).toThrow(refusal);
    for (const at of [0, body.length >> 1, body.length - 1])
      expect(verify({}, body.slice(0, at) + '~' + body.slice(at + 1))).toThrow(refusal);
    expect(verify({ 'webhook-id': `${id.slice(0, -1)}~` })).toThrow(refusal);
    const seconds = Number(headers['webhook-timestamp']);
    expect(verify({ 'webhook-timestamp': String(seconds + 1) })).toThrow(refusal);
  });

  it('reports an ended session in its last state; starts, moves and refusals are not reported by default', async () => {
    const started_at = now();
    await ask('tv');
    service.clock.advance(1_000);
    await ask('tv', { stream_id: 'colour-bars' });
    const last_activity_at = now();
    for (const session of ['a', 'b', 'refused']) await ask(session);
    service.clock.advance(2_000);
    await ask('c', { end_session_ids: ['tv'] });
    const [{ event, headers, method, path }] = (await arrive()) as [Delivery];
    expect([method, path, headers['content-type']]).toEqual(['POST', SECRETIVE, 'application/json']);
    const inSeconds = (seconds: number) =>
      new Date(Date.parse(last_activity_at) + seconds * 1_000).toISOString();
    expect(event).toEqual({
      type: 'session.ended',
      timestamp: now(),
      data: {
        session_id: 'tv',
        user_id: user.id,
        stream_id: 'colour-bars',
        state: 'ended',
        started_at,
        last_activity_at,
        // The session got a phase of each stream, 1 s apart.
        plays_until: inSeconds(19),
        idle_at: inSeconds(19),
        expires_at: inSeconds(39),
        phase: 0,
        reason: 'replaced',
        replaced_by: { session_id: 'c' },
      },
    });
    await end('a');
    expect(
      (await arrive(2)).map(({ event: { type, data } }) => [type, data.session_id, data.reason]),
    ).toEqual([
      ['session.ended', 'tv', 'replaced'],
      ['session.ended', 'a', 'user'],
    ]);
  });

  it('reports an expired session when the expiry is claimed', async () => {
    const { body } = await ask('tv', { phase: 2 });
    await viewer.letExpire();
    const [{ event }] = (await arrive()) as [Delivery];
    expect(event).toEqual({
      type: 'session.expired',
      timestamp: now(),
      data: { ...body.session, state: 'expired' },
    });
    expect(isEvent(event)).toBe(true);
  });

  it('does not report the expiry of a session that was admitted again before the claim', async () => {
    await ask('tv');
    await viewer.sweep();
    service.clock.advance(30_000);
    expect((await ask('tv')).status).toBe(201);
    await viewer.sweep();
    await end('tv');
    expect((await arrive()).map(({ event }) => event.type)).toEqual(['session.ended']);
  });

  it('is retried within 2 s after a failure, with the same id and a new signature', async () => {
    receiver.answer = () => (arrived().length === 1 ? 500 : 204);
    await ask('tv');
    await end('tv');
    await arrive();
    service.clock.advance(7_000);
    const [first, second] = (await arrive(2)) as [Delivery, Delivery];
    expect(second.arrivedAt - first.arrivedAt).toBeLessThan(2_000);
    expect([second.id, second.body]).toEqual([first.id, first.body]);
    const at = ({ headers }: Delivery) => Number(headers['webhook-timestamp']);
    expect(at(second) - at(first)).toBe(7);
    expect(new Webhook(NEW_SECRET).verify(second.body, second.headers)).toEqual(first.event);
    await until(async () => (await outbox()).waiting === 0);
    expect(await outbox()).toEqual(NOTHING_WAITS);
  });

  it('has a unique id', async () => {
    for (const session of ['tv', 'phone']) await ask(session);
    for (const session of ['tv', 'phone']) await end(session);
    service.clock.advance(30_000);
    await ask('tv'); // a new session with the same id
    await end('tv');
    expect(new Set((await arrive(3)).map(({ id }) => id)).size).toBe(3);
  });

  it('becomes a dead letter after CALLBACK_MAX_TRIES, and can be sent again with the same id', async () => {
    const [id] = await loseEndsOf('tv');
    const [first, second, ...more] = arrived() as [Delivery, Delivery];
    expect([second.id, more]).toEqual([id, []]);
    expect(await deadLetters()).toEqual([
      {
        id,
        receiver: 'default',
        event: first.event,
        tries: 2,
        failure: 'the receiver answered 503',
        given_up_at: expect.any(String),
      },
    ]);
    expect(await outbox()).toMatchObject({ waiting: 0, oldest_at: null, dead_letters: 1, lost: 0 });
    expect(await viewer.metrics()).toMatchObject({ callbacks_waiting: 0, callbacks_dead_letters: 1 });

    receiver.answer = () => 204;
    expect((await replay()).body).toEqual({ replayed: 1, more: false });
    const third = (await arrive(3))[2]!;
    expect([third.id, third.event]).toEqual([id, first.event]);
    await until(async () => (await outbox()).waiting === 0);
    expect([await deadLetters(), (await replay()).body]).toEqual([[], { replayed: 0, more: false }]);
    expect(await viewer.metrics()).toMatchObject({ callbacks_waiting: 0, callbacks_dead_letters: 0 });
  });

  it('that is a dead letter can be replayed by its id; unknown ids are ignored', async () => {
    const [tv, phone, tablet] = (await loseEndsOf('tv', 'phone', 'tablet')) as [string, string, string];
    const dead = async () => (await deadLetters()).map(({ id }: { id: string }) => id).toSorted();
    expect((await replay({ ids: [UNKNOWN] })).body).toEqual({ replayed: 0, more: false });
    expect(await dead()).toEqual([tv, phone, tablet].toSorted());

    receiver.answer = () => 204;
    const before = arrived().length;
    expect((await replay({ ids: [phone, UNKNOWN, phone] })).body).toEqual({ replayed: 1, more: false });
    expect((await arrive(before + 1)).at(-1)!.id).toBe(phone);
    expect(await dead()).toEqual([tv, tablet].toSorted());
    expect((await replay({})).body).toEqual({ replayed: 2, more: false });
    const rest = (await arrive(before + 3)).slice(before + 1).map(({ id }) => id);
    expect(rest.toSorted()).toEqual([tv, tablet].toSorted());
  });

  it('becomes a dead letter again if the receiver still fails after a replay', async () => {
    const [id] = await loseEndsOf('tv');
    await replay();
    await arrive(4);
    await until(async () => (await outbox()).dead_letters === 1);
    expect(arrived().map((delivery) => delivery.id)).toEqual([id, id, id, id]);
    expect(await deadLetters()).toMatchObject([{ id, tries: 2 }]);
  });

  it('is replayed only with the token, and only for a documented body', async () => {
    await loseEndsOf('tv');
    for (const path of ['', '/dead-letters'])
      expect((await service.send('get', `/internal/callbacks${path}`)).status).toBe(401);
    const anonymous = await service.send('post', '/internal/callbacks/dead-letters/replay');
    expect([anonymous.status, anonymous.body.code]).toEqual([401, 'unauthorized']);
    const bodies: [object, field: string][] = [
      [{ ids: [] }, 'ids'],
      [{ ids: UNKNOWN }, 'ids'],
      [{ ids: null }, 'ids'],
      [{ ids: [UNKNOWN, ''] }, 'ids.1'],
      [{ ids: [7] }, 'ids.0'],
      [{ ids: ['x'.repeat(65)] }, 'ids.0'],
      [{ ids: Array.from({ length: 101 }, (_, n) => `msg_${n}`) }, 'ids'],
      [{ id: UNKNOWN }, 'id'],
      [[], 'body'],
    ];
    for (const [body, field] of bodies) {
      const reply = await replay(body);
      expect([reply.status, reply.body.code, reply.body.errors[0].field]).toEqual([
        422,
        'invalid-request',
        field,
      ]);
    }
    expect(await outbox()).toMatchObject({ waiting: 0, dead_letters: 1 });
  });

  it('is not sent after the receiver has answered 410, until an operator resumes delivery', async () => {
    receiver.answer = () => 410;
    await ask('tv');
    await end('tv');
    wake();
    await until(async () => (await outbox()).receivers[0].state === 'stopped');
    expect(await viewer.metrics()).toMatchObject({ callbacks_stopped: 1, callbacks_waiting: 1 });
    expect((await outbox()).receivers[0]).toMatchObject({
      state: 'stopped',
      since: expect.any(String),
      failure: 'the receiver answered 410',
    });
    receiver.answer = () => 204;
    const anonymous = await service.send('post', '/internal/callbacks/resume');
    expect([anonymous.status, (await outbox()).waiting]).toEqual([401, 1]);
    const resume = async () => (await viewer.post('/internal/callbacks/resume')).body;
    expect(await resume()).toEqual({ resumed: true });
    await until(async () => (await outbox()).waiting === 0);
    expect([await resume(), new Set(arrived().map(({ id }) => id)).size]).toEqual([{ resumed: false }, 1]);
    expect(await viewer.metrics()).toMatchObject({ callbacks_stopped: 0, callbacks_dead_letters: 0 });
  });

  it('does not follow a redirect', async () => {
    receiver.answer = ({ path }) =>
      path === '/elsewhere' ? 204 : { status: 307, headers: { location: `${receiver.url}/elsewhere` } };
    await ask('tv');
    await end('tv');
    wake();
    await until(async () => (await outbox()).dead_letters === 1);
    expect(arrived().map(({ path }) => path)).toEqual([SECRETIVE, SECRETIVE]);
    expect((await deadLetters())[0].failure).toBe('the receiver answered 307');
  });

  it('delays no request while the receiver does not answer', async () => {
    receiver.answer = () => 'hold';
    await ask('tv');
    await end('tv');
    wake();
    await until(() => receiver.holding === 1);
    expect((await ask('phone')).status).toBe(201);
    expect((await ask('phone')).status).toBe(200);
    expect((await end('phone')).status).toBe(204);
    await ask('tablet');
    await viewer.letExpire();
    const { body } = await viewer.get(`/v1/users/${user.id}/sessions`);
    expect(body.sessions).toEqual([]);
    await until(() => receiver.holding === 3);
    // Each was tried once: the first try still waits for its answer.
    const sessions = arrived().map(({ event }) => event.data.session_id);
    expect(sessions.toSorted()).toEqual(['phone', 'tablet', 'tv']);
    receiver.letGo(204);
    await until(async () => (await outbox()).waiting === 0);
    expect(arrived()).toHaveLength(3);
  });
});

describe.each(STORES)('two receivers, on %s,', (store) => {
  const [common, crm] = [useReceiver(), useReceiver()];
  const service = useServiceNow(store, () => ({
    CALLBACK_URLS: JSON.stringify([
      { name: 'common', url: common.url + SECRETIVE },
      { name: 'crm', url: crm.url, events: ['session.started', 'session.ended'], secret: OLD_SECRET },
    ]),
    CALLBACK_SECRET: NEW_SECRET,
    CALLBACK_MAX_TRIES: '1',
  }));
  const viewer = useUser(service);
  const { user, ask, end, wake, outbox, deadLetters, replay } = viewer;
  const typesAt = (receiver: CallbackReceiver): string[] =>
    receiver.of(user.id).map(({ event }) => event.type.replace('session.', ''));
  const stateOf = async (name: string) =>
    (await outbox()).receivers.find((receiver: { name: string }) => receiver.name === name);
  const arrive = async (receiver: CallbackReceiver, count: number): Promise<Delivery[]> => {
    wake();
    await until(() => receiver.of(user.id).length >= count);
    return receiver.of(user.id);
  };
  beforeEach(async () => {
    await viewer.post('/internal/callbacks/resume');
    await viewer.deliverAll();
  });

  it('get the events that each wants, with the same id, signed with the secret of each', async () => {
    await ask('tv');
    await end('tv');
    const [, ended] = (await arrive(crm, 2)) as [Delivery, Delivery];
    const [shared] = (await arrive(common, 1)) as [Delivery];
    expect([typesAt(crm), typesAt(common)]).toEqual([['started', 'ended'], ['ended']]);
    expect([ended.id, ended.body]).toEqual([shared.id, shared.body]);
    expect(new Webhook(OLD_SECRET).verify(ended.body, ended.headers)).toEqual(ended.event);
    expect(new Webhook(NEW_SECRET).verify(shared.body, shared.headers)).toEqual(shared.event);
    expect(() => new Webhook(NEW_SECRET).verify(ended.body, ended.headers)).toThrow(
      'No matching signature found',
    );
  });

  it('do not delay each other: one that hangs keeps its events, and the other gets its own', async () => {
    crm.answer = () => 'hold';
    for (const session of ['tv', 'phone']) {
      await ask(session);
      await end(session);
    }
    await arrive(common, 2);
    await until(async () => (await stateOf('common')).waiting === 0);
    expect(await stateOf('crm')).toMatchObject({ waiting: 4 });
    expect(await outbox()).toMatchObject({ waiting: 4, oldest_at: (await stateOf('crm')).oldest_at });
    crm.answer = () => 204;
    crm.letGo(204);
    await until(async () => (await outbox()).waiting === 0);
  });

  it('have dead letters of their own, which can be replayed by receiver', async () => {
    for (const receiver of [common, crm]) receiver.answer = () => 500;
    await ask('tv');
    await end('tv');
    wake();
    await until(async () => (await outbox()).dead_letters === 3);
    const receivers = (await deadLetters()).map(({ receiver }: { receiver: string }) => receiver);
    expect(receivers.toSorted()).toEqual(['common', 'crm', 'crm']);
    expect(await viewer.metrics()).toMatchObject({ callbacks_dead_letters: 3 });
    for (const receiver of [common, crm]) receiver.answer = () => 204;
    expect((await replay({ receiver: 'crm' })).body).toEqual({ replayed: 2, more: false });
    await until(async () => (await stateOf('crm')).waiting === 0);
    expect([(await stateOf('common')).dead_letters, (await stateOf('crm')).dead_letters]).toEqual([1, 0]);
    expect((await replay({ receiver: 'erp' })).body).toMatchObject({ errors: [{ field: 'receiver' }] });
    expect((await outbox()).dead_letters).toBe(1);
  });

  it('are stopped by 410 one by one, and resumed by name', async () => {
    crm.answer = () => 410;
    await ask('tv');
    await end('tv');
    wake();
    await until(async () => (await stateOf('crm')).state === 'stopped');
    await arrive(common, 1);
    expect(await stateOf('common')).toMatchObject({ state: 'working' });
    expect(await viewer.metrics()).toMatchObject({ callbacks_stopped: 1 });
    crm.answer = () => 204;
    const resume = async (receiver: string) =>
      (await viewer.post('/internal/callbacks/resume', { receiver })).body;
    expect(await resume('common')).toEqual({ resumed: false });
    expect(await resume('erp')).toMatchObject({ code: 'invalid-request', errors: [{ field: 'receiver' }] });
    expect(await stateOf('crm')).toMatchObject({ state: 'stopped', waiting: 2 });
    expect(await resume('crm')).toEqual({ resumed: true });
    await until(async () => (await outbox()).waiting === 0);
    expect(new Set(crm.of(user.id).map(({ id }) => id)).size).toBe(2);
  });
});

describe.each(STORES)('callbacks for all types of events, on %s,', (store) => {
  const receiver = useReceiver();
  const service = useServiceNow(store, () => ({
    CALLBACK_URL: receiver.url,
    CALLBACK_EVENTS: EVENT_TYPES.join(','),
  }));
  const viewer = useUser(service);
  const { user, ask, end, wake } = viewer;
  afterEach(() => jest.restoreAllMocks());
  const arrived = (session?: string): Delivery[] =>
    receiver.of(user.id).filter(({ event }) => session === undefined || event.data.session_id === session);
  const arrive = async (count: number, session?: string): Promise<Delivery[]> => {
    wake();
    await until(() => arrived(session).length >= count);
    return arrived(session);
  };
  const types = (deliveries: readonly Delivery[]): string[] =>
    deliveries.map(({ event }) => event.type.replace('session.', ''));

  it('report everything that happens to a session, in order and as documented', async () => {
    await ask('tv');
    service.clock.advance(1_000);
    await ask('tv', { stream_id: 'colour-bars' });
    await ask('tv', { stream_id: 'colour-bars' }); // a renewal, which is no event
    await viewer.letExpire();
    await ask('tv');
    await end('tv');
    const deliveries = await arrive(5, 'tv');
    expect(types(deliveries)).toEqual(['started', 'moved', 'expired', 'started', 'ended']);
    for (const { event } of deliveries) {
      isEvent(event);
      expect([event, isEvent.errors]).toEqual([event, null]);
    }
    expect(deliveries.map(({ event }) => event.data.state)).toEqual([
      'active',
      'active',
      'expired',
      'active',
      'ended',
    ]);
    expect(new Set(deliveries.map(({ id }) => id)).size).toBe(5);
  });

  it('report a refusal with its ids and its reason', async () => {
    for (const session of ['a', 'b', 'c']) await ask(session);
    expect((await ask('tv')).status).toBe(409);
    const [{ event }] = (await arrive(1, 'tv')) as [Delivery];
    expect(event).toEqual({
      type: 'session.refused',
      timestamp: viewer.now(),
      data: {
        session_id: 'tv',
        user_id: user.id,
        stream_id: 'test-pattern',
        reason: 'session-limit-reached',
      },
    });
    isEvent(event);
    expect(isEvent.errors).toBeNull();
  });

  it('have unique ids even if a session moves twice at the same instant', async () => {
    await ask('tv');
    for (const stream_id of ['colour-bars', 'test-pattern']) await ask('tv', { stream_id, phase: 0 });
    const [, ...moves] = await arrive(3, 'tv');
    expect(moves.map(({ event }) => event.data.stream_id)).toEqual(['colour-bars', 'test-pattern']);
    expect(moves[0]!.id).not.toBe(moves[1]!.id);
  });

  it('of one session are sent one after the other, and do not delay those of other sessions', async () => {
    receiver.answer = ({ event }) =>
      event.data.session_id === 'tv' && event.type === 'session.started' ? 'hold' : 204;
    await ask('tv');
    await arrive(1, 'tv');
    await ask('tv', { stream_id: 'colour-bars' });
    await ask('phone');
    await arrive(1, 'phone');
    await ask('tablet');
    await arrive(1, 'tablet');
    expect([types(arrived('tv')), receiver.holding]).toEqual([['started'], 1]);

    receiver.answer = () => 204;
    receiver.letGo(500);
    const deliveries = await arrive(3, 'tv');
    expect(types(deliveries)).toEqual(['started', 'started', 'moved']);
    expect(deliveries[1]!.id).toBe(deliveries[0]!.id);
  });

  it('wait while the receiver is down without affecting requests, and arrive when it works again', async () => {
    const failed = jest.spyOn(service.app.get(CallbackOutboxes).of('default'), 'failed');
    await receiver.stop();
    try {
      expect((await ask('tv')).status).toBe(201);
      wake();
      await until(() => failed.mock.calls.length > 0); // the first try has failed
      expect((await ask('tv')).status).toBe(200);
      expect((await end('tv')).status).toBe(204);
      expect(await viewer.outbox()).toMatchObject({ waiting: 2, oldest_at: expect.any(String) });
    } finally {
      await receiver.start();
    }
    expect(types(await arrive(2))).toEqual(['started', 'ended']);
    await until(async () => (await viewer.outbox()).waiting === 0);
    expect(await viewer.outbox()).toEqual(NOTHING_WAITS);
  });
});

describe.each(STORES)('callbacks of a viewer whose subject is no id, on %s,', (store) => {
  const receiver = useReceiver();
  const issuer = new Issuer(() => service.clock.now());
  const service = useServiceNow(store, () => ({
    ...BY_SECRET,
    MAX_SESSIONS_PER_USER: '1',
    CALLBACK_URL: receiver.url,
    CALLBACK_EVENTS: EVENT_TYPES.join(','),
  }));

  it('have the subject', async () => {
    const sub = `auth0|Ana "Ñ"/${++users}`;
    const authorization = `Bearer ${await issuer.token(HS256, { sub })}`;
    const ask = (session_id: string, stream_id = 'test-pattern') =>
      service.send('post', '/v1/phases', { authorization }, { session_id, stream_id });
    await ask('tv');
    expect((await ask('phone')).status).toBe(409);
    await ask('tv', 'colour-bars');
    const { body } = await service.send('get', `/v1/users/${encodeURIComponent(sub)}/sessions`, {
      authorization,
    });
    await service.send('delete', `/v1/users/${body.user_id}/sessions/tv`, { authorization });
    await until(() => receiver.of(body.user_id).length === 4);
    const events = receiver.of(body.user_id).map(({ event }) => event);
    expect(events.map(({ type }) => type.replace('session.', '')).toSorted()).toEqual([
      'ended',
      'moved',
      'refused',
      'started',
    ]);
    for (const event of events) {
      isEvent(event);
      expect([event.data.subject, isEvent.errors]).toEqual([sub, null]);
    }
  });
});

describe.each(STORES)('without a CALLBACK_URL, on %s,', (store) => {
  const service = useServiceNow(store);
  const { ask, end, outbox, metrics } = useUser(service);

  it('no event waits to be delivered', async () => {
    await ask('tv');
    await end('tv');
    await until(async () => (await outbox()).waiting === 0);
    expect(await outbox()).toEqual(NOTHING_WAITS);
    expect(await metrics()).toMatchObject({ callbacks_waiting: 0, callbacks_oldest_seconds: 0 });
  });
});

describe.each(STORES)('the metrics, on %s,', (store) => {
  const receiver = useReceiver();
  const service = useServiceNow(store, () => ({ CALLBACK_URL: receiver.url }));
  const viewer = useUser(service);
  const { ask, end, metrics } = viewer;
  const settled = { callbacks_waiting: 0, callbacks_oldest_seconds: 0, callbacks_dead_letters: 0 };
  beforeEach(async () => {
    viewer.wake();
    await until(async () => (await metrics()).callbacks_waiting === 0);
  });
  afterEach(() => jest.restoreAllMocks());

  it('count all sessions by what became of them', async () => {
    const before = await metrics();
    expect(before.store_up).toBe(1);
    for (const session of ['tv', 'phone', 'tablet']) await ask(session);
    await end('phone');
    const lost = await service.sessions.admit({
      userId: 'nobody',
      sessionId: 'tv',
      streamId: 'test-pattern',
      phase: 0,
      window: { oldest: 0, end: 1, start: 0, live: false, phaseMs: 10_000, lastPhaseMs: 10_000 },
      quota: { maxSessions: 3 },
      endSessionIds: [],
    });
    if (lost.outcome !== 'admitted') throw new Error(lost.outcome);
    await service.sessions.withdraw(lost.place);
    const gained = async (): Promise<Record<string, number>> => {
      const after = await metrics();
      return Object.fromEntries(
        ['admitted_total', 'ended_total', 'expired_total', 'undone_total', 'live'].map((name) => [
          name,
          after[`sessions_${name}`]! - before[`sessions_${name}`]!,
        ]),
      );
    };
    expect(await gained()).toEqual({
      admitted_total: 4,
      ended_total: 1,
      expired_total: 0,
      undone_total: 1,
      live: 2,
    });
    await viewer.letExpire();
    expect(await gained()).toMatchObject({ expired_total: 2, live: 0 });
  });

  it('are the same for concurrent scrapes', async () => {
    await ask('tv');
    const alone = (await metrics()).sessions_admitted_total;
    const together = await Promise.all(Array.from({ length: 5 }, metrics));
    expect(together.map(({ sessions_admitted_total }) => sessions_admitted_total)).toEqual(
      Array.from({ length: 5 }, () => alone),
    );
  });

  it('show how many events wait, and the age of the oldest', async () => {
    receiver.answer = () => 'hold';
    for (const session of ['tv', 'phone']) {
      await ask(session);
      await end(session);
    }
    viewer.wake();
    await until(() => receiver.holding === 2);
    // The id of an event contains its time: by the clock of the Redis server, or by the clock of the test.
    service.clock.advance(Math.max(0, Date.now() - service.clock.now()) + 100_000);
    const waiting = await metrics();
    expect(waiting).toMatchObject({ callbacks_waiting: 2, callbacks_dead_letters: 0 });
    expect(waiting.callbacks_oldest_seconds).toBeGreaterThan(90);
    expect(waiting.callbacks_oldest_seconds).toBeLessThan(200);
    receiver.letGo(204);
    await until(async () => (await metrics()).callbacks_waiting === 0);
    expect(await metrics()).toMatchObject(settled);
  });

  it('show that expiry is paused, and for how long', async () => {
    expect(await metrics()).toMatchObject({ expiry_paused: 0, expiry_paused_seconds: 0 });
    await viewer.post('/internal/expiry/pause');
    service.clock.advance(42_000);
    expect(await metrics()).toMatchObject({ expiry_paused: 1, expiry_paused_seconds: 42 });
    await viewer.post('/internal/expiry/resume');
    expect(await metrics()).toMatchObject({ expiry_paused: 0, expiry_paused_seconds: 0 });
  });

  it('show that the store is unavailable, and omit the values that only the store knows', async () => {
    await ask('tv');
    const before = await metrics();
    jest.spyOn(service.sessions, 'ledger').mockRejectedValue(new StoreUnavailableError('away'));
    const reply = await viewer.get('/metrics');
    expect([reply.status, reply.headers['content-type']]).toEqual([
      200,
      expect.stringContaining('text/plain'),
    ]);
    // Prometheus would count all sessions a second time if a counter fell to 0 and came back.
    const without = await metrics();
    expect(without).toMatchObject({
      store_up: 0,
      store_nodes_away: 0,
      event_streams: 0,
      callbacks_stopped: 0,
    });
    const omitted = Object.keys(before).filter((name) => !(name in without));
    expect(omitted.toSorted()).toEqual([
      'callbacks_dead_letters',
      'callbacks_lost_total',
      'callbacks_oldest_seconds',
      'callbacks_waiting',
      'expiry_paused',
      'expiry_paused_seconds',
      'sessions_admitted_total',
      'sessions_ended_total',
      'sessions_expired_total',
      'sessions_live',
      'sessions_undone_total',
      'store_may_evict',
      'store_unreadable_values_total',
    ]);
    jest.restoreAllMocks();
    const after = await metrics();
    for (const name of [...omitted, 'store_up']) expect([name, after[name]]).toEqual([name, before[name]]);
  });
});

describe('the log of callbacks', () => {
  const receiver = useReceiver();
  afterEach(endServiceProcesses);

  it('has each dead letter with its reason, without the answer or the URL of the receiver', async () => {
    const service = await startServiceProcess({
      CALLBACK_URL: receiver.url + SECRETIVE,
      CALLBACK_SECRET: NEW_SECRET,
      CALLBACK_MAX_TRIES: '1',
      LOG_LEVEL: 'trace',
    });
    const replies: string[] = [];
    const get = async (path: string): Promise<string> => {
      const text = await (await fetch(service.url + path)).text();
      replies.push(text);
      return text;
    };
    const headers = { 'x-answer': 'SECRET-ANSWER', location: 'http://SECRET.example/' };
    receiver.answer = ({ event }) =>
      event.data.session_id === 'tv'
        ? 'hang up'
        : { status: 500, headers, body: '{"error":"SECRET-ANSWER"}' };
    for (const session_id of ['tv', 'phone']) {
      await service.ask({ user_id: 'ana', session_id, stream_id: 'test-pattern' });
      await fetch(`${service.url}/v1/users/ana/sessions/${session_id}`, { method: 'DELETE' });
    }
    await until(async () => (JSON.parse(await get('/internal/callbacks')) as Outbox).dead_letters === 2);
    const failures = ['the receiver could not be reached (UND_ERR_SOCKET)', 'the receiver answered 500'];
    const letters = await get('/internal/callbacks/dead-letters');
    for (const failure of failures) expect(letters).toContain(`"failure":"${failure}"`);
    await get('/metrics');
    await get('/internal/callbacks/nothing');
    await until(() => service.output().includes('given up after 1 tries'));
    await service.end();
    for (const failure of failures) expect(service.output()).toContain(`"failure":"${failure}"`);
    for (const text of [service.output(), ...replies]) {
      expect(text).not.toMatch(/SECRET|whsec_/);
      expect(text).not.toContain(new URL(receiver.url).host);
      expect(text).not.toContain(NEW_SECRET.slice('whsec_'.length));
    }
  });
});

interface Outbox {
  readonly dead_letters: number;
}
