import { useService } from '../support/service.js';

describe('the demo', () => {
  const service = useService('the embedded store');

  it('is a page at /, with what it loads', async () => {
    const url = await service.app.getUrl();
    const page = await (await fetch(url)).text();
    const files = [...page.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, path]) => path!);
    expect(files.toSorted()).toEqual(['/demo/demo.css', '/demo/demo.js', '/demo/hls.min.js', '/docs']);
    for (const file of files) expect([file, (await fetch(url + file)).status]).toEqual([file, 200]);
  });

  it('tells browsers what it may load, as the documentation does, and nobody what is data', async () => {
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

describe('the demo in production', () => {
  const service = useService('the embedded store', () => ({
    NODE_ENV: 'production',
    SESSION_STORE: 'memory',
    AUTH_MODE: 'none',
    MEDIA_SIGNING: 'none',
    INTERNAL_API_TOKEN: 'a-token-of-the-test',
  }));

  it('is not there', async () => {
    const url = await service.app.getUrl();
    for (const path of ['', 'demo/demo.js', 'demo/hls.min.js'])
      expect([path, (await fetch(`${url}/${path}`)).status]).toEqual([path, 404]);
  });
});
