import { createHash, createHmac, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { type Response } from 'supertest';
import { PinoLogger } from 'nestjs-pino';
import { userIdOf } from '../../src/auth/subjects.js';
import { Tickets } from '../../src/auth/tickets.js';
import { Clock } from '../../src/clock.js';
import { readConfig } from '../../src/config/config.js';
import { openEventSource } from '../support/event-source.js';
import { BY_SECRET, HS256, Issuer, newKeyPair, pemOf } from '../support/issuer.js';
import { LiveOrigin } from '../support/live-origin.js';
import { type Service, useService } from '../support/service.js';
import { endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { until } from '../support/until.js';

const STREAM = 'test-pattern';
const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const bearer = (token: string | undefined): Record<string, string> =>
  token === undefined ? {} : { authorization: `Bearer ${token}` };
const problemOf = ({ status, body, headers }: Response) => [status, body.code, headers['www-authenticate']];
const NO_CREDENTIALS = [401, 'unauthorized', 'Bearer'];
const INVALID_TOKEN = [401, 'unauthorized', 'Bearer error="invalid_token"'];
const UNUSABLE = [401, 'token-unusable', 'Bearer error="invalid_token"'];
const NOT_YOUR_SESSION = [403, 'not-your-session', undefined];

/** Sends requests as a viewer with the given token. */
function viewerOf(service: Service) {
  const post = (path: string) => (token: string | undefined, body: object) =>
    service.send('post', path, bearer(token), { stream_id: STREAM, ...body });
  return {
    phase: (token: string | undefined, body: object = {}) => post('/v1/phases')(token, body),
    ticket: (token: string | undefined, body: object = {}) => post('/v1/tickets')(token, body),
    get: (url: string, token?: string) => service.send('get', pathOf(url), bearer(token)),
  };
}

function pathOf(url: string): string {
  const { pathname, search } = new URL(url, 'http://a');
  return pathname + search;
}

describe('the check of tokens with the published keys of an issuer', () => {
  const issuer = new Issuer(() => service.clock.now());
  let key: Awaited<ReturnType<Issuer['addKey']>>;
  const others: Record<string, typeof key> = {};
  beforeAll(async () => {
    await issuer.start();
    key = await issuer.addKey('one');
    for (const alg of ['ES256', 'PS256', 'EdDSA']) others[alg] = await issuer.addKey(`by-${alg}`, alg);
  });
  afterAll(() => issuer.stop());
  afterEach(() => jest.restoreAllMocks());
  const service = useService('the embedded store', () => issuer.environment);
  const { phase, get } = viewerOf(service);

  it('takes the user from the token, whether or not the body names the user', async () => {
    const token = await issuer.token(key, { sub: 'named' });
    const first = await phase(token, { session_id: 'tv' });
    expect([first.status, first.body.session.user_id]).toEqual([201, 'named']);
    expect((await phase(token, { session_id: 'tv', user_id: 'named' })).status).toBe(200);
    expect((await get('/v1/users/named/sessions', token)).body.sessions).toHaveLength(1);
  });

  it('accepts every algorithm that is safe with a public key', async () => {
    for (const pair of Object.values(others))
      expect((await phase(await issuer.token(pair))).status).toBe(201);
  });

  it('fetches the keys once for many viewers', async () => {
    for (const sub of ['a', 'b', 'c'])
      expect((await phase(await issuer.token(key, { sub }))).status).toBe(201);
    expect(issuer.reads).toBe(1);
  });

  it('accepts a key within 2 s after its publication, and does not answer 401 before', async () => {
    const rotated = await issuer.addKey('two');
    const token = await issuer.token(rotated, { sub: 'rotated' });
    const reads = issuer.reads;
    const early = await phase(token);
    expect([early.status, early.body.code, early.headers['retry-after']]).toEqual([
      503,
      'keys-unavailable',
      '1',
    ]);
    expect(issuer.reads).toBe(reads);
    service.clock.advance(1_000);
    expect((await phase(token)).status).toBe(201);
    expect(issuer.reads).toBe(reads + 1);
    expect((await phase(await issuer.token(key, { sub: 'still' }))).status).toBe(201);
  });

  it('fetches the keys at most once a second for made-up key ids, and does not delay tokens with published keys', async () => {
    service.clock.advance(1_000);
    const { privateKey } = await newKeyPair('RS256');
    const madeUp = (kid: string) => issuer.token({ alg: 'RS256', privateKey }, {}, { kid });
    const reads = issuer.reads;
    expect(problemOf(await phase(await madeUp('made-up')))).toEqual(INVALID_TOKEN);
    expect(problemOf(await phase(await madeUp('made-up')))).toEqual(INVALID_TOKEN);
    const tokens = await Promise.all(Array.from({ length: 20 }, (_, at) => madeUp(`made-up-${at}`)));
    for (const { status } of await Promise.all(tokens.map((token) => phase(token)))) expect(status).toBe(503);
    expect(issuer.reads).toBe(reads + 1);
    service.clock.advance(1_000);
    const after = await Promise.all(tokens.map((token) => phase(token)));
    expect(after.filter(({ status }) => status === 401).length).toBeGreaterThan(0);
    expect(issuer.reads).toBe(reads + 2);
    expect((await phase(await issuer.token(key, { sub: 'undelayed' }))).status).toBe(201);
  });

  it('rejects tokens of a withdrawn key after the next fetch of the keys', async () => {
    const withdrawn = others.ES256!;
    issuer.published.splice(
      issuer.published.findIndex(({ kid }) => kid === withdrawn.kid),
      1,
    );
    const ask = async () => (await phase(await issuer.token(withdrawn, { sub: 'late' }))).status;
    expect(await ask()).toBe(201);
    service.clock.advance(600_001);
    const reads = issuer.reads;
    await phase(await issuer.token(key, { sub: 'passer-by' })); // starts a fetch in the background
    await until(() => issuer.reads === reads + 1);
    service.clock.advance(60_000); // cached verifications are checked again
    await until(async () => (await ask()) === 401);
  });

  it.each([
    ['a path', '../../../../dev/null'],
    ['a URL', 'http://127.0.0.1:1/keys'],
    ['SQL', "' OR '1'='1"],
    ['an unknown name', 'nobody'],
    ['nothing, although there are several keys,', undefined],
  ])('rejects a token with %s as its kid', async (_, kid) => {
    service.clock.advance(1_000);
    const { privateKey } = await newKeyPair('RS256');
    expect(problemOf(await phase(await issuer.token({ alg: 'RS256', privateKey }, {}, { kid })))).toEqual(
      INVALID_TOKEN,
    );
  });

  it('rejects tokens of an unsuitable published key, and accepts tokens of the other keys', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1_024 });
    const { kty, n, e } = createPublicKey(privateKey).export({ format: 'jwk' });
    const published = issuer.published.length;
    const unfit: string[] = [];
    issuer.published.push(
      { kty: kty!, n: n!, e: e!, kid: 'short', alg: 'RS256' },
      { kty: 'RSA', e: 'AQAB', kid: 'not-whole', alg: 'RS256' },
      { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA', kid: 'off-the-curve', alg: 'ES256' },
    );
    service.clock.advance(1_000); // the keys may be fetched once a second
    try {
      for (const [kid, alg] of [
        ['short', 'RS256'],
        ['not-whole', 'RS256'],
        ['off-the-curve', 'ES256'],
      ] as const) {
        const content = `${base64url({ alg, kid })}.${base64url(issuer.claims())}`;
        const signature = sign('sha256', Buffer.from(content), privateKey).toString('base64url');
        expect([kid, ...problemOf(await phase(`${content}.${signature}`))]).toEqual([kid, ...INVALID_TOKEN]);
        unfit.push(`${content}.${signature}`);
      }
      // The answer is the same while the issuer fails and the service waits before it fetches again.
      issuer.status = 500;
      service.clock.advance(1_000);
      const { privateKey: unknown } = await newKeyPair('RS256');
      const made = await issuer.token({ alg: 'RS256', kid: 'made-up', privateKey: unknown });
      expect((await phase(made)).body.code).toBe('keys-unavailable');
      for (const token of unfit) expect(problemOf(await phase(token))).toEqual(INVALID_TOKEN);
      expect((await phase(await issuer.token(key, { sub: 'unharmed' }))).status).toBe(201);
    } finally {
      issuer.status = 200;
      issuer.published.length = published;
    }
  });

  it('rejects a key that the token contains or refers to', async () => {
    const { privateKey, publicKey } = await newKeyPair('RS256');
    const jwk = await crypto.subtle.exportKey('jwk', publicKey);
    for (const header of [{ jwk }, { jku: 'http://127.0.0.1:1/keys' }, { x5u: 'http://127.0.0.1:1/cert' }])
      expect(
        problemOf(
          await phase(await issuer.token({ alg: 'RS256', kid: 'one', privateKey }, {}, header as object)),
        ),
      ).toEqual(INVALID_TOKEN);
  });

  it('continues with the known keys while the issuer fails, and answers 503 instead of 401 for an unknown key', async () => {
    issuer.status = 500;
    try {
      service.clock.advance(1_300_000);
      const reads = issuer.reads;
      expect((await phase(await issuer.token(key, { sub: 'known' }))).status).toBe(201);
      await until(() => issuer.reads > reads);
      expect((await phase(await issuer.token(key, { sub: 'known-too' }))).status).toBe(201);
      const unknown = { ...(await newKeyPair('RS256')), alg: 'RS256', kid: 'three' };
      const warned = jest.spyOn(PinoLogger.root, 'warn');
      const reply = await phase(await issuer.token(unknown));
      expect([reply.status, reply.body.code, reply.headers['retry-after']]).toEqual([
        503,
        'keys-unavailable',
        '5',
      ]);
      // Made-up tokens cause no further fetch, and tokens with known keys are still accepted.
      const asked = issuer.reads;
      for (let made = 0; made < 10; made++)
        expect((await phase(await issuer.token(unknown, { sub: `made-up-${made}` }))).status).toBe(503);
      expect((await phase(await issuer.token(key, { sub: 'known-still' }))).status).toBe(201);
      expect(issuer.reads).toBe(asked);
      // The log has the cause once.
      const reasons = warned.mock.calls.map(([line]) => (line as { reason?: string }).reason);
      expect(reasons).toEqual([expect.stringMatching(/^AUTH_JWKS_URL gives no keys: .*200/)]);
    } finally {
      issuer.status = 200;
    }
  });
});

