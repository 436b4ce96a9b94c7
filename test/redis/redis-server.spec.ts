import { startRedis } from '../support/redis-server.js';

describe('the search for a Redis to test with', () => {
  const { PATH, REDIS_URL } = process.env;
  afterEach(() => {
    Object.assign(process.env, { PATH });
    if (REDIS_URL === undefined) delete process.env.REDIS_URL;
    else process.env.REDIS_URL = REDIS_URL;
  });

  it('fails with what to do and what was tried, rather than skip anything', async () => {
    Object.assign(process.env, { PATH: '/nonexistent', REDIS_URL: '' });
    const error = await startRedis(['url', 'path']).catch(String);
    expect(error).toContain('Set REDIS_URL, install redis-server or valkey-server, or start Docker.');
    expect(error).toContain('url: REDIS_URL is not set');
    expect(error).toContain('path: neither redis-server nor valkey-server is on PATH');
  });

  it('takes no URL at its word', async () => {
    process.env.REDIS_URL = 'redis://127.0.0.1:1';
    await expect(startRedis(['url'])).rejects.toThrow('url: nothing answers as Redis on 127.0.0.1:1');
  });
});
