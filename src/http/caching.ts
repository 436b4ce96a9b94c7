import { type FastifyInstance, type RouteOptions } from 'fastify';

/**
 * Replies to GET and HEAD tell how things are now, and most belong to one user: no cache may keep them, not even the
 * one of the browser (RFC 9111, 5.2.2.5). Files get a header of their own from the file server. The reply to another
 * method says nothing about how long it is fresh, so that no cache keeps it either (RFC 9110, 9.3.3).
 */
export function keepOutOfCaches(fastify: FastifyInstance): void {
  fastify.addHook('onRoute', (route: RouteOptions) => {
    if (![route.method].flat().some((method) => method === 'GET' || method === 'HEAD')) return;
    route.onRequest = [
      ...[route.onRequest ?? []].flat(),
      (_request, reply, done) => {
        void reply.header('cache-control', 'no-store');
        done();
      },
    ];
  });
}
