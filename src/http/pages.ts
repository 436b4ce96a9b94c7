import helmet from '@fastify/helmet';
import fastify, { type FastifyInstance, type RouteOptions } from 'fastify';

/** The documentation and the demo; all else is data, which no browser shows. */
const PAGES = /^\/$|^\/(demo|docs)(\/|$)/;

/** Tells browsers what a page may load and who may frame it. */
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
 * What @fastify/helmet says, asked once: it is the same for every page, and the plugin's hooks would cost each request
 * that is none.
 */
async function pageHeaders(): Promise<Record<string, string>> {
  const page = fastify();
  await page.register(helmet, {
    contentSecurityPolicy: {
      directives: {
        // The demo plays what MEDIA_BASE_URL or the origin serves, by way of blobs.
        connectSrc: ["'self'", 'http:', 'https:'],
        mediaSrc: ["'self'", 'blob:'],
        workerSrc: ["'self'", 'blob:'],
        // Whoever ends TLS knows whether there is any, and for which names.
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