describe('the check of tokens with a configured public key', () => {
  const issuer = new Issuer(() => service.clock.now());
  let pair: Awaited<ReturnType<typeof newKeyPair>>;
  let pem: string;
  beforeAll(async () => {
    pair = await newKeyPair('RS256');
    pem = await pemOf(pair.publicKey);
  });
  const service = useService('the embedded store', () => {
    const { AUTH_JWT_SECRET: _, ...others } = BY_SECRET;
    return { ...others, AUTH_JWT_PUBLIC_KEY: pem };
  });
  const { phase } = viewerOf(service);

  it('accepts a token that was signed with the private key', async () => {
    const token = await issuer.token({ alg: 'RS256', privateKey: pair.privateKey });
    expect((await phase(token)).status).toBe(201);
  });

  it('rejects a token that was signed with the public key as an HMAC secret', async () => {
    for (const secret of [pem, pem.trim(), pem.replaceAll('\n', '')]) {
      const content = `${base64url({ alg: 'HS256', typ: 'JWT' })}.${base64url(issuer.claims())}`;
      const signature = createHmac('sha256', secret).update(content).digest('base64url');
      expect(problemOf(await phase(`${content}.${signature}`))).toEqual(INVALID_TOKEN);
    }
  });

  it('rejects a token with the algorithm none', async () => {
    for (const alg of ['none', 'None', 'NONE', ''])
      expect(problemOf(await phase(`${base64url({ alg })}.${base64url(issuer.claims())}.`))).toEqual(
        INVALID_TOKEN,
      );
  });

  it('rejects changed claims, and parts of a token', async () => {
    const token = await issuer.token({ alg: 'RS256', privateKey: pair.privateKey });
    const [header, , signature] = token.split('.');
    for (const forged of [
      `${header}.${base64url(issuer.claims({ sub: 'ben' }))}.${signature}`,
      `${header}.${base64url(issuer.claims())}.`,
      `${header}.${base64url(issuer.claims())}`,
      'x',
      '..',
    ])
      expect(problemOf(await phase(forged))).toEqual(INVALID_TOKEN);
  });
});

