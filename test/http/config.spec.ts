import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readConfig } from '../../src/config/config.js';
import { useService } from '../support/service.js';
import { freePort } from '../support/redis-server.js';
import { endServiceProcesses, runService } from '../support/service-process.js';
import { until } from '../support/until.js';

const { version } = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8'));
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const TOKEN = 'SECRET-internal-token';
const SECRETS = {
  INTERNAL_API_TOKEN: TOKEN,
  API_TOKENS: `reader:config:read:${sha256('reader')} ender:sessions:end:${sha256('ender')}`,
  CALLBACK_URL: 'https://hooks.example/SECRET',
  CALLBACK_SECRET: `whsec_${Buffer.from('SECRET'.repeat(5)).toString('base64')}`,
};

describe('the configuration of an instance', () => {
  const service = useService('the embedded store', () => ({
    ...SECRETS,
    MAX_SESSIONS_PER_USER: '5',
    PHASE_SECONDS: '0.5',
    STREAM_ORIGIN: 'https://origin.example/{stream_id}/index.m3u8?token=SECRET',
    TRUSTED_PROXIES: '10.0.0.0/16,192.0.2.1',
    BUILD_COMMIT: '0123abc',
  }));
  const get = (token: string) =>
    service.send('get', '/internal/config', { authorization: `Bearer ${token}` });

  it('is shown with its version and commit, and every default', async () => {
    const { status, body } = await get(TOKEN);
    expect([status, body.version, body.commit]).toEqual([200, version, '0123abc']);
    expect(body.variables).toMatchObject({
      MAX_SESSIONS_PER_USER: 5,
      PHASE_SECONDS: 0.5,
      IDLE_PHASES: 3,
      HOST: '127.0.0.1',
      SESSION_STORE: 'memory',
      AUTH_MODE: 'none',
      AUTH_ISSUER: null,
      MEDIA_SIGNING: 'hmac',
      TRUSTED_PROXIES: ['10.0.0.0/16', '192.0.2.1'],
      CORS_ALLOWED_ORIGINS: [],
      CALLBACK_EVENTS: ['session.expired', 'session.ended'],
      STREAM_ORIGIN: 'https://origin.example/{stream_id}/index.m3u8?…',
    });
    const fields = Object.keys(readConfig({})).filter((name) => name === name.toUpperCase());
    expect(Object.keys(body.variables as object).toSorted()).toEqual(fields.toSorted());
  });

  it('shows only whether a secret was set', async () => {
    const { body, text } = await get(TOKEN);
    const isSet = Object.fromEntries(
      Object.entries(body.variables as Record<string, { set?: boolean } | null>).flatMap(([name, value]) =>
        typeof value?.set === 'boolean' ? [[name, value.set]] : [],
      ),
    );
    expect(isSet).toEqual({
      API_TOKENS: true,
      AUTH_JWT_PUBLIC_KEY: false,
      AUTH_JWT_SECRET: false,
      CALLBACK_SECRET: true,
      CALLBACK_URL: true,
      CALLBACK_URLS: false,
      CLOUDFRONT_PRIVATE_KEY: false,
      INTERNAL_API_TOKEN: true,
      LOG_USER_IDS_SECRET: false,
      MEDIA_SIGNING_SECRET: false, // generated at start
      OTEL_EXPORTER_OTLP_HEADERS: false,
      REDIS_PASSWORD: false,
      REDIS_SENTINEL_PASSWORD: false,
      REDIS_URL: false,
      TICKET_SECRET: false,
    });
    for (const secret of Object.values(SECRETS)) expect(text).not.toContain(secret);
    expect(text.replaceAll(/"[A-Z_]+":/g, '')).not.toMatch(/SECRET|[0-9a-f]{64}/);
  });

  it('requires a token with the scope config:read', async () => {
    expect((await get('reader')).status).toBe(200);
    expect((await get('ender')).status).toBe(403);
    expect((await service.send('get', '/internal/config')).status).toBe(401);
  });
});

/** A process starts in half a second, or much later if other tests keep every core busy. */
const START_MS = 60_000;

describe('the start of the service', () => {
  afterEach(endServiceProcesses);

  it(
    'is logged with version, store, limit, X, n and signing, and a misspelt variable gets a warning',
    async () => {
      const PORT = String(await freePort());
      const service = runService({
        PORT,
        MAX_SESSIONS_PER_USER: '7',
        PHASE_SECONDS: '2.5',
        IDLE_PHASES: '4',
        MEDIA_SIGNING: 'none',
        MAX_SESSION_PER_USER: 'SECRET',
      });
      await until(() => service.output().includes('MAX_SESSION_PER_USER'), START_MS);
      await until(() => service.output().includes('Streamgate serves'), START_MS);
      await service.end();
      const lines = service
        .output()
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { msg: string }).msg);
      expect(lines).toContainEqual(
        `Streamgate serves http://127.0.0.1:${PORT}: version ${version}, store memory, limit 7, X 2.5 s, n 4, ` +
          `signing none, authentication none. The documentation is at http://127.0.0.1:${PORT}/docs`,
      );
      expect(lines.filter((line) => line.includes('MAX_SESSION_PER_USER'))).toEqual([
        'MAX_SESSION_PER_USER is unknown and has no effect: the nearest variable is MAX_SESSIONS_PER_USER',
      ]);
      expect(service.output()).not.toContain('SECRET');
    },
    3 * START_MS,
  );
});
