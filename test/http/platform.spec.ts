import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PROBLEMS } from '../../src/http/problem.js';
import { createApp } from '../../src/app.js';
import { readConfig } from '../../src/config/config.js';
import { EventStreams } from '../../src/sessions/event-streams.js';
import { StoreUnavailableError } from '../../src/sessions/session.repository.js';
import { useService } from '../support/service.js';
import { until } from '../support/until.js';

const TOKEN = 'a-token-of-some-length';

describe('the platform', () => {
  const service = useService('the embedded store', () => ({ INTERNAL_API_TOKEN: TOKEN }));
  afterEach(() => jest.restoreAllMocks());

  it('is alive and ready', async () => {
    for (const path of ['/health/live', '/health/ready']) {
      const reply = await service.send('get', path);
      expect([reply.status, reply.body]).toEqual([200, { status: 'ok' }]);
    }
  });

  it('is alive but not ready without its store', async () => {
    jest.spyOn(service.sessions, 'check').mockRejectedValue(new StoreUnavailableError('away'));
    expect((await service.send('get', '/health/live')).status).toBe(200);
    const reply = await service.send('get', '/health/ready');
    expect([reply.status, reply.body.code]).toEqual([503, 'not-ready']);
  });

  it('does not reveal the cause of an internal error', async () => {
    jest.spyOn(service.sessions, 'list').mockRejectedValue(new Error('WRONGTYPE at 10.0.0.7: secret'));
    const { statusCode, body } = await service.app.inject('/v1/users/ana/sessions');
    expect([statusCode, JSON.parse(body)]).toMatchObject([500, { code: 'internal-error' }]);
    expect(body).not.toMatch(/WRONGTYPE|10\.0|secret|at /);
  });

  it.each([
    ['none', {}, 'Bearer'],
    ['another', { authorization: 'Bearer another-token' }, 'Bearer error="invalid_token"'],
    ['another scheme', { authorization: `Basic ${TOKEN}` }, 'Bearer'],
    ['an empty one', { authorization: 'Bearer ' }, 'Bearer'],
    ['a longer one', { authorization: `Bearer ${TOKEN}x` }, 'Bearer error="invalid_token"'],
  ])('401 from /internal with %s for a token', async (_, headers, challenge) => {
    const reply = await service.send('post', '/internal/expire-idle-sessions', headers);
    expect([reply.status, reply.body.code, reply.headers['www-authenticate']]).toEqual([
      401,
      'unauthorized',
      challenge,
    ]);
  });

  it('sweeps on demand with the token', async () => {
    const sweep = () =>
      service.send('post', '/internal/expire-idle-sessions', { authorization: `Bearer ${TOKEN}` });
    service.clock.advance(30_000);
    await sweep(); // claims the sessions of other tests
    await service.ask({ user_id: 'ana', stream_id: 'test-pattern' });
    service.clock.advance(30_000);
    expect((await sweep()).body).toMatchObject({ expired: 1, more: false });
    expect((await sweep()).body).toMatchObject({ expired: 0, more: false });
  });

  it('sweeps by a timer, in every instance', async () => {
    const { SchedulerRegistry } = await import('@nestjs/schedule');
    const job = service.app.get(SchedulerRegistry).getCronJob('expire-idle-sessions');
    expect(String(job.cronTime.source)).toBe('* * * * * *');
    await service.ask({ user_id: 'ben', session_id: 'tv', stream_id: 'test-pattern' });
    service.clock.advance(30_000);
    await job.fireOnTick();
    await service.ask({ user_id: 'ben', session_id: 'tv', stream_id: 'test-pattern', phase: 3 });
    const [session] = (await service.sessions.list('ben')).sessions;
    expect(session!.startedAt).toBe(service.clock.now()); // claimed by the sweep, hence a new life
  });
});

describe('the platform while it stops', () => {
  it('is alive but not ready, and reports that it is draining', async () => {
    const app = await createApp(readConfig({ LOG_LEVEL: 'silent' }));
    const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
    // The shutdown waits while one of its hooks waits.
    jest.spyOn(app.get(EventStreams), 'beforeApplicationShutdown').mockImplementation(() => held as never);
    const ready = async (): Promise<{ code?: string; detail?: string }> =>
      (await app.inject('/health/ready')).json();
    expect(await ready()).toEqual({ status: 'ok' });
    const closed = app.close();
    try {
      await until(async () => (await ready()).code === 'not-ready');
      expect((await ready()).detail).toBe('The service is draining.');
      expect((await app.inject('/health/live')).statusCode).toBe(200);
    } finally {
      letGo();
      await closed;
    }
  });
});

