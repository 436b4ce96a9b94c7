import helmet from '@fastify/helmet';
import fastify, { type FastifyInstance, type RouteOptions } from 'fastify';

/** The documentation and the demo. All other routes serve data, which browsers do not show as pages. */
const PAGES = /^\/$|^\/(demo|docs)(\/|$)/;

/** Sends security headers with each page: what it may load, and whether other pages may frame it. */
export async function protectPages(app: FastifyInstance): Promise<void> {
  const headers = await pageHeaders();
  app.addHook('onRoute', (route: RouteOptions) => {
    if (!PAGES.test(route.url)) return;
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

/**
 * The headers of @fastify/helmet, computed once. They are the same for every page, and the plugin's hooks would cost CPU
 * for all other requests too.
 */
async function pageHeaders(): Promise<Record<string, string>> {
  const page = fastify();
  await page.register(helmet, {
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
  });
  page.get('/', (_request, reply) => reply.raw.getHeaders());
  const reply = await page.inject('/');
  await page.close();
  return reply.json<Record<string, string>>();
}
