import { NotFoundException } from '@nestjs/common';
import { type FastifyInstance } from 'fastify';
import findMyWay, { type HTTPMethod } from 'find-my-way';
import { Problem } from './problem.js';

const METHODS: readonly HTTPMethod[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/**
 * Longer than any valid part of a path, so that the service answers 422 for an id that is too long, and the router does not
 * refuse it. A ticket is longer, as long as the name of its user makes it; Node takes no request line beyond 16 KB.
 */
export const MAX_PARAM_LENGTH = 16_384;

/**
 * Answers requests without a route before their body is read: 405 with Allow if the path has other methods, else 404.
 * Fastify cannot list the methods of a path, so that a second instance of its router holds all routes.
 */
export function refuseUnknownRoutes(fastify: FastifyInstance): void {
  const router = findMyWay({ maxParamLength: MAX_PARAM_LENGTH });
  fastify.addHook('onRoute', ({ method, url }) => {
    for (const one of [method].flat() as HTTPMethod[])
      if (METHODS.includes(one)) router.on(one, url, () => undefined);
  });
  fastify.addHook('onRequest', (request, _reply, done) => {
    if (!request.is404) return done();
    const allow = METHODS.filter((method) => router.find(method, request.url.split('?', 1)[0]!)).join(', ');
    if (allow === '') return done(new NotFoundException());
    done(new Problem('method-not-allowed', `Use one of: ${allow}.`, { headers: { allow } }));
  });
}
