import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdtempDisposableSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

const messageOf = (environment: NodeJS.ProcessEnv): string => {
  try {
    readConfig(environment);
    return 'nothing';
  } catch (error) {
    return (error as ConfigError).faults.join('\n');
  }
};

describe('the configuration', () => {
  it('needs no variable outside production', () => {
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
      quota: { maxSessions: 3 },
      idleAfterMs: 10_000,
      expireAfterMs: 30_000,
      leaseMs: 5_000,
      maxPauseMs: 1_800_000,
      maxAheadMs: 60_000,
      pacedAheadMs: 40_000,
    });
    expect(existsSync(`${config.STREAM_ORIGIN}/test-pattern/index.m3u8`)).toBe(true);
    expect(readConfig({}).MEDIA_SIGNING_SECRET).not.toBe(config.MEDIA_SIGNING_SECRET);
  });

  it('has other defaults in production', () => {
    expect(readConfig(PRODUCTION)).toMatchObject({
      HOST: '0.0.0.0',
      SESSION_STORE: 'redis',
      LOG_FORMAT: 'json',
    });
    expect(readConfig({ ...PRODUCTION, REDIS_URL: undefined, SESSION_STORE: 'memory' }).SESSION_STORE).toBe(
      'memory',
    );
  });

  it.each(Object.keys(PRODUCTION).filter((name) => !['NODE_ENV', 'AUTH_MODE'].includes(name)))(
    'does without %s nowhere in production',
    (name) => {
      expect(faults({ ...PRODUCTION, [name]: undefined })).toEqual([
        name === 'REDIS_URL' ? 'SESSION_STORE' : name,
      ]);
    },
  );

  it('limits the requests of users and addresses, and trusts no proxy, by default', () => {
    expect(readConfig({})).toMatchObject({
      RATE_LIMIT_PER_USER: 50,
      RATE_LIMIT_PER_ADDRESS: 2_000,
      TRUSTED_PROXIES: [],
    });
    expect(readConfig({ TRUSTED_PROXIES: '10.0.0.0/16, 192.0.2.1,2001:db8::/32' }).TRUSTED_PROXIES).toEqual([
      '10.0.0.0/16',
      '192.0.2.1',
      '2001:db8::/32',
    ]);
  });

  it('allows pages of the listed origins only, and refuses `*` in production', () => {
    expect(readConfig({}).CORS_ALLOWED_ORIGINS).toEqual([]);
    expect(readConfig({ CORS_ALLOWED_ORIGINS: '*' }).CORS_ALLOWED_ORIGINS).toEqual(['*']);
    expect(faults({ ...PRODUCTION, CORS_ALLOWED_ORIGINS: '*' })).toEqual(['CORS_ALLOWED_ORIGINS']);
    const named = ['https://example.com', 'http://localhost:8080'];
    expect(
      readConfig({ ...PRODUCTION, CORS_ALLOWED_ORIGINS: named.join(', ') }).CORS_ALLOWED_ORIGINS,
    ).toEqual(named);
  });

  it('uses Redis if it has a URL', () => {
    expect(readConfig({ REDIS_URL: 'redis://127.0.0.1:6379/1' }).SESSION_STORE).toBe('redis');
    expect(faults({ SESSION_STORE: 'redis' })).toEqual(['REDIS_URL']);
  });

  it.each([
    ['redis://app:s%40crets@cache.example/1', {}, { username: 'app', password: 's@crets' }],
    ['redis://app@cache.example/1', { REDIS_PASSWORD: 'p' }, { username: 'app', password: 'p' }],
    ['redis://app:@cache.example/1', { REDIS_PASSWORD: 'p' }, { username: 'app', password: 'p' }],
    ['redis://:p@cache.example/1', { REDIS_USERNAME: 'app' }, { username: 'app', password: 'p' }],
    ['redis://cache.example/1', {}, { username: undefined, password: undefined }],
  ])('takes the user and the password of Redis from %s and %j', (REDIS_URL, variables, credentials) => {
    const { redisEndpoint } = readConfig({ REDIS_URL, ...variables });
    expect(redisEndpoint).toEqual({
      url: 'redis://cache.example/1',
      isCluster: false,
      awaitsReplica: false,
      ...credentials,
    });
  });

  it('waits for a replica on request, and not with the embedded store, which has none', () => {
    const asked = { ADMIT_DURABILITY: 'replicated' };
    expect(readConfig({ ...asked, REDIS_URL: 'redis://host' }).redisEndpoint.awaitsReplica).toBe(true);
    expect(faults(asked)).toEqual(['ADMIT_DURABILITY']);
    expect(faults({ ADMIT_DURABILITY: 'always', REDIS_URL: 'redis://host' })).toEqual(['ADMIT_DURABILITY']);
  });

  it('takes Sentinels as host:port, and not for a cluster', () => {
    const REDIS_URL = 'rediss://films/2';
    const given = {
      REDIS_URL,
      REDIS_SENTINELS: 'a.example:26379, [::1]:26380',
      REDIS_SENTINEL_PASSWORD: 'p',
    };
    expect(readConfig(given).redisEndpoint).toMatchObject({
      url: REDIS_URL,
      sentinels: { addresses: ['a.example:26379', '[::1]:26380'], master: 'mymaster', password: 'p' },
    });
    for (const REDIS_SENTINELS of [
      'a.example',
      'redis://a.example:1',
      'a.example:26379/1',
      'p@a.example:1',
      ',',
    ])
      expect(faults({ REDIS_URL, REDIS_SENTINELS })).toEqual(['REDIS_SENTINELS']);
    const cluster = { REDIS_URL: 'redis://films', REDIS_CLUSTER: 'true' };
    expect(faults({ ...cluster, REDIS_SENTINELS: 'a.example:1' })).toEqual(['REDIS_SENTINELS']);
    const SECRET = 'a-secret-of-sentinels';
    expect(readConfig({ ...given, REDIS_SENTINEL_PASSWORD: SECRET }).secrets).toContain(SECRET);
  });

  it('hides the password of a URL from the log, as it is and as the URL has it', () => {
    const { secrets } = readConfig({ REDIS_URL: 'redis://app:s%40crets-s@cache.example' });
    expect(secrets).toEqual(expect.arrayContaining(['s%40crets-s', 's@crets-s']));
  });

  it('refuses a user or password of Redis that is given twice and differs, by name', () => {
    const REDIS_URL = 'redis://app:value-of-url@cache.example';
    const twice = { REDIS_URL, REDIS_USERNAME: 'other-value', REDIS_PASSWORD: 'other-value' };
    expect(faults(twice)).toEqual(['REDIS_USERNAME', 'REDIS_PASSWORD']);
    expect(messageOf(twice)).not.toContain('value');
    expect(faults({ ...twice, REDIS_USERNAME: 'app', REDIS_PASSWORD: 'value-of-url' })).toEqual([]);
  });

  it('accepts fractions of a second, and has no lease longer than n·X', () => {
    expect(readConfig({ PHASE_SECONDS: '0.2', IDLE_PHASES: '1' }).policy).toEqual({
      quota: { maxSessions: 3 },
      maxPauseMs: 1_800_000,
      maxAheadMs: 60_000,
      pacedAheadMs: 59_600,
      idleAfterMs: 200,
      expireAfterMs: 200,
      leaseMs: 200,
    });
  });

  it('keeps the place of a paused player for MAX_PAUSE_SECONDS, which may be 0', () => {
    for (const seconds of [0, 1, 86_400])
      expect(readConfig({ MAX_PAUSE_SECONDS: String(seconds) }).policy.maxPauseMs).toBe(seconds * 1_000);
  });

  it.each([
    ['MAX_PAUSE_SECONDS', '-1'],
    ['MAX_PAUSE_SECONDS', '0.5'],
    ['MAX_PAUSE_SECONDS', '86401'],
    ['MAX_PAUSE_SECONDS', 'forever'],
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
    ['STREAM_ORIGIN_REDIRECTS', 'other.example'],
    ['STREAM_ORIGIN_REDIRECTS', 'https://other.example/vod'],
    ['STREAM_ORIGIN_REDIRECTS', 'https://other.example,file:///etc'],
    ['STREAM_ORIGIN_ALIASES', 'cdn.example'],
    ['STREAM_ORIGIN_ALIASES', 'https://cdn.example/vod,https://user:password@cdn.example/'],
    ['STREAM_ORIGIN', __filename],
    ['INTERNAL_API_TOKEN', 'a token with spaces'],
    ['RATE_LIMIT_PER_USER', '-1'],
    ['RATE_LIMIT_PER_USER', '0.5'],
    ['RATE_LIMIT_PER_ADDRESS', '1000001'],
    ['CORS_ALLOWED_ORIGINS', 'example.com'],
    ['CORS_ALLOWED_ORIGINS', 'https://example.com/'],
    ['CORS_ALLOWED_ORIGINS', 'https://EXAMPLE.com'],
    ['CORS_ALLOWED_ORIGINS', 'https://user@example.com'],
    ['CORS_ALLOWED_ORIGINS', 'https://*.example.com'],
    ['CORS_ALLOWED_ORIGINS', 'null'],
    ['CORS_ALLOWED_HEADERS', '*'],
    ['CORS_ALLOWED_HEADERS', 'x-app, x app'],
    ['TRUSTED_PROXIES', 'loopback'],
    ['TRUSTED_PROXIES', 'balancer.example'],
    ['TRUSTED_PROXIES', '10.0.0.0/33'],
    ['TRUSTED_PROXIES', '10.0.0.0/8/8'],
    ['TRUSTED_PROXIES', '10.0.0.1,'],
    ['TRUSTED_PROXIES', '0.0.0.0/0'],
    ['TRUSTED_PROXIES', '::/0'],
    ['TRUSTED_PROXIES', 'fe80::1%eth0'],
  ])('refuses %s=%s', (name, value) => {
    expect(faults({ [name]: value })).toEqual([name]);
  });

  it('says which values are valid, in one message for each variable', () => {
    expect(messageOf({ PORT: 'http' })).toBe('PORT: must be a whole number from 0 to 65535');
    expect(messageOf({ IDLE_PHASES: '0.5' })).toBe('IDLE_PHASES: must be a whole number from 1 to 1000');
    expect(messageOf({ ...PRODUCTION, INTERNAL_API_TOKEN: undefined })).toBe(
      'INTERNAL_API_TOKEN: must be a token without a space; production does not start with /internal unguarded',
    );
  });

  it('does not read its computed values from the environment', () => {
    expect(readConfig({ warnings: 'x', production: 'x' })).toMatchObject({
      warnings: [],
      production: false,
    });
  });

  it('warns about secrets that can be guessed, by name', () => {
    const { warnings } = readConfig({ INTERNAL_API_TOKEN: 'hunter2', MEDIA_SIGNING_SECRET: 'x'.repeat(16) });
    expect(warnings).toEqual(['INTERNAL_API_TOKEN is short: give at least 16 random characters']);
  });

  it('keeps only its own variables of the environment', () => {
    expect(Object.keys(readConfig({ AWS_SECRET_ACCESS_KEY: 'x', PATH: '/bin' }))).not.toContain(
      'AWS_SECRET_ACCESS_KEY',
    );
  });
});

