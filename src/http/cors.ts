import { type FastifyInstance } from 'fastify';

interface CorsPolicy {
  /** Origins whose pages may send requests, as browsers write them in `Origin`; `*` for all. */
  readonly origins: readonly string[];
  readonly methods: string;
  /** The headers that such a page may send, and the headers of a reply that it may read. */
  readonly requestHeaders: string;
  readonly replyHeaders: string;
}

/**
 * For media and playlists: pages of all origins. Access depends on the URL alone, and not on cookies. Browsers send a
 * preflight when a player requests a range.
 */
export const MEDIA: CorsPolicy = {
  origins: ['*'],
  methods: 'GET, HEAD',
  requestHeaders: 'range',
  replyHeaders: 'content-length, content-range',
};

/** For reports of players: pages of all origins. The URL gives access to the session. */
export const REPORTS: CorsPolicy = {
  origins: ['*'],
  methods: 'POST',
  requestHeaders: 'content-type, authorization',
  replyHeaders: 'retry-after, x-request-id',
};

/** For the API: pages of these origins. */
export function control(origins: readonly string[]): CorsPolicy {
  return {
    origins,
    methods: 'GET, HEAD, POST, DELETE',
    requestHeaders: 'authorization, content-type, last-event-id',
    replyHeaders:
      'location, retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset, x-request-id',
  };
}

/**
 * Cross-origin resource sharing. Pages of other origins get no CORS headers: then the browser keeps the reply from the
 * page, and does not send requests that need a preflight. CORS restricts browsers only and is no authentication.
 */
export function openToPages(
  fastify: FastifyInstance,
  paths: readonly string[],
  { origins, methods, requestHeaders, replyHeaders }: CorsPolicy,
): void {
  if (origins.length === 0) return;
  const below = new RegExp(`^/(${paths.join('|')})([/?]|$)`);
  const toAll = origins.includes('*');
  fastify.addHook('onRequest', (request, reply, done) => {
    if (!below.test(request.url)) return done();
    const { origin } = request.headers;
    // A cache must not give a reply for one origin to another origin.
    if (!toAll) void reply.header('vary', 'origin');
    if (!toAll && (origin === undefined || !origins.includes(origin))) return done();
    void reply.headers({
      'access-control-allow-origin': toAll ? '*' : origin,
      'access-control-expose-headers': replyHeaders,
    });
    if (request.method !== 'OPTIONS') return done();
    void reply
      .code(204)
      .headers({
        'access-control-allow-methods': methods,
        'access-control-allow-headers': requestHeaders,
        'access-control-max-age': '86400',
      })
      .send();
  });
}
