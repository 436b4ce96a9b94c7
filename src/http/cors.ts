import { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';

/** The cross-origin requests that pages may send to some paths. */
export interface Opening {
  /** The beginnings of the paths, without slashes at their ends. */
  readonly paths: readonly string[];
  /** The origins whose pages may send requests, as browsers write them in `Origin`; `*` for all. */
  readonly origins: readonly string[];
  readonly methods: string;
  /** The headers that such a page may send. */
  readonly requestHeaders: readonly string[];
  /** The headers of a reply that such a page may read. */
  readonly replyHeaders: readonly string[];
}

/** Tracing and monitoring add these headers to the requests of a page. Browsers need permission to send them. */
const TRACING = ['traceparent', 'tracestate', 'baggage', 'sentry-trace'];
const READABLE = ['retry-after', 'location', 'x-request-id', 'date'];
/** How long a browser may keep the answer to a preflight; Chromium keeps it for two hours at most. */
const PREFLIGHT_SECONDS = '86400';

/**
 * For players in any page. Nothing at these paths needs a cookie: a client that has the URL may load it from any page.
 * hls.js and Shaka send ranges and, if the page configures it, CMCD (CTA-5004) and tokens.
 */
export function forPlayers(paths: readonly string[], more: readonly string[]): Opening {
  return {
    paths,
    origins: ['*'],
    methods: 'GET, HEAD',
    requestHeaders: [
      'range',
      'accept-encoding',
      'authorization',
      'cache-control',
      'content-type',
      'cmcd-object',
      'cmcd-request',
      'cmcd-session',
      'cmcd-status',
      'x-playback-session-id',
      ...TRACING,
      ...more,
    ],
    replyHeaders: ['content-length', 'content-range', ...READABLE],
  };
}

/** For the reports of players in any page: a client that has the URL may report for its session. */
export function forReports(paths: readonly string[], more: readonly string[]): Opening {
  return {
    paths,
    origins: ['*'],
    methods: 'POST',
    requestHeaders: ['authorization', 'content-type', ...TRACING, ...more],
    replyHeaders: READABLE,
  };
}

/** For the API, in pages of the listed origins. */
export function forClients(
  paths: readonly string[],
  origins: readonly string[],
  more: readonly string[],
): Opening {
  return {
    paths,
    origins,
    methods: 'GET, HEAD, POST, DELETE',
    requestHeaders: [
      'authorization',
      'cache-control',
      'content-type',
      'last-event-id',
      'prefer',
      ...TRACING,
      ...more,
    ],
    replyHeaders: [
      'preference-applied',
      'ratelimit-limit',
      'ratelimit-remaining',
      'ratelimit-reset',
      ...READABLE,
    ],
  };
}

/**
 * Cross-origin resource sharing. Without these headers a browser hides the reply from the page, and does not send a
 * request that needs a preflight. Pages of other origins get no such header. Only browsers obey CORS, so that it is no
 * authentication.
 */
export class CrossOrigin {
  private readonly openings: readonly (Opening & {
    readonly below: RegExp;
    readonly toAll: boolean;
    readonly requestList: string;
    readonly replyList: string;
  })[];

  constructor(openings: readonly Opening[]) {
    this.openings = openings
      .filter(({ origins }) => origins.length > 0)
      .map((opening) => ({
        ...opening,
        below: new RegExp(`^/(${opening.paths.join('|')})([/?]|$)`),
        toAll: opening.origins.includes('*'),
        requestList: opening.requestHeaders.join(', '),
        replyList: opening.replyHeaders.join(', '),
      }));
  }

  /** Answers preflights, and adds the headers to every other reply. */
  register(fastify: FastifyInstance): void {
    fastify.addHook('onRequest', (request, reply, done) => {
      const opening = this.addHeaders(request, reply);
      if (opening === undefined || request.method !== 'OPTIONS') return done();
      void reply
        .code(204)
        .headers({
          'access-control-allow-methods': opening.methods,
          'access-control-allow-headers': opening.requestList,
          'access-control-max-age': PREFLIGHT_SECONDS,
        })
        .send();
    });
  }

  /**
   * Adds the headers that let the page read the reply. Returns undefined if the page may not. Public for the replies
   * that the router sends before any hook runs.
   */
  addHeaders(request: FastifyRequest, reply: FastifyReply) {
    const opening = this.openings.find(({ below }) => below.test(request.url));
    if (opening === undefined) return undefined;
    const { origins, toAll, replyList } = opening;
    const { origin } = request.headers;
    // A cache must not give one origin the reply for another one.
    if (!toAll) void reply.header('vary', 'origin');
    if (!toAll && (origin === undefined || !origins.includes(origin))) return undefined;
    void reply.headers({
      'access-control-allow-origin': toAll ? '*' : origin,
      'access-control-expose-headers': replyList,
    });
    return opening;
  }
}