describe('the configuration of signers', () => {
  const pemOf = (modulusLength: number): string =>
    generateKeyPairSync('rsa', { modulusLength }).privateKey.export({
      type: 'pkcs8',
      format: 'pem',
    }) as string;
  const CLOUDFRONT_PRIVATE_KEY = pemOf(2_048);
  const MEDIA_BASE_URL = 'https://media.example/films';
  const MEDIA_SIGNING_SECRET = 'a-secret-of-some-length';
  const SECURE_LINK = { MEDIA_SIGNING: 'secure-link', MEDIA_BASE_URL, MEDIA_SIGNING_SECRET };
  const CLOUDFRONT = {
    MEDIA_SIGNING: 'cloudfront',
    MEDIA_BASE_URL,
    CLOUDFRONT_KEY_PAIR_ID: 'K2JCJMDEHXQW5F',
    CLOUDFRONT_PRIVATE_KEY,
  };

  it.each([
    ['secure-link', SECURE_LINK],
    ['cloudfront', CLOUDFRONT],
  ])('of %s need a base that is not this service, and X of two seconds', (_signer, environment) => {
    expect(readConfig(environment).warnings).toEqual([]);
    expect(faults({ ...environment, MEDIA_BASE_URL: undefined })).toEqual(['MEDIA_BASE_URL']);
    expect(faults({ ...environment, MEDIA_BASE_URL: 'media.example' })).toEqual(['MEDIA_BASE_URL']);
    const STREAM_ORIGIN = 'https://origin.example/{stream_id}/index.m3u8';
    expect(faults({ ...environment, MEDIA_BASE_URL: undefined, STREAM_ORIGIN })).toEqual([]);
    expect(faults({ ...environment, PHASE_SECONDS: '1.999' })).toEqual(['PHASE_SECONDS']);
    expect(faults({ ...environment, PHASE_SECONDS: '2' })).toEqual([]);
  });

  it('says that a folder needs MEDIA_BASE_URL, and why', () => {
    expect(messageOf({ ...SECURE_LINK, MEDIA_BASE_URL: undefined })).toMatch(
      /^MEDIA_BASE_URL: must be .*secure-link and cloudfront need it where STREAM_ORIGIN is a folder/,
    );
  });

  it('needs the secret of nginx for secure-link', () => {
    expect(faults({ ...PRODUCTION, ...SECURE_LINK, MEDIA_SIGNING_SECRET: '' })).toEqual([
      'MEDIA_SIGNING_SECRET',
    ]);
    expect(readConfig({ ...SECURE_LINK, MEDIA_SIGNING_SECRET: '' }).warnings).toEqual([
      'MEDIA_SIGNING_SECRET is not set: URLs are signed with one generated at start, which nginx cannot check',
    ]);
  });

  it('needs the key for cloudfront, and no secret', () => {
    expect(faults({ ...PRODUCTION, ...CLOUDFRONT, MEDIA_SIGNING_SECRET: '' })).toEqual([]);
    for (const name of ['CLOUDFRONT_KEY_PAIR_ID', 'CLOUDFRONT_PRIVATE_KEY'])
      expect(faults({ ...CLOUDFRONT, [name]: undefined })).toEqual([name]);
  });

  it('accepts the key in one line, and from a file', () => {
    const inOneLine = CLOUDFRONT_PRIVATE_KEY.replaceAll('\n', '\\n');
    expect(readConfig({ ...CLOUDFRONT, CLOUDFRONT_PRIVATE_KEY: inOneLine })).toMatchObject({
      CLOUDFRONT_PRIVATE_KEY,
    });
    using folder = mkdtempDisposableSync(join(tmpdir(), 'streamgate-'));
    const file = join(folder.path, 'key.pem');
    writeFileSync(file, CLOUDFRONT_PRIVATE_KEY);
    const fromFile = { ...CLOUDFRONT, CLOUDFRONT_PRIVATE_KEY: undefined, CLOUDFRONT_PRIVATE_KEY_FILE: file };
    expect(readConfig(fromFile)).toMatchObject({ CLOUDFRONT_PRIVATE_KEY: CLOUDFRONT_PRIVATE_KEY.trim() });
  });

  const locked = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  it.each([
    ['CLOUDFRONT_KEY_PAIR_ID', 'value with spaces'],
    ['CLOUDFRONT_PRIVATE_KEY', 'value'],
    ['CLOUDFRONT_PRIVATE_KEY', CLOUDFRONT_PRIVATE_KEY.slice(0, 900)],
    ['CLOUDFRONT_PRIVATE_KEY', pemOf(1_024)],
    ['CLOUDFRONT_PRIVATE_KEY', locked.publicKey.export({ type: 'spki', format: 'pem' }) as string],
    [
      'CLOUDFRONT_PRIVATE_KEY',
      locked.privateKey.export({
        type: 'pkcs8',
        format: 'pem',
        cipher: 'aes-256-cbc',
        passphrase: 'value',
      }) as string,
    ],
    [
      'CLOUDFRONT_PRIVATE_KEY',
      generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
        type: 'pkcs8',
        format: 'pem',
      }) as string,
    ],
    ['MEDIA_SIGNING', 'value'],
  ])('refuse an unusable %s, by name and never by value', (name, value) => {
    const message = messageOf({ ...CLOUDFRONT, [name]: value });
    expect(message).toMatch(new RegExp(`^${name}: must be [^\n]+$`));
    expect(message).not.toMatch(/value|-----|MII/);
  });

  it.each(['CLOUDFRONT_KEY_PAIR_ID', 'CLOUDFRONT_PRIVATE_KEY'])(
    'tell that %s has no effect for another signer',
    (name) => {
      expect(readConfig({ [name]: 'x' }).warnings).toEqual([
        `${name} has no effect: MEDIA_SIGNING is not cloudfront`,
      ]);
    },
  );
});