describe('a viewer whose token is signed with a secret', () => {
  const issuer = new Issuer(() => service.clock.now());
  const INTERNAL = 'an-internal-token-of-the-test';
  const service = useService('the embedded store', () => ({
    ...BY_SECRET,
    MAX_SESSIONS_CEILING: '5',
    DEVICE_ID_CLAIM: 'device',
    INTERNAL_API_TOKEN: INTERNAL,
  }));
  const { phase, ticket, get } = viewerOf(service);
  const token = (claims: object = {}) => issuer.token(HS256, { ...claims });
  const seconds = (): number => service.clock.now() / 1_000;

  it.each([
    ['phases', 'post', '/v1/phases'],
    ['tickets', 'post', '/v1/tickets'],
    ['sessions', 'get', '/v1/users/ana/sessions'],
    ['the end of one session', 'delete', '/v1/users/ana/sessions/tv'],
    ['the end of all sessions', 'delete', '/v1/users/ana/sessions'],
    ['keepalives', 'post', '/v1/users/ana/sessions/tv/keepalive'],
    ['events', 'get', '/v1/users/ana/events'],
  ] as const)('needs a valid token for %s', async (_, method, path) => {
    const body = /phases|tickets/.test(path) ? { user_id: 'ana', stream_id: STREAM } : undefined;
    const send = async (headers: Record<string, string>) =>
      problemOf(await service.send(method, path, headers, body));
    expect(await send({})).toEqual(NO_CREDENTIALS);
    expect(await send({ authorization: `Basic ${await token()}` })).toEqual(NO_CREDENTIALS);
    expect(await send(bearer('x.y.z'))).toEqual(INVALID_TOKEN);
    expect(await send(bearer(await token({ sub: 'ben' })))).toEqual(NOT_YOUR_SESSION);
    expect((await service.send(method, `${path}?access_token=${await token()}`, {}, body)).status).toBe(401);
  });

  it('needs no token for public routes', async () => {
    for (const path of ['/v1/streams', '/health/live', '/metrics', '/docs/openapi.json'])
      expect([path, (await service.app.inject(path)).statusCode]).toEqual([path, 200]);
  });

  it.each([
    ['has expired', () => ({ exp: seconds() - 5 }), 401],
    ['expired no longer ago than clocks may differ', () => ({ exp: seconds() - 4 }), 'watches'],
    ['never expires', () => ({ exp: undefined }), 401],
    ['is not valid yet', () => ({ nbf: seconds() + 6 }), 401],
    ['becomes valid no later than clocks may differ', () => ({ nbf: seconds() + 5 }), 'watches'],
    ['is for another service', () => ({ aud: 'another' }), 401],
    ['is for several services including this one', () => ({ aud: ['another', Issuer.AUDIENCE] }), 'watches'],
    ['has no audience', () => ({ aud: undefined }), 401],
    ['is from another issuer', () => ({ iss: `${Issuer.NAME}/` }), 401],
    ['has no issuer', () => ({ iss: undefined }), 401],
    ['names no user', () => ({ sub: undefined }), 401],
    ['names the user with an empty text', () => ({ sub: '' }), 401],
    ['names the user with more than 1,024 bytes', () => ({ sub: '|'.repeat(1_025) }), 401],
    ['names the user with a number', () => ({ sub: 7 }), 401],
  ])('is answered correctly if the token %s', async (_, claims, outcome) => {
    const { status } = await phase(await token({ sub: 'timed', ...claims() }), { session_id: 'tv' });
    expect(status < 300 ? 'watches' : status).toBe(outcome);
  });

  it('need not name the user in a body, as the documentation says', async () => {
    const { body } = await service.send('get', '/docs/openapi.json');
    const { PhaseRequest, TicketRequest } = body.components.schemas;
    expect([PhaseRequest.required, TicketRequest.required]).toEqual([['stream_id'], undefined]);
    expect((await phase(await token({ sub: 'unnamed' }))).status).toBe(201);
  });

  it('is refused if the token has another algorithm or other characters at its end', async () => {
    const good = await token({ sub: 'written' });
    expect((await phase(good, { session_id: 'tv' })).status).toBe(201);
    for (const bad of [await issuer.token({ ...HS256, alg: 'HS512' }), `${good}=`, `${good}.`, `${good}%20`])
      expect(problemOf(await phase(bad, { session_id: 'tv' }))).toEqual(INVALID_TOKEN);
  });

  it('gets the reason why a token is invalid', async () => {
    const detail = async (claims: object) => (await phase(await token(claims))).body.detail as string;
    expect(await detail({ exp: seconds() - 60 })).toContain('expired');
    expect(await detail({ aud: 'another' })).toContain('aud');
    expect(await detail({ sub: '' })).toMatch(/sub .*must name the user/);
  });

  it('is refused as soon as the token expires, although the verified token is cached', async () => {
    const short = await token({ sub: 'short', exp: seconds() + 10 });
    expect((await phase(short, { session_id: 'tv' })).status).toBe(201);
    service.clock.advance(9_000);
    expect((await phase(short, { session_id: 'tv' })).status).toBe(200);
    service.clock.advance(6_000);
    expect(problemOf(await phase(short, { session_id: 'tv' }))).toEqual(INVALID_TOKEN);
  });

  it('gets errors of the request first, then errors of the token, then errors of the stream', async () => {
    expect((await phase(undefined, { session_id: '' })).status).toBe(422);
    expect((await service.send('get', '/v1/users/ana/sessions?x=1')).status).toBe(401);
    expect((await service.send('delete', '/v1/users/ana/sessions/a%20b')).status).toBe(422);
    expect((await phase(undefined, { stream_id: 'nowhere' })).status).toBe(401);
    expect((await phase(await token(), { user_id: 'ben', stream_id: 'nowhere' })).status).toBe(403);
    expect((await phase(await token(), { stream_id: 'nowhere' })).status).toBe(404);
  });

  it('cannot act as another user, or find out whether another session exists', async () => {
    const [ana, ben] = [await token(), await token({ sub: 'ben' })];
    await phase(ana, { session_id: 'secret' });
    for (const id of ['secret', 'no-such-session']) {
      const send = (method: 'post' | 'delete', path: string) => service.send(method, path, bearer(ben));
      expect(problemOf(await send('delete', `/v1/users/ana/sessions/${id}`))).toEqual(NOT_YOUR_SESSION);
      expect(problemOf(await send('post', `/v1/users/ana/sessions/${id}/keepalive`))).toEqual(
        NOT_YOUR_SESSION,
      );
      expect((await send('delete', `/v1/users/ben/sessions/${id}`)).body.code).toBe('session-not-found');
    }
    expect(problemOf(await phase(ben, { user_id: 'ana', session_id: 'secret' }))).toEqual(NOT_YOUR_SESSION);
    // The same session id of two users means two sessions: Ben's requests do not affect Ana's session.
    expect((await phase(ben, { session_id: 'secret' })).status).toBe(201);
    expect((await phase(ben, { session_id: 'other', end_session_ids: ['secret'] })).status).toBe(201);
    expect((await phase(ana, { session_id: 'secret' })).status).toBe(200);
  });

  describe('with a plan', () => {
    const places = async (claims: object): Promise<number> => {
      const sub = `plan-${JSON.stringify(claims).replaceAll(/[^a-z0-9]/gi, '-')}`;
      const mine = await token({ sub, ...claims });
      for (let taken = 0; ; taken++) {
        const reply = await phase(mine);
        if (reply.status !== 201) {
          expect([reply.status, reply.body.limit]).toEqual([409, taken]);
          expect((await get(`/v1/users/${sub}/sessions`, mine)).body.limit).toBe(taken);
          return taken;
        }
        expect(reply.body.sessions.limit).toBeLessThanOrEqual(5);
      }
    };

    it.each([
      ['the number 1', { max_sessions: 1 }, 1],
      ['a text, as some issuers write it', { max_sessions: '2' }, 2],
      ['the ceiling', { max_sessions: 5 }, 5],
      ['one more than the ceiling', { max_sessions: 6 }, 5],
      ['far more than the ceiling', { max_sessions: 1e300 }, 5],
      ['missing', {}, 3],
      ['null, which counts as missing', { max_sessions: null }, 3],
      ['a list of one number', { max_sessions: [4] }, 4],
      ['a list of one text, as Keycloak writes it', { max_sessions: ['5'] }, 5],
    ])('gets the right number of places if max_sessions is %s', async (_, claims, limit) => {
      expect(await places(claims)).toBe(limit);
    });

    it.each([0, -1, 1.5, '-1', '1e3', 'many', '', true, [], [3, 4], [null], [[3]], { limit: 3 }])(
      'is refused if max_sessions is %j, because no number is guessed',
      async (max_sessions) => {
        const reply = await phase(await token({ max_sessions }));
        expect(problemOf(reply)).toEqual(UNUSABLE);
        expect(reply.body.detail).toContain('max_sessions');
      },
    );

    it('starts no new session after the plan was lowered, and keeps the running ones', async () => {
      const [large, small] = [
        await token({ sub: 'mover', max_sessions: 3 }),
        await token({ sub: 'mover', max_sessions: 1 }),
      ];
      for (const session_id of ['a', 'b', 'c']) expect((await phase(large, { session_id })).status).toBe(201);
      expect((await phase(small, { session_id: 'd' })).status).toBe(409);
      const renewed = await phase(small, { session_id: 'c' });
      expect([renewed.status, renewed.body.sessions]).toEqual([200, { live: 3, limit: 1 }]);
    });
  });

  describe('with a subject that does not have the form of a user id', () => {
    const SUBJECTS = [
      'auth0|507f1f77bcf86cd799439011',
      'samlp|acme|ana+tv@example.com',
      'f:3f6a8f0e-2b1c-4e57-9a64-6f0c7d2b9f11:a.very.long.user.name@example.com',
      'https://id.example/users/ana?x=1#y',
      'did:web:example.com%3A3000:user:ana',
      'acct/ana',
      'Ana María ',
      'u'.repeat(255),
    ];
    const path = (user: string, rest = '') => `/v1/users/${encodeURIComponent(user)}/sessions${rest}`;

    it.each(SUBJECTS)('can use the user id and the subject in requests: %s', async (sub) => {
      const mine = await token({ sub });
      const first = await phase(mine, { session_id: 'tv', user_id: sub });
      const { user_id, subject } = first.body.session;
      expect([first.status, user_id, subject]).toEqual([201, userIdOf(sub), sub]);
      expect(first.headers.location).toBe(`/v1/users/${user_id}/sessions/tv`);
      expect((await phase(mine, { session_id: 'tv', user_id })).status).toBe(200);
      for (const name of [sub, user_id]) {
        const { body } = await service.send('get', path(name), bearer(mine));
        expect(body).toMatchObject({ user_id, subject: sub, sessions: [{ user_id, subject: sub }] });
        const kept = await service.send('post', path(name, '/tv/keepalive'), bearer(mine));
        expect(kept.body.session).toMatchObject({ user_id, subject: sub });
      }
      expect((await service.send('delete', path(sub, '/tv'), bearer(mine))).status).toBe(204);
      expect((await service.sessions.list(user_id)).sessions).toEqual([]);
    });

    it('is another user than one whose subject equals the derived user id', async () => {
      const [victim, thief] = await Promise.all([
        token({ sub: 'auth0|victim' }),
        token({ sub: userIdOf('auth0|victim') }),
      ]);
      const id = userIdOf('auth0|victim')!;
      await phase(victim, { session_id: 'tv' });
      const listed = await service.send('get', path(id), bearer(thief));
      expect([listed.body.user_id, listed.body.sessions]).toEqual([userIdOf(id), []]);
      expect((await service.send('delete', path(id, '/tv'), bearer(thief))).status).toBe(404);
      expect((await service.send('delete', path(id), bearer(thief))).status).toBe(204);
      const stolen = await phase(thief, { session_id: 'tv', user_id: id });
      expect([stolen.status, stolen.body.session.user_id]).toEqual([201, userIdOf(id)]);
      expect((await phase(victim, { session_id: 'tv' })).status).toBe(200);
    });

    it('is another user if the subject differs only in case, Unicode form or spaces', async () => {
      const subjects = ['x|Ana', 'x|ana', 'x|ana ', 'x|mar\u00eda', 'x|mari\u0301a'];
      const ids = new Set<string>();
      for (const sub of subjects) {
        const reply = await phase(await token({ sub }), { session_id: 'tv' });
        expect([sub, reply.status]).toEqual([sub, 201]);
        ids.add(reply.body.session.user_id);
      }
      expect(ids.size).toBe(subjects.length);
      const mine = await token({ sub: 'x|ana' });
      expect(problemOf(await service.send('get', path('x|Ana'), bearer(mine)))).toEqual(NOT_YOUR_SESSION);
    });

    it('gets the subject in the sessions of a refusal and in the ticket', async () => {
      const sub = 'auth0|full';
      const mine = await token({ sub, max_sessions: 1 });
      const { body } = await phase(mine, { session_id: 'tv' });
      const refused = await phase(mine, { session_id: 'phone' });
      expect(refused.body.sessions).toMatchObject([{ subject: sub }]);
      const claims = body.playback_url.split('ticket=')[1].split('.')[1];
      expect(JSON.parse(Buffer.from(claims, 'base64url').toString())).toMatchObject({
        sub: userIdOf(sub),
        subject: sub,
      });
      const other = await ticket(mine, { session_id: 'laptop' });
      const atGate = await get(other.body.playback_url);
      expect([atGate.status, atGate.body.sessions]).toMatchObject([403, [{ subject: sub }]]);
    });

    it('is in live events and in the list of a service by its subject', async () => {
      const sub = 'google-oauth2|Ana/"Ñ"';
      const mine = await token({ sub, max_sessions: 1 });
      const events = await openEventSource(
        `${await service.app.getUrl()}/v1/users/${encodeURIComponent(sub)}/events?explain=true`,
        bearer(mine),
      );
      await phase(mine, { session_id: 'tv' });
      await until(() => events.events.length === 1);
      await phase(mine, { session_id: 'phone' });
      await until(() => events.events.length === 2);
      const [started, refused] = events.events.map(({ data }) => JSON.parse(data) as { sessions: object[] });
      expect(started).toMatchObject({ user_id: userIdOf(sub), subject: sub });
      expect(refused).toMatchObject({ subject: sub, sessions: [{ subject: sub }] });
      const listed = await service.send('get', path(userIdOf(sub)!), bearer(INTERNAL));
      expect(listed.body).toMatchObject({ subject: sub, sessions: [{ session_id: 'tv', subject: sub }] });
      events.close();
    });

    it('has no subject in events if it is too long for the store, and watches all the same', async () => {
      for (const [length, kept] of [
        [255, true],
        [256, false],
      ] as const) {
        const sub = '|'.repeat(length);
        const reply = await phase(await token({ sub }), { session_id: 'tv' });
        expect([reply.status, reply.body.session.subject]).toEqual([201, sub]);
        const listed = await service.send('get', path(userIdOf(sub)!), bearer(INTERNAL));
        expect([listed.body.sessions.length, listed.body.subject]).toEqual([1, kept ? sub : undefined]);
      }
    });

    it.each([
      ['a text', 'tv-7', 'tv-7'],
      ['a list of one text, as Keycloak writes it', ['tv-7'], 'tv-7'],
      ['null, which counts as missing', null, undefined],
      ['missing', undefined, undefined],
    ])('plays on the device of its token: %s', async (what, device, id) => {
      const reply = await phase(await token({ sub: `device|${what}`, device }), { session_id: 'tv' });
      expect([reply.status, reply.body.session.device?.id]).toEqual([201, id]);
    });

    it.each([[[]], [[null]], [['a', 'b']], [7], ['']])('is refused if its device is %j', async (device) => {
      const reply = await phase(await token({ sub: 'ana', device }));
      expect(problemOf(reply)).toEqual(UNUSABLE);
      expect(reply.body.detail).toContain('device');
    });

    it('may be named by a list of one text, as Keycloak writes attributes', async () => {
      const reply = await phase(await token({ sub: ['x|listed'] }), { session_id: 'tv' });
      expect([reply.status, reply.body.session.subject]).toEqual([201, 'x|listed']);
      expect(problemOf(await phase(await token({ sub: ['a', 'b'] })))).toEqual(UNUSABLE);
    });

    it('gets token-unusable if a valid token names no usable user', async () => {
      for (const sub of ['', '|'.repeat(1_025), 7, null, undefined])
        expect(problemOf(await phase(await token({ sub })))).toEqual(UNUSABLE);
    });
  });

  it('receives events until the token expires', async () => {
    const url = `${await service.app.getUrl()}/v1/users/hearer/events`;
    const mine = await token({ sub: 'hearer', exp: seconds() + 60 });
    const source = await openEventSource(url, bearer(mine));
    expect(source.status).toBe(200);
    const { EventStreams } = await import('../../src/sessions/event-streams.js');
    const streams = service.app.get(EventStreams);
    await streams.beat();
    await until(() => source.comments() > 0);
    service.clock.advance(60_000);
    await streams.beat();
    await source.ended;
    service.clock.advance(5_000);
    expect((await openEventSource(url, bearer(mine))).status).toBe(401);
  });

  describe('with a ticket', () => {
    const playlists = (text: string): string[] =>
      text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    const at = (url: string, name: string): string => new URL(name, new URL(url, 'http://a')).href;
    const ticketOf = (url: string): string => {
      const { searchParams, pathname } = new URL(url, 'http://a');
      return searchParams.get('ticket') ?? /\/s\/([^/]+)\//.exec(pathname)![1]!;
    };
    const opened = async (sub: string, body: object = {}) => {
      const { body: reply } = await ticket(await token({ sub, max_sessions: 1 }), {
        session_id: 'tv',
        ...body,
      });
      const root = await get(reply.playback_url);
      const rendition = at(reply.playback_url, playlists(root.text)[0]!);
      const segment = at(rendition, playlists((await get(rendition)).text)[3]!);
      return { ...reply, rendition, segment } as Record<
        'playback_url' | 'ticket' | 'rendition' | 'segment',
        string
      >;
    };

    it('plays without an Authorization header, as the session of the ticket, with the limit of the plan', async () => {
      const reply = await ticket(await token({ sub: 'player', max_sessions: 1 }));
      expect(reply.status).toBe(201);
      expect(Date.parse(reply.body.expires_at) - service.clock.now()).toBeLessThanOrEqual(15 * 60_000);
      expect(ticketOf(reply.body.playback_url)).toBe(reply.body.ticket);
      expect((await service.sessions.list('player')).sessions).toEqual([]);
      const { segment } = await opened('player', { session_id: 'tv' });
      const redirect = await get(segment);
      expect(redirect.status).toBe(302);
      expect(redirect.headers.location).toContain('/media/test-pattern/');
      expect(redirect.headers.location).not.toContain('ticket');
      expect((await service.sessions.list('player')).sessions).toMatchObject([{ sessionId: 'tv', phase: 1 }]);
      const second = await ticket(await token({ sub: 'player', max_sessions: 1 }), { session_id: 'phone' });
      expect(await get(second.body.playback_url)).toMatchObject({
        status: 403,
        body: { code: 'session-limit-reached', limit: 1 },
      });
    });

    it.each(['cmcd', 'events'])('plays at the playback_url that comes with a ticket for %s', async (use) => {
      const { body } = await ticket(await token({ sub: `user-of-${use}` }), { for: use });
      expect((await get(body.playback_url)).status).toBe(200);
      expect(problemOf(await get(`/v1/play/${STREAM}/index.m3u8?ticket=${body.ticket}`))).toEqual(
        INVALID_TOKEN,
      );
    });

    it('plays with the longest subject, whose ticket makes a path of 8,000 characters', async () => {
      const { segment } = await opened('\u0001'.repeat(1_024));
      expect(segment.length).toBeGreaterThan(8_000);
      expect((await get(segment)).status).toBe(302);
    });

    it('gets a ticket with each phase; the ticket changes after five minutes', async () => {
      const mine = await token({ sub: 'renewer' });
      const ask = async () => (await phase(mine, { session_id: 'tv' })).body.playback_url as string;
      const first = await ask();
      expect(await ask()).toBe(first);
      expect((await get(first)).status).toBe(200);
      service.clock.advance(300_000);
      expect(await ask()).not.toBe(first);
    });

    it('must start within 15 minutes, and can then play for twelve hours, even after long pauses', async () => {
      const { playback_url, rendition, segment } = await opened('slow');
      service.clock.advance(15 * 60_000);
      expect(problemOf(await get(playback_url))).toEqual(INVALID_TOKEN);
      service.clock.advance(11.7 * 3_600_000);
      expect((await get(segment)).status).toBe(302);
      expect((await get(rendition)).status).toBe(200);
      service.clock.advance(2 * 3_600_000);
      for (const url of [segment, rendition]) expect(problemOf(await get(url))).toEqual(INVALID_TOKEN);
    });

    it('gets playlists whose URLs contain the ticket of the request, so that a reload does not extend it', async () => {
      const { rendition } = await opened('reloader');
      const load = async () => ticketOf(at(rendition, playlists((await get(rendition)).text)[0]!));
      const first = await load();
      service.clock.advance(1_000);
      expect(await load()).toBe(first);
      // After eleven hours a new ticket would be valid for twelve more hours, and so on without end.
      service.clock.advance(11 * 3_600_000);
      expect(await load()).toBe(first);
      expect(ticketOf(rendition)).toBe(first);
      service.clock.advance(2 * 3_600_000);
      expect(problemOf(await get(rendition))).toEqual(INVALID_TOKEN);
    });

    it('cannot watch with user_id instead of a ticket', async () => {
      for (const path of [
        'index.m3u8?user_id=ana&session_id=tv',
        'index.m3u8?user_id=ana',
        'index.m3u8',
        '0/0.ts?user_id=ana&session_id=tv',
      ])
        expect(problemOf(await get(`/v1/play/${STREAM}/${path}`))).toEqual(NO_CREDENTIALS);
    });

    it('can play only the stream, user and session of the ticket', async () => {
      const { playback_url, ticket: mine, segment } = await opened('bound');
      const other = (query: string, stream = STREAM, name = 'index.m3u8') =>
        `/v1/play/${stream}/${name}?${query}`;
      const media = ticketOf(segment);
      // Another stream.
      expect(problemOf(await get(other(`ticket=${mine}`, 'colour-bars')))).toEqual(NOT_YOUR_SESSION);
      expect(problemOf(await get(other(`ticket=${media}`, 'colour-bars', '0/0.ts')))).toEqual(
        NOT_YOUR_SESSION,
      );
      // Another user or session in the query.
      for (const more of ['user_id=ana', 'session_id=phone', 'user_id=bound&session_id=phone'])
        expect(problemOf(await get(`${playback_url}&${more}`))).toEqual(NOT_YOUR_SESSION);
      expect((await get(`${playback_url}&user_id=bound&session_id=tv`)).status).toBe(200);
      // Another purpose: a ticket of a playlist starts no session, and a ticket that starts a session fetches no media.
      expect(problemOf(await get(other(`ticket=${media}`)))).toEqual(INVALID_TOKEN);
      expect(problemOf(await get(other(`ticket=${mine}`, STREAM, '0/0.ts')))).toEqual(INVALID_TOKEN);
      expect(problemOf(await get(`/v1/play/${STREAM}/s/${mine}/0/0.ts`))).toEqual(INVALID_TOKEN);
      expect(problemOf(await get(`/v1/play/colour-bars/s/${media}/0/0.ts`))).toEqual(NOT_YOUR_SESSION);
      // A name without a ticket plays nothing, in a path either.
      expect(problemOf(await get(`/v1/play/${STREAM}/s/ana,tv/0/0.ts`))).toEqual(NO_CREDENTIALS);
      expect((await get(`${playback_url}&ticket=${mine}`)).status).toBe(422);
    });

    it('cannot use the ticket as a token, or a token as a ticket', async () => {
      const { ticket: mine, segment } = await opened('crossed');
      for (const wrong of [mine, ticketOf(segment)]) {
        expect(problemOf(await phase(wrong, { user_id: 'crossed' }))).toEqual(INVALID_TOKEN);
        expect(problemOf(await get('/v1/users/crossed/sessions', wrong))).toEqual(INVALID_TOKEN);
      }
      for (const aud of [Issuer.AUDIENCE, 'playlist']) {
        const wrong = await token({ sub: 'crossed', aud, sid: 'tv', stream: STREAM, limit: 99 });
        expect(problemOf(await get(`/v1/play/${STREAM}/index.m3u8?ticket=${wrong}`))).toEqual(INVALID_TOKEN);
      }
    });

    it('has the plan of the ticket, but no more than the current ceiling', async () => {
      const clock = new Clock();
      const tickets = (MAX_SESSIONS_CEILING: string) =>
        new Tickets(readConfig({ ...BY_SECRET, TICKET_SECRET: 's'.repeat(32), MAX_SESSIONS_CEILING }), clock);
      const claims = {
        userId: 'ana',
        sessionId: 'tv',
        streamId: STREAM,
        quota: { maxSessions: 9 },
        device: undefined,
        subject: undefined,
      };
      const { ticket: old } = await tickets('9').issue('media', claims);
      expect(await tickets('9').open(['media'], old)).toMatchObject({ quota: { maxSessions: 9 } });
      expect(await tickets('5').open(['media'], old)).toMatchObject({ quota: { maxSessions: 5 } });
    });

    it('cannot forge a ticket', async () => {
      const { ticket: mine } = await opened('forger');
      const [header, payload, signature] = mine.split('.') as [string, string, string];
      const claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
      const content = `${base64url({ alg: 'none' })}.${payload}`;
      for (const forged of [
        `${header}.${base64url({ ...claims, limit: 99 })}.${signature}`,
        `${header}.${base64url({ ...claims, sub: 'ana' })}.${signature}`,
        `${content}.`,
        `${content}.${signature}`,
        `${mine}%20`,
        `${mine}=`,
        'x',
        '',
      ])
        expect(problemOf(await get(`/v1/play/${STREAM}/index.m3u8?ticket=${forged}`))).toEqual(INVALID_TOKEN);
    });

    it('is stopped when the session is ended', async () => {
      const { segment, rendition } = await opened('ended');
      const mine = await token({ sub: 'ended' });
      await service.send('delete', '/v1/users/ended/sessions/tv', bearer(mine));
      for (const url of [segment, rendition])
        expect(await get(url)).toMatchObject({ status: 403, body: { code: 'session-ended' } });
    });
  });
});