describe('the documentation', () => {
  const service = useService('the embedded store');

  it('is OpenAPI 3.1, with every route of the contract', async () => {
    const { body } = await service.send('get', '/docs/openapi.json');
    expect(body.openapi).toBe('3.1.0');
    const operations = Object.entries(body.paths as Record<string, object>).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(operations.toSorted()).toEqual([
      'DELETE /v1/users/{user_id}/sessions',
      'DELETE /v1/users/{user_id}/sessions/{session_id}',
      'GET /health/live',
      'GET /health/ready',
      'GET /internal/audit',
      'GET /internal/callbacks',
      'GET /internal/callbacks/dead-letters',
      'GET /internal/config',
      'GET /internal/expiry',
      'GET /metrics',
      'GET /v1/play/{stream_id}/index.m3u8',
      'GET /v1/play/{stream_id}/s/{credential}/{name}',
      'GET /v1/play/{stream_id}/s/{credential}/{rendition}/{name}',
      'GET /v1/play/{stream_id}/{name}',
      'GET /v1/play/{stream_id}/{rendition}/{name}',
      'GET /v1/streams',
      'GET /v1/streams/{stream_id}',
      'GET /v1/streams/{stream_id}/renditions',
      'GET /v1/users/{user_id}/events',
      'GET /v1/users/{user_id}/sessions',
      'POST /internal/activity',
      'POST /internal/callbacks/dead-letters/replay',
      'POST /internal/callbacks/resume',
      'POST /internal/expire-idle-sessions',
      'POST /internal/expiry/pause',
      'POST /internal/expiry/resume',
      'POST /v1/cmcd',
      'POST /v1/phases',
      'POST /v1/tickets',
      'POST /v1/users/{user_id}/sessions/{session_id}/keepalive',
      'PUT /internal/log-level',
    ]);
  });

  it('documents which token each route accepts', async () => {
    const { body } = await service.send('get', '/docs/openapi.json');
    const takers = (scheme: string): string[] =>
      Object.entries(body.paths as Record<string, Record<string, { security?: object[] }>>).flatMap(
        ([path, methods]) =>
          Object.entries(methods)
            .filter(([, { security = [] }]) => security.some((one) => scheme in one))
            .map(([method]) => `${method.toUpperCase()} ${path}`),
      );
    expect(Object.keys(body.components.securitySchemes as object)).toEqual(['api-token', 'viewer-token']);
    const forBoth = [
      'DELETE /v1/users/{user_id}/sessions',
      'DELETE /v1/users/{user_id}/sessions/{session_id}',
      'GET /v1/users/{user_id}/events',
      'GET /v1/users/{user_id}/sessions',
    ];
    expect(takers('viewer-token').toSorted()).toEqual([
      ...forBoth,
      'POST /v1/phases',
      'POST /v1/tickets',
      'POST /v1/users/{user_id}/sessions/{session_id}/keepalive',
    ]);
    const internal = Object.entries(body.paths as object).flatMap(([path, methods]) =>
      Object.keys(methods as object).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(takers('api-token').toSorted()).toEqual(
      [...forBoth, ...internal.filter((name) => /\/(internal|metrics)/.test(name))].toSorted(),
    );
  });

  it('has a page for people', async () => {
    const page = await service.app.inject('/docs');
    expect([page.statusCode, page.headers['content-type']]).toEqual([
      200,
      expect.stringContaining('text/html'),
    ]);
    const [script] = /[^"']*swagger-ui-bundle\.js/.exec(page.body)!;
    expect((await service.app.inject(new URL(script, 'http://x/docs').pathname)).statusCode).toBe(200);
  });

  it('explains every problem that exists, and no other', () => {
    const text = readFileSync(join(__dirname, '../../docs/problems.md'), 'utf8');
    const explained = [...text.matchAll(/^## (\d{3}) `([a-z-]+)`$/gm)].map(([, status, code]) => [
      code,
      Number(status),
    ]);
    expect(explained).toEqual(Object.entries(PROBLEMS).map(([code, { status }]) => [code, status]));
  });
});
