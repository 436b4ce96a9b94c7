import { createHash } from 'node:crypto';
import { Body, Controller, Get, Post } from '@nestjs/common';
import { FastifyAdapter, RouteSchema } from '@nestjs/platform-fastify';
import { type FastifyInstance, type RouteOptions } from 'fastify';
import { AppModule } from '../../src/app.module.js';
import { Public } from '../../src/auth/access.js';
import { BY_SECRET } from '../support/issuer.js';
import { useService } from '../support/service.js';

interface BodySchema {
  readonly required?: readonly string[];
  /** What a condition of the schema requires of usual requests. */
  readonly else?: { readonly required: readonly string[] };
  readonly properties: Record<string, { readonly examples: readonly unknown[] }>;
}

/**
 * All routes that the service of a suite registers after its server was created, in any way. To be called before
 * `useService`.
 */
function useRoutes(): readonly RouteOptions[] {
  const routes: RouteOptions[] = [];
  beforeAll(() => {
    const seen = new WeakSet<FastifyInstance>();
    const getInstance = Reflect.get(FastifyAdapter.prototype, 'getInstance') as () => FastifyInstance;
    jest.spyOn(FastifyAdapter.prototype, 'getInstance').mockImplementation(function (this: FastifyAdapter) {
      const fastify = getInstance.call(this);
      if (!seen.has(fastify)) fastify.addHook('onRoute', (route) => void routes.push(route));
      seen.add(fastify);
      return fastify;
    });
  });
  afterAll(() => jest.restoreAllMocks());
  return routes;
}

const isPublic = ({ config }: RouteOptions): boolean => config?.access?.to === 'everybody';

/** A request that is valid except that it has no credentials. */
function requestOf({ method, url, schema }: RouteOptions) {
  const {
    required: always = [],
    else: usual,
    properties,
  } = (schema?.body ?? { properties: {} }) as BodySchema;
  const required = [...always, ...(usual?.required ?? [])];
  const body = Object.fromEntries(required.map((field) => [field, properties[field]!.examples[0]]));
  return {
    method: [method].flat()[0] as 'GET',
    url: url
      .replace(':rendition', '0')
      .replace(':credential', 'ana,tv')
      .replaceAll(/:\w+/g, 'test-pattern')
      .replace('*', 'index.css'),
    ...(required.length > 0 ? { payload: body } : {}),
  };
}

describe('with AUTH_MODE=jwt and a token for each scope', () => {
  const routes = useRoutes();
  const service = useService('the embedded store', () => ({
    ...BY_SECRET,
    INTERNAL_API_TOKEN: 'an-internal-token-of-some-length',
    API_TOKENS: `scraper:metrics:${createHash('sha256').update('scraper').digest('hex')}`,
  }));

  it('every route answers 401 without credentials, unless its mark says that it is public', async () => {
    expect(routes.length).toBeGreaterThan(30);
    const answers = await Promise.all(
      routes.map(async (route) => {
        const { statusCode, headers } = await service.app.inject(requestOf(route));
        const refused = statusCode === 401 && headers['www-authenticate'] === 'Bearer';
        return `${route.method.toString()} ${route.url} ${refused ? 'is refused' : 'answers'}`;
      }),
    );
    expect(answers).toEqual(
      routes.map(
        (route) => `${route.method.toString()} ${route.url} ${isPublic(route) ? 'answers' : 'is refused'}`,
      ),
    );
  });

  // Adding a public route requires a change of this list.
  it('these are public, and no others', () => {
    const open = routes.filter((route) => isPublic(route));
    expect([...new Set(open.map(({ url }) => url))].toSorted()).toEqual([
      '/console',
      '/console/:file',
      '/docs',
      '/docs/',
      '/docs/*',
      '/docs/LICENSE',
      '/docs/docs/swagger-ui-init.js',
      '/docs/index.html',
      '/docs/openapi.json',
      '/docs/swagger-ui-init.js',
      '/health/live',
      '/health/ready',
      '/media/*',
      '/v1/streams',
      '/v1/streams/:stream_id',
      '/v1/streams/:stream_id/renditions',
    ]);
  });

  it('reports an invalid request before it asks for credentials', async () => {
    const send = async (method: 'GET' | 'POST', url: string, payload?: string, type = 'application/json') =>
      (await service.app.inject({ method, url, payload, headers: payload ? { 'content-type': type } : {} }))
        .statusCode;
    expect(await send('POST', '/v1/phases', '{')).toBe(400);
    expect(await send('POST', '/v1/phases', 'x'.repeat(17_000))).toBe(413);
    expect(await send('POST', '/v1/phases', 'x', 'text/plain')).toBe(415);
    expect(await send('POST', '/v1/phases', '{}')).toBe(422);
    expect(await send('POST', '/internal/expiry/pause', '{"by": 7}')).toBe(422);
    for (const path of [
      '/v1/play/a%20b/index.m3u8',
      '/v1/play/film/index.m3u8?session_id=a%20b',
      '/v1/play/film/index.m3u8?ticket=a&ticket=b',
      '/v1/play/film/x/0.ts',
    ])
      expect([path, await send('GET', path)]).toEqual([path, 422]);
    expect(await send('POST', '/v1/users/ana/sessions/a%20b/keepalive')).toBe(422);
    const malformed = { headers: { host: 'a"<>/x?y' } };
    for (const url of ['/v1/phases', '/v1/tickets'])
      expect(
        await service.app.inject({ ...malformed, method: 'POST', url, payload: { stream_id: 'film' } }),
      ).toMatchObject({ statusCode: 400 });
    expect(await service.app.inject({ ...malformed, url: '/v1/play/film/index.m3u8' })).toMatchObject({
      statusCode: 400,
    });
  });
});

@Controller('unmarked')
class Unmarked {
  @Get()
  read(): string {
    return 'read';
  }

  @Post()
  @RouteSchema({ body: { type: 'object', required: ['name'] } })
  write(@Body() body: object): object {
    return body;
  }

  @Get('public')
  @Public()
  open(): string {
    return 'open';
  }
}

describe.each(['jwt', 'none'])('a controller without a mark for its callers, with AUTH_MODE=%s,', (mode) => {
  const register = AppModule.register.bind(AppModule);
  beforeAll(() => {
    jest.spyOn(AppModule, 'register').mockImplementation((...settings) => {
      const module = register(...settings);
      return { ...module, controllers: [...module.controllers!, Unmarked] };
    });
  });
  afterAll(() => jest.restoreAllMocks());
  const service = useService('the embedded store', () => (mode === 'jwt' ? BY_SECRET : {}));

  it('answers a valid request with 401', async () => {
    for (const method of ['GET', 'HEAD'] as const)
      expect((await service.app.inject({ method, url: '/unmarked' })).statusCode).toBe(401);
    const post = async (payload: object) =>
      (await service.app.inject({ method: 'POST', url: '/unmarked', payload })).statusCode;
    expect([await post({}), await post({ name: 'x' })]).toEqual([422, 401]);
  });

  it('serves a route that has its own mark', async () => {
    expect((await service.app.inject('/unmarked/public')).body).toBe('open');
  });
});

describe('with AUTH_MODE=none', () => {
  const routes = useRoutes();
  useService('the embedded store');

  it('every route has a mark, including those of the demo', () => {
    expect(routes.map(({ url }) => url)).toContain('/demo/:file');
    expect(routes.filter(({ config }) => config?.access === undefined).map(({ url }) => url)).toEqual([]);
  });
});