describe('the check of tokens of several issuers', () => {
  const NEW = 'https://new.example';
  const former = new Issuer(() => service.clock.now());
  const newer = new Issuer(() => service.clock.now());
  let formerKey: Awaited<ReturnType<Issuer['addKey']>>;
  let newerKey: typeof formerKey;
  beforeAll(async () => {
    await Promise.all([former.start(), newer.start()]);
    formerKey = await former.addKey('one');
    newerKey = await newer.addKey('one');
  });
  afterAll(() => Promise.all([former.stop(), newer.stop()]));
  const service = useService('the embedded store', () => ({
    ...former.environment,
    AUTH_JWKS_URL: `${former.environment.AUTH_JWKS_URL} ${newer.environment.AUTH_JWKS_URL}`,
    AUTH_ISSUER: `${Issuer.NAME}, ${NEW}`,
    AUTH_AUDIENCE: 'streamgate, an-app-client',
    AUTH_AUDIENCE_CLAIM: 'client_id',
    AUTH_CLOCK_TOLERANCE_SECONDS: '30',
  }));
  const { phase } = viewerOf(service);
  const ask = async (token: Promise<string>) => problemOf(await phase(await token));

  it('uses the keys of the issuer that the token names, and no others', async () => {
    expect((await phase(await former.token(formerKey))).status).toBe(201);
    expect((await phase(await newer.token(newerKey, { iss: NEW }))).status).toBe(201);
    expect(await ask(newer.token(newerKey))).toEqual(INVALID_TOKEN);
    expect(await ask(former.token(formerKey, { iss: NEW }))).toEqual(INVALID_TOKEN);
    for (const iss of ['https://id.example,', `${Issuer.NAME} ${NEW}`, '', undefined, [NEW]])
      expect(await ask(former.token(formerKey, { iss }))).toEqual(INVALID_TOKEN);
  });

  it('accepts each audience, and checks AUTH_AUDIENCE_CLAIM only if the token has no aud', async () => {
    const status = async (claims: object) =>
      (await phase(await former.token(formerKey, { ...claims }), { session_id: 'tv' })).status;
    expect(await status({ sub: 'a', aud: 'an-app-client' })).toBe(201);
    expect(await status({ sub: 'b', aud: undefined, client_id: 'an-app-client' })).toBe(201);
    expect(await status({ aud: undefined, client_id: 'another' })).toBe(401);
    expect(await status({ aud: undefined, client_id: ['an-app-client'] })).toBe(401);
    expect(await status({ aud: undefined })).toBe(401);
    expect(await status({ aud: 'another', client_id: 'an-app-client' })).toBe(401);
    expect(await status({ aud: [], client_id: 'an-app-client' })).toBe(401);
  });

  it('allows clocks to differ by AUTH_CLOCK_TOLERANCE_SECONDS', async () => {
    const seconds = service.clock.now() / 1_000;
    expect((await phase(await former.token(formerKey, { sub: 'c', exp: seconds - 29 }))).status).toBe(201);
    expect((await phase(await former.token(formerKey, { sub: 'c', exp: seconds - 30 }))).status).toBe(401);
  });
});