describe('the configuration of callbacks', () => {
  const CALLBACK_URL = 'https://hooks.example/streamgate?tenant=7';
  const secretOf = (bytes: number, byte = 7): string =>
    `whsec_${Buffer.alloc(bytes, byte).toString('base64')}`;
  const CALLBACK_SECRET = secretOf(24);
  const warnings = (environment: NodeJS.ProcessEnv) => readConfig(environment).warnings;

  it('is off by default; with a URL, expiries and ends are posted, in up to 20 tries', () => {
    const defaults = { CALLBACK_EVENTS: ['session.expired', 'session.ended'], CALLBACK_MAX_TRIES: 20 };
    const off = readConfig({});
    expect(off).toMatchObject({ CALLBACK_URL: undefined, ...defaults });
    expect([off.receivers, off.subscriptions]).toEqual([[], [{ receiver: 'default', events: [] }]]);
    const on = readConfig({ CALLBACK_URL, CALLBACK_SECRET });
    expect(on).toMatchObject({ CALLBACK_URL, ...defaults, warnings: [] });
    const events = defaults.CALLBACK_EVENTS;
    expect(on.receivers).toMatchObject([{ receiver: 'default', url: CALLBACK_URL, events }]);
  });

  it('posts the listed events, and none without a receiver', () => {
    const CALLBACK_EVENTS = ' session.refused , session.started';
    const config = readConfig({ CALLBACK_URL, CALLBACK_SECRET, CALLBACK_EVENTS });
    expect(config.subscriptions[0]!.events).toEqual(['session.refused', 'session.started']);
    expect(readConfig({ CALLBACK_EVENTS }).subscriptions[0]!.events).toEqual([]);
  });

  it('signs with each of several secrets, in their order', () => {
    const secrets = [secretOf(24, 1), secretOf(32, 2), secretOf(64, 3)].join(' ');
    expect(readConfig({ CALLBACK_URL, CALLBACK_SECRET: secrets }).receivers[0]!.keys).toEqual([
      Buffer.alloc(24, 1),
      Buffer.alloc(32, 2),
      Buffer.alloc(64, 3),
    ]);
    const unpadded = secretOf(25).replace(/=+$/, '');
    expect(readConfig({ CALLBACK_URL, CALLBACK_SECRET: unpadded }).receivers[0]!.keys).toEqual([
      Buffer.alloc(25, 7),
    ]);
  });

  it('reads the secret from a file', () => {
    using folder = mkdtempDisposableSync(join(tmpdir(), 'streamgate-'));
    const file = join(folder.path, 'secret');
    writeFileSync(file, `${CALLBACK_SECRET}\n`);
    expect(readConfig({ CALLBACK_URL, CALLBACK_SECRET_FILE: file })).toMatchObject({
      CALLBACK_SECRET,
      warnings: [],
    });
    expect(faults({ CALLBACK_URL, CALLBACK_SECRET, CALLBACK_SECRET_FILE: file })).toEqual([
      'CALLBACK_SECRET_FILE',
    ]);
    expect(warnings({ CALLBACK_SECRET_FILE: file })).toEqual([
      'CALLBACK_SECRET has no effect: CALLBACK_URL is not set',
    ]);
  });

  it('refuses an empty secret file, because an empty key is known to everybody', () => {
    using folder = mkdtempDisposableSync(join(tmpdir(), 'streamgate-'));
    const file = join(folder.path, 'secret');
    writeFileSync(file, '\n');
    for (const name of ['MEDIA_SIGNING_SECRET', 'TICKET_SECRET', 'INTERNAL_API_TOKEN', 'API_TOKENS'])
      expect([name, faults({ [`${name}_FILE`]: file })]).toEqual([name, [`${name}_FILE`]]);
  });

  it('generates a secret at each start outside production, and warns that receivers cannot check it', () => {
    const [one, another] = [readConfig({ CALLBACK_URL }), readConfig({ CALLBACK_URL })];
    const [[key], [anotherKey]] = [one.receivers[0]!.keys, another.receivers[0]!.keys];
    expect(key).toHaveLength(32);
    expect(key).not.toEqual(anotherKey);
    expect(one.warnings).toEqual([
      'CALLBACK_SECRET is not set: callbacks are signed with one made at start, which nobody can check',
    ]);
  });

  it('needs a secret in production if there is a URL, and only then', () => {
    expect(faults({ ...PRODUCTION, CALLBACK_URL })).toEqual(['CALLBACK_SECRET']);
    expect(faults({ ...PRODUCTION, CALLBACK_URL, CALLBACK_SECRET })).toEqual([]);
    expect(faults(PRODUCTION)).toEqual([]);
  });

  it.each([
    ['CALLBACK_URL', 'hooks.value.example'],
    ['CALLBACK_URL', 'ftp://hooks.value.example/'],
    ['CALLBACK_URL', 'https://user:value@hooks.example/'],
    ['CALLBACK_URL', 'https://hooks.value.example/a b'],
    ['CALLBACK_SECRET', 'a-plain-value-of-some-length'],
    ['CALLBACK_SECRET', 'whsec_'],
    ['CALLBACK_SECRET', 'whsec_value-with_url-safe-letters'],
    ['CALLBACK_SECRET', `${CALLBACK_SECRET},${CALLBACK_SECRET}`],
    ['CALLBACK_SECRET', `${CALLBACK_SECRET}  ${CALLBACK_SECRET}`],
    ['CALLBACK_SECRET', `${CALLBACK_SECRET} value`],
    ['CALLBACK_EVENTS', 'session.value'],
    ['CALLBACK_EVENTS', 'session.ended,session.value'],
    ['CALLBACK_EVENTS', 'session.ended,,session.expired'],
    ['CALLBACK_EVENTS', 'Session.Ended'],
    ['CALLBACK_EVENTS', 'ended'],
    ['CALLBACK_MAX_TRIES', '0'],
    ['CALLBACK_MAX_TRIES', '101'],
    ['CALLBACK_MAX_TRIES', '2.5'],
    ['CALLBACK_MAX_TRIES', 'value'],
  ])('refuses %s=%s, by name and never by value', (name, value) => {
    const message = messageOf({ CALLBACK_URL, CALLBACK_SECRET, [name]: value });
    expect(message).toMatch(new RegExp(`^${name}: must be [^\n]+$`));
    expect(message).not.toMatch(/value/);
  });

  it('reports all its errors together', () => {
    const all = { CALLBACK_URL: 'x', CALLBACK_SECRET: 'x', CALLBACK_EVENTS: 'x', CALLBACK_MAX_TRIES: 'x' };
    expect(faults(all).toSorted()).toEqual(Object.keys(all).toSorted());
    expect(faults({ CALLBACK_SECRET: 'whsec_' })).toEqual(['CALLBACK_SECRET']);
  });

  it.each([
    ['CALLBACK_SECRET', CALLBACK_SECRET],
    ['CALLBACK_EVENTS', 'session.ended'],
    ['CALLBACK_MAX_TRIES', '5'],
  ])('tells that %s has no effect without CALLBACK_URL', (name, value) => {
    expect(warnings({ [name]: value })).toEqual([`${name} has no effect: CALLBACK_URL is not set`]);
    expect(warnings({ CALLBACK_URL, CALLBACK_SECRET, [name]: value })).toEqual([]);
  });

  it('warns about a secret that is too short, at any position', () => {
    const short = ['CALLBACK_SECRET is short: give at least 24 random bytes, in base64'];
    expect(warnings({ CALLBACK_URL, CALLBACK_SECRET: secretOf(23) })).toEqual(short);
    expect(warnings({ CALLBACK_URL, CALLBACK_SECRET: `${secretOf(24)} ${secretOf(23)}` })).toEqual(short);
    expect(warnings({ CALLBACK_URL, CALLBACK_SECRET: secretOf(24) })).toEqual([]);
  });
});

