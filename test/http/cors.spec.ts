import { useService } from '../support/service.js';

const ALLOWED = 'https://tv.example';
const OTHER = 'https://evil.example';
const BODY = { user_id: 'ana', session_id: 'tv', stream_id: 'test-pattern' };

describe('a page of an allowed origin', () => {
  const service = useService('the embedded store', () => ({
    CORS_ALLOWED_ORIGINS: `https://www.example, ${ALLOWED}`,
    CORS_ALLOWED_HEADERS: 'x-app-version, x-device',
    RATE_LIMIT_PER_USER: '5',
  }));
  const ask = (method: 'GET' | 'POST' | 'DELETE' | 'OPTIONS', url: string, origin?: string, body?: object) =>
    service.app.inject({
      method,
      url,
      headers: {
        ...(origin === undefined ? {} : { origin }),
        ...(method === 'OPTIONS' ? { 'access-control-request-method': 'POST' } : {}),
      },
      ...(body ? { body } : {}),
    });
  beforeEach(() => {
    service.clock.advance(1_000);
  });

  it('gets an answer to its preflight request', async () => {
    for (const url of ['/v1/phases', '/v1/users/ana/sessions/tv', '/v1/tickets', '/v1/streams']) {
      const { statusCode, headers } = await ask('OPTIONS', url, ALLOWED);
      expect([url, statusCode, headers]).toMatchObject([
        url,
        204,
        {
          'access-control-allow-origin': ALLOWED,
          'access-control-allow-methods': 'GET, HEAD, POST, DELETE',
          'access-control-allow-headers': expect.stringMatching(
            /^authorization, .*content-type.*traceparent.*, x-app-version, x-device$/,
          ),
        },
      ]);
    }
  });

  it('may read replies, including refusals and 429', async () => {
    const replies = [
      await ask('POST', '/v1/phases', ALLOWED, BODY),
      await ask('POST', '/v1/phases', ALLOWED, {}),
      await ask('GET', '/v1/streams?x', ALLOWED),
    ];
    for (let at = 0; at < 6; at++) replies[3] = await ask('GET', '/v1/users/ana/sessions', ALLOWED);
    expect(replies.map(({ statusCode }) => statusCode)).toEqual([201, 422, 200, 429]);
    for (const { headers } of replies) {
      expect(headers).toMatchObject({ 'access-control-allow-origin': ALLOWED, vary: 'origin' });
      expect(headers['access-control-expose-headers']).toContain('retry-after');
    }
  });

  it('is the only one that gets the CORS headers', async () => {
    for (const origin of [OTHER, 'null', `${ALLOWED}.evil.example`, 'http://tv.example', undefined]) {
      const { statusCode, headers } = await ask('OPTIONS', '/v1/phases', origin);
      const { headers: got } = await ask('GET', '/v1/streams', origin);
      expect([
        statusCode,
        headers['access-control-allow-origin'],
        got['access-control-allow-origin'],
      ]).toEqual([405, undefined, undefined]);
      expect(got.vary).toBe('origin');
    }
  });

  it('gets no CORS headers from routes that are not for clients', async () => {
    for (const url of ['/internal/expiry', '/metrics', '/docs/openapi.json', '/v1/phasesx']) {
      const { headers } = await ask('GET', url, ALLOWED);
      expect([url, headers['access-control-allow-origin']]).toEqual([url, undefined]);
    }
  });

  it('has no advantage at the gate, which pages of every origin may use', async () => {
    const { headers } = await ask('GET', '/v1/play/test-pattern/index.m3u8?user_id=ana', OTHER);
    expect(headers['access-control-allow-origin']).toBe('*');
  });

  it('may read errors that occur before routing, and other pages may not', async () => {
    const url = '/v1/streams/%E0%A4%A';
    const { statusCode, headers: allowed } = await ask('GET', url, ALLOWED);
    expect([statusCode, allowed['access-control-allow-origin']]).toEqual([400, ALLOWED]);
    expect((await ask('GET', url, OTHER)).headers['access-control-allow-origin']).toBeUndefined();
    const { headers } = await ask('GET', '/v1/play/%E0%A4%A/index.m3u8', OTHER);
    expect(headers).toMatchObject({
      'access-control-allow-origin': '*',
      'access-control-expose-headers': expect.stringContaining('x-request-id'),
    });
  });

  it('may read errors that occur before the request is parsed', async () => {
    const reply = await fetch(`${await service.app.getUrl()}/v1/streams`, {
      headers: { origin: ALLOWED, 'x-long': 'x'.repeat(20_000) },
    });
    expect([reply.status, reply.headers.get('access-control-allow-origin')]).toEqual([431, '*']);
  });
});

describe('a page of any other origin', () => {
  const none = useService('the embedded store');
  const all = useService('the embedded store', () => ({ CORS_ALLOWED_ORIGINS: '*' }));
  const allowed = async ({ app }: typeof none) =>
    (await app.inject({ url: '/v1/streams', headers: { origin: OTHER } })).headers[
      'access-control-allow-origin'
    ];

  it('may use the API only if CORS_ALLOWED_ORIGINS is `*`', async () => {
    expect([await allowed(none), await allowed(all)]).toEqual([undefined, '*']);
  });
});