describe('a viewer with USER_ID_CLAIM', () => {
  const issuer = new Issuer(() => service.clock.now());
  const service = useService('the embedded store', () => ({
    ...BY_SECRET,
    USER_ID_CLAIM: 'https://acme.example/user',
    API_TOKENS: `console:sessions:read,sessions:end:${createHash('sha256').update('of-a-console').digest('hex')}`,
  }));
  const { phase } = viewerOf(service);

  it('is the user of that claim, even if sub differs', async () => {
    const claims = { 'https://acme.example/user': 'acme|7' };
    const reply = await phase(await issuer.token(HS256, { ...claims, sub: undefined }), { session_id: 'tv' });
    expect([reply.status, reply.body.session.subject]).toEqual([201, 'acme|7']);
    const unnamed = await phase(await issuer.token(HS256));
    expect(problemOf(unnamed)).toEqual(UNUSABLE);
    expect(unnamed.body.detail).toContain('https://acme.example/user');
  });

  it('can be found and ended by a service with the user id or the subject', async () => {
    for (const name of [userIdOf('acme|7')!, 'acme|7']) {
      const path = `/v1/users/${encodeURIComponent(name)}/sessions`;
      expect((await service.send('get', path, bearer('of-a-console'))).body).toMatchObject({
        user_id: userIdOf('acme|7'),
        sessions: [{ session_id: 'tv' }],
      });
    }
    const path = `/v1/users/${encodeURIComponent('acme|7')}/sessions/tv`;
    expect((await service.send('delete', path, bearer('of-a-console'))).status).toBe(204);
    const tooLong = `/v1/users/${'é'.repeat(600)}/sessions`;
    expect((await service.send('get', encodeURI(tooLong), bearer('of-a-console'))).status).toBe(422);
  });
});

