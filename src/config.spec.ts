import { existsSync } from 'node:fs';
import { ConfigError, readConfig } from './config.js';

const PRODUCTION = {
  NODE_ENV: 'production',
  REDIS_URL: 'rediss://cache.example:6379',
  AUTH_MODE: 'none',
  MEDIA_SIGNING_SECRET: 'a-secret-of-some-length',
  INTERNAL_API_TOKEN: 'a-token-of-some-length',
};
const faults = (environment: NodeJS.ProcessEnv): readonly string[] => {
  try {
    readConfig(environment);
    return [];
  } catch (error) {
    return (error as ConfigError).faults.map((fault) => fault.split(':', 1)[0]!);
  }
};

describe('the configuration', () => {
  it('needs nothing outside production', () => {
    const config = readConfig({});
    expect(config).toMatchObject({
      HOST: '127.0.0.1',
      PORT: 3000,
      SESSION_STORE: 'memory',
      MEDIA_SIGNING: 'hmac',
      LOG_LEVEL: 'info',
      LOG_FORMAT: 'pretty',
      production: false,
    });
    expect(config.policy).toEqual({
      limit: 3,
      idleAfterMs: 10_000,
      expireAfterMs: 30_000,
      leaseMs: 5_000,
      maxPauseMs: 1_800_000,
    });
    expect(existsSync(`${config.STREAM_ORIGIN}/test-pattern/index.m3u8`)).toBe(true);
    expect(readConfig({}).MEDIA_SIGNING_SECRET).not.toBe(config.MEDIA_SIGNING_SECRET);
  });

  it('defaults to what production needs, in production', () => {
    expect(readConfig(PRODUCTION)).toMatchObject({
      HOST: '0.0.0.0',
      SESSION_STORE: 'redis',
      LOG_FORMAT: 'json',
    });
    expect(readConfig({ ...PRODUCTION, REDIS_URL: undefined, SESSION_STORE: 'memory' }).SESSION_STORE).toBe(
      'memory',
    );
  });

  it.each(Object.keys(PRODUCTION).filter((name) => name !== 'NODE_ENV'))(
    'does without %s nowhere in production',
    (name) => {
      expect(faults({ ...PRODUCTION, [name]: undefined })).toEqual([
        name === 'REDIS_URL' ? 'SESSION_STORE' : name,
      ]);
    },
  );

  it('takes Redis where it has a URL', () => {
    expect(readConfig({ REDIS_URL: 'redis://127.0.0.1:6379/1' }).SESSION_STORE).toBe('redis');
    expect(faults({ SESSION_STORE: 'redis' })).toEqual(['REDIS_URL']);
  });

  it('takes fractions of a second, and never holds a place longer than a session would', () => {
    expect(readConfig({ PHASE_SECONDS: '0.2', IDLE_PHASES: '1' }).policy).toEqual({
      limit: 3,
      maxPauseMs: 1_800_000,
      idleAfterMs: 200,
      expireAfterMs: 200,
      leaseMs: 200,
    });
  });

  it.each([
    ['PORT', '-1'],
    ['PORT', '80.5'],
    ['PORT', 'http'],
    ['PORT', '0x10'],
    ['PORT', ' 80'],
    ['MAX_SESSIONS_PER_USER', '1e3'],
    ['MAX_SESSIONS_PER_USER', 'Infinity'],
    ['PHASE_SECONDS', '0.19'],
    ['PHASE_SECONDS', 'NaN'],
    ['PHASE_SECONDS', '0.3333'],
    ['IDLE_PHASES', '0'],
    ['STREAM_ORIGIN', 'https://origin.example/index.m3u8'],
    ['MEDIA_BASE_URL', 'cdn.example'],
    ['MEDIA_BASE_URL', 'https://cdn.example/?a=b'],
    ['LOG_FORMAT', 'xml'],
    ['REDIS_URL', 'redis://:pa#ss@cache.example:6379'],
    ['REDIS_URL', 'redis://cache.example:notaport'],
    ['REDIS_URL', 'redis://'],
    ['REDIS_URL', 'redis://cache.example/99'],
    ['REDIS_URL', 'redis://cache.example/abc'],
    ['REDIS_URL', 'redis://:s3%zz@cache.example'],
    ['STREAM_ORIGIN', 'https://user:password@origin.example/{stream_id}/index.m3u8'],
    ['STREAM_ORIGIN', 'https://{stream_id}.example/index.m3u8'],
    ['STREAM_ORIGIN', '/no/such/folder'],
    ['STREAM_ORIGIN', __filename],
    ['INTERNAL_API_TOKEN', 'a token with spaces'],
  ])('refuses %s=%s', (name, value) => {
    expect(faults({ [name]: value })).toEqual([name]);
  });

  it('says what to give, in one message a variable', () => {
    const tell = (environment: NodeJS.ProcessEnv): string => {
      try {
        readConfig(environment);
        return 'nothing';
      } catch (error) {
        return (error as ConfigError).faults.join('\n');
      }
    };
    expect(tell({ PORT: 'http' })).toBe('PORT: must be a whole number from 0 to 65535');
    expect(tell({ IDLE_PHASES: '0.5' })).toBe('IDLE_PHASES: must be a whole number from 1 to 1000');
    expect(tell({ ...PRODUCTION, INTERNAL_API_TOKEN: undefined })).toBe(
      'INTERNAL_API_TOKEN: must be a token without a space; production does not start with /internal unguarded',
    );
  });

  it.each(['AUTH_JWKS_URL', 'STREAM_LIMIT_CLAIM', 'CLOUDFRONT_PRIVATE_KEY'])(
    'tells that %s has no effect yet',
    (name) => {
      expect(readConfig({ [name]: '1' }).warnings).toEqual([
        expect.stringContaining(`${name} has no effect: `),
      ]);
      expect(readConfig({ warnings: 'x', production: 'x' })).toMatchObject({
        warnings: [],
        production: false,
      });
    },
  );

  it('warns of secrets that can be guessed, by name', () => {
    const { warnings } = readConfig({ INTERNAL_API_TOKEN: 'hunter2', MEDIA_SIGNING_SECRET: 'x'.repeat(16) });
    expect(warnings).toEqual(['INTERNAL_API_TOKEN is short: give at least 16 random characters']);
  });

  it('keeps nothing of the environment but its own variables', () => {
    expect(Object.keys(readConfig({ AWS_SECRET_ACCESS_KEY: 'x', PATH: '/bin' }))).not.toContain(
      'AWS_SECRET_ACCESS_KEY',
    );
  });
});
