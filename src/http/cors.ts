import { type FastifyInstance } from 'fastify';

interface Opening {
  /** Whose pages may ask, as browsers say it in Origin; `*` for all. */
  readonly origins: readonly string[];
  readonly methods: string;
  /** What such a page may send, and what it may read of a reply. */
  readonly requestHeaders: string;
  readonly replyHeaders: string;
}

/**
 * What any page may play. Nothing there needs a cookie: whoever has the URL may have it, from wherever. Preflights come
 * where a player asks for a range.
 */
export const MEDIA: Opening = {
  origins: ['*'],
  methods: 'GET, HEAD',
  requestHeaders: 'range',
  replyHeaders: 'content-length, content-range',
};

/** Reports of players on any page: whoever has the URL may report for its session. */
export const REPORTS: Opening = {
  origins: ['*'],
  methods: 'POST',
  requestHeaders: 'content-type, authorization',
  replyHeaders: 'retry-after, x-request-id',
};

/** What clients ask and tell, for pages that are named. */
export function control(origins: readonly string[]): Opening {
  return {
    origins,
    methods: 'GET, HEAD, POST, DELETE',
    requestHeaders: 'authorization, content-type, last-event-id',
    replyHeaders:
      'location, retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset, x-request-id',
  };
}

/**
 * Cross-origin resource sharing. A browser that is told nothing keeps the reply from the page, and does not send what
 * needs a preflight first: so nothing is all that other origins are told. It holds browsers only, and is no authentication.
 */
export function openToPages(
  fastify: FastifyInstance,
  paths: readonly string[],
  { origins, methods, requestHeaders, replyHeaders }: Opening,
): void {
  if (origins.length === 0) return;
  const below = new RegExp(`^/(${paths.join('|')})([/?]|$)`);
  const toAll = origins.includes('*');
  fastify.addHook('onRequest', (request, reply, done) => {
    if (!below.test(request.url)) return done();
    const { origin } = request.headers;
    // A cache must not hand to one origin what was meant for another.
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