describe('a player of a live stream with a single playlist', () => {
  const origin = new LiveOrigin();
  beforeAll(() => origin.start());
  afterAll(() => origin.stop());
  const issuer = new Issuer(() => service.clock.now());
  const service = useService('the embedded store', () => ({ ...BY_SECRET, STREAM_ORIGIN: origin.template }));

  it('can reload the playlist for hours at the URL of the first playlist', async () => {
    const { ticket, get } = viewerOf(service);
    const { body } = await ticket(await issuer.token(HS256), { stream_id: 'news' });
    const [, , media] = (await get(body.playback_url)).text.split('\n') as [string, string, string];
    const url = new URL(media, body.playback_url).href;
    expect((await get(url)).text).toMatch(/^100-\w+\.ts$/m);
    service.clock.advance(3 * 3_600_000);
    const [segment] = /^100-\w+\.ts$/m.exec((await get(url)).text)!;
    expect((await get(new URL(segment, url).href)).status).toBe(302);
  });
});

describe('services and operators', () => {
  const INTERNAL = 'an-internal-token-of-some-length';
  const entry = (name: string, scopes: string, token = name): string =>
    `${name}:${scopes}:${createHash('sha256').update(token).digest('hex')}`;
  const issuer = new Issuer(() => service.clock.now());
  const service = useService('the embedded store', () => ({
    ...BY_SECRET,
    INTERNAL_API_TOKEN: INTERNAL,
    API_TOKENS: [
      entry('reader', 'sessions:read'),
      entry('ender', 'sessions:end'),
      entry('runner', 'expiry:run', 'runner-old'),
      entry('runner', 'expiry:run', 'runner-new'),
      entry('pauser', 'expiry:pause'),
      entry('cdn', 'activity:write'),
      entry('scraper', 'metrics'),
    ].join('\n'),
  }));
  const { phase } = viewerOf(service);
  beforeEach(async () => {
    await phase(await issuer.token(HS256, { max_sessions: 1 }), { session_id: 'tv' });
  });

  const everybody = ['reader', 'ender', 'runner-old', 'runner-new', 'pauser', 'cdn', 'scraper', INTERNAL];
  it.each([
    ['get', '/v1/users/ana/sessions', ['reader']],
    ['delete', '/v1/users/ana/sessions/tv', ['ender']],
    ['delete', '/v1/users/ana/sessions', ['ender']],
    ['post', '/internal/expire-idle-sessions', ['runner-old', 'runner-new']],
    ['get', '/internal/expiry', ['pauser']],
    ['post', '/internal/expiry/pause', ['pauser']],
    ['post', '/internal/expiry/resume', ['pauser']],
    ['get', '/internal/callbacks', ['pauser']],
    ['get', '/internal/callbacks/dead-letters', ['pauser']],
    ['post', '/internal/callbacks/dead-letters/replay', ['pauser']],
    ['post', '/internal/activity', ['cdn']],
    ['get', '/metrics', ['scraper']],
  ] as const)('need the right scope for %s %s', async (method, path, allowed) => {
    const sent =
      path === '/internal/activity'
        ? { activity: [{ user_id: 'ana', session_id: 'tv', at: '2026-01-01T00:00:00Z' }] }
        : undefined;
    for (const token of everybody) {
      const { status, body } = await service.send(method, path, bearer(token), sent);
      const may = token === INTERNAL || (allowed as readonly string[]).includes(token);
      expect([token, may ? status < 300 : [status, body.code]]).toEqual([
        token,
        may ? true : [403, 'forbidden'],
      ]);
    }
    expect(problemOf(await service.send(method, path, {}, sent))).toEqual(NO_CREDENTIALS);
    expect(problemOf(await service.send(method, path, bearer('reader-not'), sent))).toEqual(INVALID_TOKEN);
    // The hash of a token is not accepted, so that the configuration contains no usable token.
    const hash = createHash('sha256').update(allowed[0]).digest('hex');
    expect(problemOf(await service.send(method, path, bearer(hash), sent))).toEqual(INVALID_TOKEN);
  });

  it('receive the events of any user if the token has the scope', async () => {
    const url = `${await service.app.getUrl()}/v1/users/ana/events`;
    const source = await openEventSource(url, bearer('reader'));
    expect(source.status).toBe(200);
    source.close();
    expect((await openEventSource(url, bearer('ender'))).status).toBe(403);
  });

  it('cannot watch', async () => {
    for (const token of everybody) {
      expect(problemOf(await phase(token, { user_id: 'ana' }))).toEqual(INVALID_TOKEN);
      const kept = await service.send('post', '/v1/users/ana/sessions/tv/keepalive', bearer(token));
      expect(problemOf(kept)).toEqual(INVALID_TOKEN);
    }
  });

  it('see the limit of the last admission, and end sessions with the reason operator', async () => {
    await phase(await issuer.token(HS256, { sub: 'seen', max_sessions: 1 }), { session_id: 'tv' });
    const listed = await service.send('get', '/v1/users/seen/sessions', bearer('reader'));
    expect(listed.body).toMatchObject({ limit: 1, sessions: [{ session_id: 'tv' }] });
    const session_id = 'ended-by-operator';
    const token = await issuer.token(HS256, { sub: 'ben' });
    await phase(token, { session_id });
    await service.send('delete', `/v1/users/ben/sessions/${session_id}`, bearer('ender'));
    expect((await phase(token, { session_id })).body).toMatchObject({
      code: 'session-ended',
      reason: 'operator',
    });
  });
});

