import { type FastifyInstance } from 'fastify';

/**
 * Lets pages of any origin play what is below these paths. What is there needs no cookie: whoever has the URL may have it,
 * from wherever. Preflights come where a player asks for a range.
 */
export function openToPages(fastify: FastifyInstance, paths: readonly string[]): void {
  fastify.addHook('onRequest', (request, reply, done) => {
    if (!paths.some((path) => request.url.startsWith(`/${path}/`))) return done();
    void reply.headers({
      'access-control-allow-origin': '*',
      'access-control-expose-headers': 'content-length, content-range',
    });
    if (request.method !== 'OPTIONS') return done();
    void reply
      .code(204)
      .headers({
        'access-control-allow-methods': 'GET, HEAD',
        'access-control-allow-headers': 'range',
        'access-control-max-age': '86400',
      })
      .send();
  });
}
