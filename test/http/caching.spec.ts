import { useService } from '../support/service.js';

describe('caches', () => {
  const service = useService('the embedded store');
  const PLAYER = 'user_id=ana&session_id=tv';
  beforeAll(async () => {
    await service.ask({ user_id: 'ana', session_id: 'tv', stream_id: 'test-pattern' });
  });

  it.each([
    '/v1/users/ana/sessions',
    '/v1/streams',
    '/v1/streams/test-pattern',
    '/v1/streams/test-pattern/renditions',
    '/v1/play/test-pattern/index.m3u8?user_id=ana',
    `/v1/play/test-pattern/index.m3u8?${PLAYER}`,
    `/v1/play/test-pattern/0/index.m3u8?${PLAYER}`,
    '/v1/play/test-pattern/s/ana,tv/0/index.m3u8',
    `/v1/play/test-pattern/0/0.ts?${PLAYER}`,
    '/health/live',
    '/health/ready',
    '/metrics',
    '/internal/config',
    '/internal/audit',
    '/internal/expiry',
    '/internal/callbacks',
    '/internal/callbacks/dead-letters',
    '/console/data/caller',
    '/console/data/overview',
    '/console/data/users/ana',
    '/docs/openapi.json',
  ])('may not keep %s, and HEAD is answered as GET, without a body', async (url) => {
    const [get, head] = [
      await service.app.inject({ method: 'GET', url }),
      await service.app.inject({ method: 'HEAD', url }),
    ];
    expect([200, 302]).toContain(get.statusCode);
    expect(get.headers['cache-control']).toBe('no-store');
    expect([head.statusCode, head.body]).toEqual([get.statusCode, '']);
    expect(Object.keys(head.headers).toSorted()).toEqual(Object.keys(get.headers).toSorted());
    expect(head.headers).toMatchObject({
      'cache-control': 'no-store',
      ...(get.headers['content-type'] && { 'content-type': get.headers['content-type'] }),
    });
  });

  it.each(['/', '/demo/demo.js', '/console', '/console/console.css'])(
    'ask before they use %s again',
    async (url) => {
      for (const method of ['GET', 'HEAD'] as const) {
        const { statusCode, headers, body } = await service.app.inject({ method, url });
        expect([statusCode, headers['cache-control'], body === '']).toEqual([
          200,
          'public, max-age=0',
          method === 'HEAD',
        ]);
      }
    },
  );

  it('ask before they use media again', async () => {
    const { body } = await service.ask({ user_id: 'ana', session_id: 'tv', stream_id: 'test-pattern' });
    const { headers, status } = await fetch(body.phase.segments[0].url, { method: 'HEAD' });
    expect([status, headers.get('cache-control')]).toEqual([200, 'public, max-age=0']);
  });
});