describe('with AUTH_MODE=none', () => {
  const service = useService('the embedded store');
  const { ticket, phase, get } = viewerOf(service);

  it('the request must name the user', async () => {
    expect((await phase(undefined, { user_id: 'ana' })).status).toBe(201);
    expect((await phase('x.y.z', { user_id: 'ana' })).status).toBe(201);
    for (const ask of [phase, ticket])
      expect((await ask(undefined)).body).toMatchObject({ status: 422, errors: [{ field: 'user_id' }] });
  });

  it('the service issues tickets too, for players that get only a URL', async () => {
    const { body } = await ticket(undefined, { user_id: 'ben', session_id: 'tv' });
    expect(new URL(body.playback_url as string).search).toBe('?user_id=ben&session_id=tv');
    expect((await get(body.playback_url)).text).toContain('s/ben,tv/0/index.m3u8');
    const byTicket = await get(`/v1/play/${STREAM}/index.m3u8?ticket=${body.ticket}`);
    expect([byTicket.status, byTicket.text]).toEqual([
      200,
      expect.stringMatching(/^s\/[\w-]+\.[\w-]+\.[\w-]+\/0\/index\.m3u8$/m),
    ]);
    expect((await get(`/v1/play/${STREAM}/index.m3u8?ticket=x&user_id=ben`)).status).toBe(401);
  });
});