describe('the configuration of several receivers', () => {
  const secretOf = (byte: number): string => `whsec_${Buffer.alloc(24, byte).toString('base64')}`;
  const CALLBACK_SECRET = secretOf(7);
  const list = (...receivers: object[]): string => JSON.stringify(receivers);
  const receiver = (more: object = {}) => ({ name: 'crm', url: 'https://crm.example/hook', ...more });

  it('is URLs, separated by white space; each is named by its host', () => {
    const CALLBACK_URLS = ' https://a.example/x?y=1,2\nhttp://b.example:8080/ ';
    const { receivers, subscriptions, warnings } = readConfig({ CALLBACK_URLS, CALLBACK_SECRET });
    const events = ['session.expired', 'session.ended'];
    expect(receivers).toEqual([
      { receiver: 'a.example', url: 'https://a.example/x?y=1,2', events, keys: [Buffer.alloc(24, 7)] },
      { receiver: 'b.example-8080', url: 'http://b.example:8080/', events, keys: [Buffer.alloc(24, 7)] },
    ]);
    expect([subscriptions, warnings]).toEqual([receivers, []]);
  });

  it('is JSON, where each receiver has its own events and secrets', () => {
    const CALLBACK_URLS = list(
      receiver({ events: ['session.started'], secret: `${secretOf(1)} ${secretOf(2)}` }),
      { name: 'default', url: 'https://a.example' },
    );
    const config = readConfig({ CALLBACK_URLS, CALLBACK_SECRET, CALLBACK_EVENTS: 'session.moved' });
    expect(config.receivers).toMatchObject([
      { receiver: 'crm', events: ['session.started'], keys: [Buffer.alloc(24, 1), Buffer.alloc(24, 2)] },
      { receiver: 'default', events: ['session.moved'], keys: [Buffer.alloc(24, 7)] },
    ]);
  });

  it('needs a secret for each in production, and no common one if each has its own', () => {
    const CALLBACK_URLS = list(receiver());
    expect(faults({ ...PRODUCTION, CALLBACK_URLS })).toEqual(['CALLBACK_URLS']);
    expect(faults({ ...PRODUCTION, CALLBACK_URLS, CALLBACK_SECRET })).toEqual([]);
    const own = { CALLBACK_URLS: list(receiver({ secret: secretOf(1) })) };
    expect(faults({ ...PRODUCTION, ...own })).toEqual([]);
    expect(readConfig(own).warnings).toEqual([]);
    expect(readConfig({ CALLBACK_URLS }).warnings).toEqual([
      'CALLBACK_SECRET is not set: callbacks are signed with one made at start, which nobody can check',
    ]);
  });

  it('keeps its secrets and URLs out of the log', () => {
    const secret = secretOf(1);
    const { secrets } = readConfig({ CALLBACK_URLS: list(receiver({ secret })), CALLBACK_SECRET });
    expect(secrets).toEqual(expect.arrayContaining([secret, 'https://crm.example/hook']));
  });

  it('warns about a short secret of a receiver', () => {
    const short = `whsec_${Buffer.alloc(23, 1).toString('base64')}`;
    expect(readConfig({ CALLBACK_URLS: list(receiver({ secret: short })) }).warnings).toEqual([
      'CALLBACK_URLS has a secret that is short: give at least 24 random bytes, in base64',
    ]);
  });

  it('is refused beside CALLBACK_URL, which would be ambiguous', () => {
    const both = { CALLBACK_URL: 'https://a.example', CALLBACK_URLS: list(receiver()), CALLBACK_SECRET };
    expect(messageOf(both)).toMatch(/^CALLBACK_URLS: must not be set beside CALLBACK_URL/);
  });

  it.each([
    ['not a URL', 'value.example', 'number 1 has no http(s):// URL'],
    ['credentials', 'https://u:value@a.example', 'number 1 has no http(s):// URL'],
    ['commas between URLs', 'https://a.example, https://value.example', 'number 1 has no name'],
    ['one host twice', 'https://a.example/value https://a.example/b', 'another name'],
    ['broken JSON', '[{"name":"value"', 'JSON list'],
    ['JSON of texts', '["https://value.example"]', 'JSON list'],
    ['an empty list', '[]', 'JSON list'],
    ['no name', list({ url: 'https://value.example' }), 'number 1 has no name'],
    ['a name that is no label', list(receiver({ name: 'The value' })), 'number 1 has no name'],
    ['one name twice', list(receiver(), receiver()), 'another name'],
    ['unknown events', list(receiver(), receiver({ name: 'b', events: ['value'] })), 'number 2 has events'],
    ['no events', list(receiver({ events: [] })), 'number 1 has events'],
    ['a secret of another form', list(receiver({ secret: 'value' })), 'number 1 has a secret'],
    ['an unknown member', list(receiver({ secrets: 'value' })), 'number 1 has a member'],
    ['too many', list(...Array.from({ length: 9 }, (_, n) => receiver({ name: `r${n}` }))), 'at most 8'],
  ])('refuses %s, and says which receiver, without a value', (_, CALLBACK_URLS, reason) => {
    const message = messageOf({ CALLBACK_URLS, CALLBACK_SECRET });
    expect(message).toMatch(/^CALLBACK_URLS: must [^\n]+$/);
    expect(message).toContain(reason);
    expect(message).not.toMatch(/value|crm/);
  });
});

