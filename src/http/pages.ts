import helmet, { type FastifyHelmetOptions } from '@fastify/helmet';
import fastify, { type FastifyInstance, type RouteOptions } from 'fastify';

/** The documentation and the demo. */
const PAGES = /^\/$|^\/(demo|docs)(\/|$)/;
/** The console, which may do more than viewers. All other routes serve data, which browsers do not show as pages. */
const CONSOLE = /^\/console(\/|$)/;

/** Sends security headers with each page: what it may load, and whether other pages may frame it. */
export async function protectPages(app: FastifyInstance): Promise<void> {
  const [ofPages, ofConsole] = [await headersOf(OPEN), await headersOf(STRICT)];
  app.addHook('onRoute', (route: RouteOptions) => {
    const headers = PAGES.test(route.url) ? ofPages : CONSOLE.test(route.url) ? ofConsole : undefined;
    if (headers === undefined) return;
    const others = [route.onRequest ?? []].flat();
    route.onRequest = [
      ...others,
      (_request, reply, done) => {
        void reply.headers(headers);
        done();
      },
    ];
  });
}

const OPEN: FastifyHelmetOptions = {
  contentSecurityPolicy: {
    directives: {
      // The demo plays media of MEDIA_BASE_URL or of the origin, through blob URLs.
      connectSrc: ["'self'", 'http:', 'https:'],
      mediaSrc: ["'self'", 'blob:'],
      workerSrc: ["'self'", 'blob:'],
      // Only the proxy that terminates TLS knows whether the service is reached by TLS, and by which names.
      upgradeInsecureRequests: null,
    },
  },
  strictTransportSecurity: false,
};

/** Files and data of this service only, no frames in either direction, and no way from a text to HTML. */
const STRICT: FastifyHelmetOptions = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ['data:'],
      connectSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
      requireTrustedTypesFor: ["'script'"],
    },
  },
  frameguard: { action: 'deny' },
  strictTransportSecurity: false,
};

/**
 * The headers of @fastify/helmet, computed once. They are the same for every page, and the plugin's hooks would cost CPU
 * for all other requests too.
 */
async function headersOf(options: FastifyHelmetOptions): Promise<Record<string, string>> {
  const page = fastify();
  await page.register(helmet, options);
  page.get('/', (_request, reply) => reply.raw.getHeaders());
  const reply = await page.inject('/');
  await page.close();
  return reply.json<Record<string, string>>();
}