describe('the log', () => {
  afterEach(endServiceProcesses);

  it('contains no tokens or tickets, even of refused requests, and names the API token of a request', async () => {
    const service = await startServiceProcess({
      ...BY_SECRET,
      LOG_LEVEL: 'trace',
      API_TOKENS: `night-watch:sessions:end:${createHash('sha256').update('SECRET-API-TOKEN').digest('hex')}`,
    });
    const issuer = new Issuer(() => Date.now());
    const token = await issuer.token(HS256);
    const expired = await issuer.token(HS256, { exp: 1 });
    const send = (path: string, init: RequestInit = {}) => fetch(new URL(path, service.url), init);
    const ask = (given: string) =>
      send('/v1/phases', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...bearer(given) },
        body: JSON.stringify({ stream_id: STREAM }),
      });
    const { playback_url } = (await (await ask(token)).json()) as { playback_url: string };
    await ask(expired);
    const media = /^s\/([\w.-]+)\//m.exec(await (await send(playback_url)).text())![1]!;
    for (const stream of [STREAM, 'colour-bars']) {
      await send(`/v1/play/${stream}/s/${media}/0/0.ts`);
      await send(`/v1/play/${stream}/s/${media}/0/0.ts/nowhere`);
      await send(`/v1/play/${stream}/0/0.ts?ticket=${media}`);
    }
    await send(`/v1/users/ana/sessions?access_token=${token}`);
    await send('/v1/users/ana/sessions', { method: 'DELETE', headers: bearer('SECRET-API-TOKEN') });
    await service.end();
    const log = service.output();
    expect(log).toContain('"token":"night-watch"');
    for (const secret of [token, expired, media, new URL(playback_url).searchParams.get('ticket')!])
      for (const part of secret.split('.').slice(1)) expect(log).not.toContain(part);
    expect(log).not.toMatch(/SECRET-API-TOKEN|ticket=/);
  });
});