describe('the configuration of callers', () => {
  const pemOf = (type: 'rsa' | 'ec' | 'ed25519', options: object, which: 'publicKey' | 'privateKey') => {
    const pair = generateKeyPairSync(type as 'rsa', options as { modulusLength: number });
    return pair[which].export({
      type: which === 'publicKey' ? 'spki' : 'pkcs8',
      format: 'pem',
    } as never) as unknown as string;
  };
  const RSA = pemOf('rsa', { modulusLength: 2_048 }, 'publicKey');
  const JWT = { AUTH_MODE: 'jwt', AUTH_ISSUER: 'https://id.example', AUTH_AUDIENCE: 'streamgate' };
  const JWKS = { ...JWT, AUTH_JWKS_URL: 'https://id.example/keys' };
  const SECRET = 's'.repeat(32);

  it('is jwt in production unless it is set to none, which raises an alarm', () => {
    const jwt = { ...PRODUCTION, ...JWKS, AUTH_MODE: undefined };
    expect(readConfig(jwt)).toMatchObject({ AUTH_MODE: 'jwt', warnings: [] });
    expect(faults({ ...PRODUCTION, AUTH_MODE: undefined })).toEqual([
      'AUTH_JWKS_URL',
      'AUTH_ISSUER',
      'AUTH_AUDIENCE',
    ]);
    expect(readConfig(PRODUCTION)).toMatchObject({
      alarm: expect.stringContaining('AUTH_MODE is none'),
      warnings: [],
    });
    expect([readConfig(jwt).alarm, readConfig({}).alarm]).toEqual([undefined, undefined]);
    expect(readConfig({})).toMatchObject({ AUTH_MODE: 'none', warnings: [] });
    for (const HOST of ['127.0.0.1', 'localhost', '::1']) expect(readConfig({ HOST }).warnings).toEqual([]);
    for (const NODE_ENV of ['prod', 'development', ''])
      expect(readConfig({ NODE_ENV, HOST: '0.0.0.0' }).warnings).toEqual([
        expect.stringContaining('HOST accepts connections of other machines'),
      ]);
  });

  it('needs an issuer, an audience and one key', () => {
    const url = JWKS.AUTH_JWKS_URL;
    const two = { ...JWKS, AUTH_ISSUER: 'https://a.example, https://b.example' };
    expect(faults(two)).toEqual(['AUTH_JWKS_URL']);
    expect(faults({ ...two, AUTH_JWKS_URL: `${url} ${url}` })).toEqual([]);
    expect(faults({ ...JWKS, AUTH_JWKS_URL: `${url} ${url}` })).toEqual(['AUTH_JWKS_URL']);
    expect(faults({ ...JWKS, AUTH_AUDIENCE: ' , ' })).toEqual(['AUTH_AUDIENCE']);
    for (const name of ['AUTH_ISSUER', 'AUTH_AUDIENCE', 'AUTH_JWKS_URL'])
      expect(faults({ ...JWKS, [name]: undefined })).toEqual([name]);
    expect(faults({ ...JWKS, AUTH_JWT_PUBLIC_KEY: RSA })).toEqual(['AUTH_JWT_PUBLIC_KEY']);
    expect(faults({ ...JWKS, AUTH_JWT_SECRET: SECRET })).toEqual(['AUTH_JWT_SECRET']);
    expect(faults({ ...JWT, AUTH_JWT_PUBLIC_KEY: RSA, AUTH_JWT_SECRET: SECRET })).toEqual([
      'AUTH_JWT_SECRET',
    ]);
  });

  it.each([
    ['AUTH_JWT_SECRET', SECRET, ['HS256']],
    ['AUTH_JWT_PUBLIC_KEY', RSA, ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']],
    [
      'AUTH_JWT_PUBLIC_KEY',
      RSA.replaceAll('\n', '\\n'),
      ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
    ],
    ['AUTH_JWT_PUBLIC_KEY', pemOf('ec', { namedCurve: 'P-256' }, 'publicKey'), ['ES256']],
    ['AUTH_JWT_PUBLIC_KEY', pemOf('ec', { namedCurve: 'P-384' }, 'publicKey'), ['ES384']],
    ['AUTH_JWT_PUBLIC_KEY', pemOf('ec', { namedCurve: 'P-521' }, 'publicKey'), ['ES512']],
    ['AUTH_JWT_PUBLIC_KEY', pemOf('ed25519', {}, 'publicKey'), ['EdDSA', 'Ed25519']],
  ])('pins the algorithms by the kind of key: %s', (name, value, algorithms) => {
    expect(readConfig({ ...JWT, [name]: value }).jwtAlgorithms).toEqual(algorithms);
  });

  it('allows no symmetric algorithm for published keys', () => {
    expect(readConfig(JWKS).jwtAlgorithms.filter((name) => /^HS|^none$/.test(name))).toEqual([]);
  });

  it.each([
    ['AUTH_JWKS_URL', 'value.example/keys'],
    ['AUTH_JWKS_URL', 'https://user:value@id.example/keys'],
    ['AUTH_JWT_SECRET', 'value-that-is-too-short'],
    ['AUTH_JWT_PUBLIC_KEY', 'value'],
    ['AUTH_JWT_PUBLIC_KEY', pemOf('rsa', { modulusLength: 2_048 }, 'privateKey')],
    ['AUTH_JWT_PUBLIC_KEY', pemOf('rsa', { modulusLength: 1_024 }, 'publicKey')],
    ['AUTH_JWT_PUBLIC_KEY', pemOf('ec', { namedCurve: 'secp256k1' }, 'publicKey')],
    ['MAX_SESSIONS_CEILING', '0'],
    ['MAX_SESSIONS_CEILING', '2'],
    ['API_TOKENS', 'value'],
    ['API_TOKENS', `ops:sessions:read:${'0'.repeat(63)}`],
    ['API_TOKENS', `ops:sessions:value:${'0'.repeat(64)}`],
    ['API_TOKENS', `ops::${'0'.repeat(64)}`],
    ['API_TOKENS', `ops:metrics:${'0'.repeat(64)},value:metrics:${'0'.repeat(64)}`],
  ])('refuses %s=%s, by name and never by value', (name, value) => {
    const message = messageOf({ ...(name.startsWith('AUTH_JWT') ? JWT : JWKS), [name]: value });
    expect(message).toMatch(new RegExp(`^${name}: must [^\n]+$`));
    expect(message).not.toMatch(/value|-----|MII|000/);
  });

  it('reads API tokens from a variable or a file, one per line, and several with the same name', () => {
    const entry = (name: string, scopes: string, byte: string) => `${name}:${scopes}:${byte.repeat(32)}`;
    const entries = [entry('ops', 'sessions:read,sessions:end', 'AB'), entry('ops', 'metrics', 'cd')];
    const expected = [
      { name: 'ops', scopes: ['sessions:read', 'sessions:end'], sha256: Buffer.alloc(32, 0xab) },
      { name: 'ops', scopes: ['metrics'], sha256: Buffer.alloc(32, 0xcd) },
    ];
    expect(readConfig({ API_TOKENS: entries.join(' ') }).apiTokens).toEqual(expected);
    using folder = mkdtempDisposableSync(join(tmpdir(), 'streamgate-'));
    const file = join(folder.path, 'tokens');
    writeFileSync(file, `${entries.join('\n')}\n`);
    expect(readConfig({ API_TOKENS_FILE: file }).apiTokens).toEqual(expected);
    expect(readConfig({}).apiTokens).toEqual([]);
  });

  it('needs a secret for tickets in production with jwt, and uses MEDIA_SIGNING_SECRET by default', () => {
    const cloudFront = {
      ...PRODUCTION,
      ...JWKS,
      MEDIA_SIGNING: 'cloudfront',
      MEDIA_SIGNING_SECRET: undefined,
      MEDIA_BASE_URL: 'https://media.example',
      CLOUDFRONT_KEY_PAIR_ID: 'K2JCJMDEHXQW5F',
      CLOUDFRONT_PRIVATE_KEY: pemOf('rsa', { modulusLength: 2_048 }, 'privateKey'),
    };
    expect(faults(cloudFront)).toEqual(['TICKET_SECRET']);
    expect(readConfig({ ...cloudFront, TICKET_SECRET: SECRET })).toMatchObject({ TICKET_SECRET: SECRET });
    expect(readConfig({ ...PRODUCTION, ...JWKS }).TICKET_SECRET).toBe(PRODUCTION.MEDIA_SIGNING_SECRET);
    expect(faults({ ...cloudFront, AUTH_MODE: 'none' })).toEqual([]);
    expect(readConfig({}).TICKET_SECRET).not.toBe(readConfig({}).TICKET_SECRET);
    expect(readConfig({ TICKET_SECRET: 'short' }).warnings).toEqual([
      'TICKET_SECRET is short: give at least 16 random characters',
    ]);
  });

  it('warns about keys fetched without TLS, and about variables without effect if AUTH_MODE is none', () => {
    const plain = { ...PRODUCTION, ...JWKS, AUTH_JWKS_URL: 'http://id.example/keys' };
    expect(readConfig(plain).warnings).toEqual([expect.stringContaining('AUTH_JWKS_URL is not https')]);
    const { AUTH_MODE: _, ...ofJwt } = { ...JWKS, STREAM_LIMIT_CLAIM: 'plan', MAX_SESSIONS_CEILING: '9' };
    for (const [name, value] of Object.entries(ofJwt))
      expect(readConfig({ [name]: value }).warnings).toEqual([`${name} has no effect: AUTH_MODE is none`]);
  });
});
