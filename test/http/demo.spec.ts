import { readFile, rm } from 'node:fs/promises';
import { parse } from 'yaml';
import { makeImageTree } from '../support/image-tree.js';
import { loadPage } from '../support/page-assets.js';
import { endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { useService } from '../support/service.js';

/** The page, what it loads, and the page that it links to. */
const PAGE = {
  '/': 200,
  '/demo/client/api.js': 200,
  '/demo/client/gate.js': 200,
  '/demo/client/hls.js': 200,
  '/demo/client/tab.js': 200,
  '/demo/client/time.js': 200,
  '/demo/client/watch.js': 200,
  '/demo/demo.css': 200,
  '/demo/demo.js': 200,
  '/demo/hls.min.js': 200,
  '/demo/mux.min.js': 200,
  '/demo/watch.html': 200,
  '/demo/watch.js': 200,
  '/docs': 200,
};

describe('the demo', () => {
  const service = useService('the embedded store');

  it('is a page at /, with all files that it loads', async () => {
    expect(await loadPage(await service.app.getUrl())).toEqual(PAGE);
  });

  it('has security headers, like the documentation, and data routes have none', async () => {
    const headersOf = async (path: string) => (await service.app.inject(path)).headers;
    for (const path of ['/', '/demo/demo.js', '/docs', '/docs/swagger-ui-bundle.js']) {
      const headers = await headersOf(path);
      expect([path, headers]).toMatchObject([
        path,
        { 'x-content-type-options': 'nosniff', 'x-frame-options': 'SAMEORIGIN' },
      ]);
      expect(String(headers['content-security-policy']).split(';')).toEqual(
        expect.arrayContaining([
          "default-src 'self'",
          "script-src 'self'",
          "frame-ancestors 'self'",
          "object-src 'none'",
        ]),
      );
    }
    expect(await headersOf('/v1/streams')).not.toHaveProperty('content-security-policy');
  });

  it('serves nothing else', async () => {
    const url = await service.app.getUrl();
    for (const path of [
      'demo/index.html',
      'demo/..%2fpackage.json',
      'demo/client/..%2f..%2fpackage.json',
      'demo/client/a.map',
    ])
      expect([path, (await fetch(`${url}/${path}`)).status]).toEqual([path, 404]);
  });
});

describe('the demo in the image', () => {
  let tree: string;
  beforeAll(async () => {
    tree = await makeImageTree();
  });
  afterEach(endServiceProcesses);
  afterAll(() => rm(tree, { recursive: true }));

  it('exists with all files that it loads, if the image runs like in compose.yaml', async () => {
    const compose = parse(await readFile('compose.yaml', 'utf8')) as {
      services: { streamgate: { environment: Record<string, string> } };
    };
    const { REDIS_URL, ...environment } = compose.services.streamgate.environment;
    expect(REDIS_URL).toBeDefined(); // there is none of this name here: the page shows the same on the embedded store
    const service = await startServiceProcess({ ...environment, HOST: '127.0.0.1' }, tree);
    expect(await loadPage(service.url)).toEqual(PAGE);
  });
});

describe('the demo in production', () => {
  const service = useService('the embedded store', () => ({
    NODE_ENV: 'production',
    SESSION_STORE: 'memory',
    AUTH_MODE: 'none',
    MEDIA_SIGNING: 'none',
    INTERNAL_API_TOKEN: 'a-token-of-the-test',
  }));

  it('does not exist', async () => {
    const url = await service.app.getUrl();
    for (const path of ['', 'demo/demo.js', 'demo/hls.min.js'])
      expect([path, (await fetch(`${url}/${path}`)).status]).toEqual([path, 404]);
  });
});
