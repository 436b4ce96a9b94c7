import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { SchedulerRegistry } from '@nestjs/schedule';
import { Overview } from '../../src/console/overview.js';
import { SessionRepository, StoreUnavailableError } from '../../src/sessions/session.repository.js';
import { makeImageTree } from '../support/image-tree.js';
import { loadPage } from '../support/page-assets.js';
import { endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { STORES, useService } from '../support/service.js';
import { until } from '../support/until.js';

const PAGE = {
  '/console': 200,
  '/console/console.css': 200,
  '/console/console.js': 200,
  '/console/overview.js': 200,
  '/console/page.js': 200,
  '/console/service.js': 200,
  '/console/user.js': 200,
};
const DATA = ['/console/data/caller', '/console/data/overview', '/console/data/users/ana'];
const PRODUCTION = {
  NODE_ENV: 'production',
  SESSION_STORE: 'memory',
  AUTH_MODE: 'none',
  MEDIA_SIGNING: 'none',
  INTERNAL_API_TOKEN: 'a-token-of-the-test',
};

describe('the console', () => {
  const token = (name: string, scopes: string): string =>
    `${name}:${scopes}:${createHash('sha256').update(name).digest('hex')}`;
  const service = useService('the embedded store', () => ({
    API_TOKENS: [token('support', 'sessions:read,sessions:end'), token('scraper', 'metrics')].join(' '),
    LOG_USER_IDS_SECRET: 'a-key-of-pseudonyms',
  }));
  const get = async (url: string, name?: string) =>
    service.app.inject({ url, headers: name === undefined ? {} : { authorization: `Bearer ${name}` } });

  it('is a page with all files that it loads, and loads nothing else', async () => {
    const url = await service.app.getUrl();
    expect(await loadPage(url, '/console')).toEqual(PAGE);
    for (const path of ['index.html', '..%2fpackage.json', '..%2fdemo%2fdemo.js', 'console.map', 'data'])
      expect([path, (await fetch(`${url}/console/${path}`)).status]).toEqual([path, 404]);
  });

  it('may load files of the service only, and no page may frame it', async () => {
    for (const path of [...Object.keys(PAGE), ...DATA]) {
      const { headers } = await get(path);
      expect([path, headers]).toMatchObject([
        path,
        {
          'x-frame-options': 'DENY',
          'x-content-type-options': 'nosniff',
          'referrer-policy': 'no-referrer',
          'content-security-policy':
            "default-src 'none';script-src 'self';style-src 'self';img-src data:;connect-src 'self';" +
            "base-uri 'none';form-action 'none';frame-ancestors 'none';require-trusted-types-for 'script'",
        },
      ]);
    }
  });

  it('has no data for callers without the scope sessions:read', async () => {
    for (const path of DATA) {
      expect([path, (await get(path)).statusCode, (await get(path, 'nobody')).statusCode]).toEqual([
        path,
        401,
        401,
      ]);
      expect([path, (await get(path, 'scraper')).statusCode]).toEqual([path, 403]);
      const { statusCode, headers } = await get(path, 'support');
      expect([path, statusCode, headers['cache-control']]).toEqual([path, 200, 'no-store']);
    }
  });

  it('knows what the token may do, and how the log names a user', async () => {
    expect((await get(DATA[0]!, 'support')).json()).toMatchObject({
      name: 'support',
      scopes: ['sessions:read', 'sessions:end'],
    });
    // The same as in test/http/log.spec.ts: the beginning of HMAC-SHA-256.
    expect((await get(DATA[2]!, 'support')).json()).toEqual({
      user_id: 'ana',
      log_name: expect.stringMatching(/^[\w-]{16}$/),
      log_naming: 'hash',
    });
    expect((await get('/console/data/users/%20', 'support')).statusCode).toBe(422);
  });
});

describe.each(STORES)('the overview of the console, on %s,', (store) => {
  const service = useService(store);
  // The test ends each minute itself, on its own clock.
  beforeAll(() => service.app.get(SchedulerRegistry).deleteInterval('console-overview'));
  const minutes = async (): Promise<Record<string, unknown>[]> => {
    const reply = await service.app.inject('/console/data/overview');
    expect(reply.statusCode).toBe(200);
    return reply.json<{ minutes: Record<string, unknown>[] }>().minutes;
  };
  const ask = (session_id: string) => service.ask({ user_id: 'ana', session_id, stream_id: 'test-pattern' });

  it('has the counts of each minute, without minutes in which the store did not answer', async () => {
    const overview = service.app.get(Overview);
    const nextMinute = async (): Promise<void> => {
      service.clock.advance(60_000);
      await overview.closeMinute();
    };
    // The first figures, if the store did not answer yet when the service started.
    await until(async () => (await service.app.inject('/console/data/overview')).statusCode === 200);
    for (const session of ['tv', 'phone', 'tablet', 'laptop', 'laptop']) await ask(session);
    expect(await minutes()).toMatchObject([{ live: 3, admitted: 3, ended: 0, expired: 0, refused: 2 }]);
    await service.send('delete', '/v1/users/ana/sessions/tv');
    await nextMinute();
    await service.send('post', '/internal/expire-idle-sessions');
    // After a pause of the sweeps, the first one only looks.
    service.clock.advance(11_000);
    await service.send('post', '/internal/expire-idle-sessions');
    expect(await minutes()).toMatchObject([
      { live: 2, admitted: 3, ended: 1, expired: 0, refused: 2 },
      { live: 0, admitted: 0, ended: 0, expired: 2, refused: 0 },
    ]);
    const away = jest
      .spyOn(service.app.get(SessionRepository), 'ledger')
      .mockRejectedValue(new StoreUnavailableError('away'));
    expect((await service.app.inject('/console/data/overview')).statusCode).toBe(503);
    await nextMinute();
    away.mockRestore();
    await nextMinute();
    await ask('tv');
    await nextMinute();
    const all = await minutes();
    expect(all.map(({ admitted }) => admitted)).toEqual([3, 1, 0]);
    expect(Date.parse(all[1]!.from as string) - Date.parse(all[0]!.to as string)).toBe(131_000);
    for (let more = 0; more < 70; more++) await nextMinute();
    expect(await minutes()).toHaveLength(60);
  });
});

describe.each([
  ['in production', PRODUCTION],
  ['with CONSOLE=off', { CONSOLE: 'off' }],
])('without the console, %s,', (_, environment) => {
  const service = useService('the embedded store', () => environment);

  it('there is none of its routes', async () => {
    for (const url of [...Object.keys(PAGE), ...DATA]) {
      const reply = await service.app.inject({
        url,
        headers: { authorization: 'Bearer a-token-of-the-test' },
      });
      expect([url, reply.statusCode, reply.headers['content-type']]).toEqual([
        url,
        404,
        expect.stringContaining('application/problem+json'),
      ]);
    }
  });
});

describe('the console in the image', () => {
  let tree: string;
  beforeAll(async () => {
    tree = await makeImageTree();
  });
  afterEach(endServiceProcesses);
  afterAll(() => rm(tree, { recursive: true }));

  it('is there in production if it is turned on', async () => {
    const service = await startServiceProcess({ ...PRODUCTION, HOST: '127.0.0.1', CONSOLE: 'on' }, tree);
    expect(await loadPage(service.url, '/console')).toEqual(PAGE);
  });
});
