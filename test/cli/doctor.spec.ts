import { type Server, createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { Redis } from 'ioredis';
import { type Finding } from '../../src/cli/finding.js';
import { streamgate } from '../support/command-line.js';
import { ManualClock } from '../support/manual-clock.js';
import { type OwnRedisServer, freePort, startOwnRedis } from '../support/redis-server.js';
import { useService } from '../support/service.js';

interface Diagnosis {
  readonly healthy: boolean;
  readonly faults: number;
  readonly warnings: number;
  readonly findings: readonly Finding[];
}

const WEBHOOK_SECRET = `whsec_${Buffer.from('a secret of more than 24 bytes').toString('base64')}`;

/** Answers each path with a status and a body; 404 for others. */
const pages: Record<string, { readonly status: number; readonly body: string }> = {
  '/empty-keys': { status: 200, body: '{"keys": []}' },
  '/broken/index.m3u8': { status: 200, body: 'no playlist' },
};
let web: Server;
let webUrl: string;
let deadUrl: string;

beforeAll(async () => {
  web = createServer(({ url = '' }, reply) => {
    const { status, body } = pages[url] ?? { status: 404, body: 'nothing here' };
    reply.writeHead(status).end(body);
  });
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
  webUrl = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
  deadUrl = `http://127.0.0.1:${await freePort()}`;
});

afterAll(async () => {
  await new Promise((resolve) => web.close(resolve));
});

async function diagnose(
  environment: Record<string, string>,
  words: readonly string[] = [],
  clock?: ManualClock,
): Promise<Diagnosis & { readonly code: number }> {
  const outcome = await streamgate(['doctor', '--json', ...words], {
    environment,
    ...(clock === undefined ? {} : { clock }),
  });
  return { code: outcome.code, ...(outcome.json() as Diagnosis) };
}

/** The faults and warnings, each as one line with its remedy. */
function complaints({ findings }: Diagnosis): string[] {
  return findings
    .filter(({ level }) => level === 'fault' || level === 'warning')
    .map(({ level, check, finding, remedy }) => `${level} ${check}: ${finding} -> ${remedy}`);
}

/** The exit code, and the complaints. */
async function outcomeOf(
  environment: Record<string, string>,
  words: readonly string[] = [],
  clock?: ManualClock,
): Promise<readonly [code: number, complaints: readonly string[]]> {
  const diagnosis = await diagnose(environment, words, clock);
  return [diagnosis.code, complaints(diagnosis)];
}

/** The doctor exits with 1 and complains of nothing else. */
function only(complaint: RegExp): readonly [number, readonly unknown[]] {
  return [1, [expect.stringMatching(complaint)]];
}

describe('the doctor, of the configuration', () => {
  it('finds nothing where everything works', async () => {
    const diagnosis = await diagnose({});
    expect(complaints(diagnosis)).toEqual([]);
    expect(diagnosis).toMatchObject({ code: 0, healthy: true, faults: 0, warnings: 0 });
  });

  it('finds a misspelt variable, and calls that a warning, or a fault with --strict', async () => {
    const environment = { MAX_SESSION_PER_USER: '5' };
    const diagnosis = await diagnose(environment);
    expect(complaints(diagnosis)).toEqual([
      'warning configuration.MAX_SESSION_PER_USER: MAX_SESSION_PER_USER is unknown and has no effect. -> ' +
        'the nearest variable is MAX_SESSIONS_PER_USER.',
    ]);
    expect(diagnosis.code).toBe(0);
    expect((await diagnose(environment, ['--strict'])).code).toBe(1);
  });

  it('finds a secret of the wrong form, without showing it', async () => {
    const environment = { CALLBACK_URL: 'https://hooks.example/x', CALLBACK_SECRET: 'SECRET-of-no-form' };
    expect(await outcomeOf(environment)).toEqual(
      only(/^fault configuration\.CALLBACK_SECRET: .* must be whsec_ and base64/),
    );
    const { out } = await streamgate(['doctor'], { environment });
    expect(out).not.toContain('SECRET-of');
  });

  it('finds what production lacks', async () => {
    const { code, findings } = await diagnose({ NODE_ENV: 'production', SESSION_STORE: 'memory' });
    const faulty = findings.filter(({ level }) => level === 'fault').map(({ check }) => check);
    expect(faulty).toEqual(
      expect.arrayContaining([
        'configuration.MEDIA_SIGNING_SECRET',
        'configuration.AUTH_ISSUER',
        'configuration.INTERNAL_API_TOKEN',
      ]),
    );
    expect(code).toBe(1);
  });

  it('says each finding with its remedy in lines for people', async () => {
    const { out } = await streamgate(['doctor'], { environment: { PORT: 'x' } });
    expect(out).toContain(
      'FAULT    configuration.PORT: PORT is not valid.\n         -> PORT must be a whole number from 0 to 65535.\n',
    );
    expect(out).toMatch(/1 faults, 0 warnings\.\n$/);
  });
});

describe('the doctor, of Redis', () => {
  let server: OwnRedisServer;
  let redis: Redis;
  const environment = (): Record<string, string> => ({ REDIS_URL: server.url });

  beforeAll(async () => {
    server = await startOwnRedis();
    redis = new Redis(server.url);
  });
  afterAll(async () => {
    redis.disconnect();
    await server.stop();
  });

  it('finds nothing where everything works, and leaves nothing behind', async () => {
    const diagnosis = await diagnose(environment());
    expect(complaints(diagnosis)).toEqual([]);
    expect(diagnosis.findings.filter(({ check }) => check.startsWith('redis.')).length).toBeGreaterThan(4);
    expect(await redis.dbsize()).toBe(0);
  });

  it('finds that nothing listens', async () => {
    const REDIS_URL = deadUrl.replace('http', 'redis');
    expect(await outcomeOf({ REDIS_URL })).toEqual(
      only(/^fault redis\.connection: .*ECONNREFUSED.* -> Start Redis, or correct the host/),
    );
  });

  it('finds a wrong password', async () => {
    await redis.config('SET', 'requirepass', 'right');
    try {
      const REDIS_PASSWORD = 'wrong';
      expect(await outcomeOf({ ...environment(), REDIS_PASSWORD })).toEqual(
        only(/^fault redis\.connection: .*WRONGPASS.* -> .*correct REDIS_USERNAME and REDIS_PASSWORD/),
      );
    } finally {
      await redis.config('SET', 'requirepass', '');
    }
  });

  it('finds a missing password', async () => {
    await redis.config('SET', 'requirepass', 'right');
    try {
      expect(await outcomeOf(environment())).toEqual(
        only(/^fault redis\.connection: .*NOAUTH.* -> .*set REDIS_PASSWORD/),
      );
    } finally {
      await redis.config('SET', 'requirepass', '');
    }
  });

  it('finds a replica', async () => {
    await redis.replicaof('127.0.0.1', Number(new URL(deadUrl).port));
    try {
      const diagnosis = await diagnose(environment());
      expect(complaints(diagnosis)[0]).toMatch(
        /^fault redis\.role: It is a replica of .* -> Name the primary in REDIS_URL/,
      );
      expect(complaints(diagnosis)[1]).toMatch(/^fault redis\.requests: .*READONLY.* -> .*is a replica/);
      expect(diagnosis.code).toBe(1);
    } finally {
      await redis.replicaof('NO', 'ONE');
    }
  });

  it('finds an eviction policy that drops sessions', async () => {
    await redis.config('SET', 'maxmemory', '100mb');
    await redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
    try {
      expect(await outcomeOf(environment())).toEqual(
        only(/^fault redis\.policy: .*allkeys-lru.* -> Run CONFIG SET maxmemory-policy noeviction/),
      );
    } finally {
      await redis.config('SET', 'maxmemory-policy', 'noeviction');
      await redis.config('SET', 'maxmemory', '0');
    }
  });

  it('finds a full Redis', async () => {
    await redis.config('SET', 'maxmemory', '1');
    try {
      const diagnosis = await diagnose(environment());
      expect(complaints(diagnosis)).toEqual([
        expect.stringMatching(/^warning redis\.memory: .* -> Raise maxmemory/),
        expect.stringMatching(/^fault redis\.requests: .*OOM.* -> Redis is full: raise maxmemory/),
      ]);
    } finally {
      await redis.config('SET', 'maxmemory', '0');
    }
  });

  it('finds that no replica follows, where new sessions wait for one', async () => {
    expect(await outcomeOf({ ...environment(), ADMIT_DURABILITY: 'replicated' })).toEqual(
      only(/^fault redis\.requests: .*NOTREPLICATED.* -> .*new sessions get 503 while no replica follows/i),
    );
  });

  it('finds a right that the ACL user lacks', async () => {
    await redis.call('ACL', 'SETUSER', 'app', 'on', '>secret', '~sg:*', '+@all');
    const account = { REDIS_USERNAME: 'app', REDIS_PASSWORD: 'secret' };
    expect(await outcomeOf({ ...environment(), ...account })).toEqual(
      only(/^fault redis\.rights: .*publish.* -> .*run ACL SETUSER with its name and: .*&sg:\*/i),
    );
  });

  it.each([
    ['ahead of', 60_000],
    ['behind', -60_000],
  ])('finds a clock of this machine that is %s that of Redis', async (word, ms) => {
    const clock = new ManualClock(Date.now() + ms);
    expect(await outcomeOf(environment(), [], clock)).toEqual(
      only(new RegExp(`^fault redis\\.clock: .* ${word} that of Redis.* -> Synchronise both by NTP`)),
    );
  });

  it('finds TLS where Redis speaks none', async () => {
    const REDIS_URL = server.url.replace('redis:', 'rediss:');
    expect(await outcomeOf({ REDIS_URL })).toEqual(
      only(/^fault redis\.connection: .* -> Write redis:\/\/ instead of rediss:\/\//),
    );
  });

  it('finds that a server is no cluster', async () => {
    expect(await outcomeOf({ ...environment(), REDIS_CLUSTER: 'true' })).toEqual(
      only(/^fault redis\.connection: .*cluster support disabled.* -> Set REDIS_CLUSTER=false/),
    );
  });

  it('finds a node of a cluster without REDIS_CLUSTER', async () => {
    const node = await startOwnRedis(['--cluster-enabled', 'yes']);
    try {
      const diagnosis = await diagnose({ REDIS_URL: node.url });
      expect(complaints(diagnosis)[0]).toMatch(/^fault redis\.cluster: .* -> Set REDIS_CLUSTER=true/);
      expect(diagnosis.code).toBe(1);
    } finally {
      await node.stop();
    }
  });
});

describe('the doctor, of the neighbours', () => {
  it('finds an origin that is away', async () => {
    expect(await outcomeOf({ STREAM_ORIGIN: `${deadUrl}/{stream_id}/index.m3u8` })).toEqual(
      only(/^fault origin\.connection: .*ECONNREFUSED.* -> Start the origin.*STREAM_ORIGIN/),
    );
  });

  it('finds an origin without the stream', async () => {
    expect(
      await outcomeOf({ STREAM_ORIGIN: `${webUrl}/{stream_id}/index.m3u8` }, ['--stream', 'film']),
    ).toEqual(
      only(
        /^fault origin\.stream: The origin has no stream film\. -> Publish its playlist at .*\/film\/index\.m3u8/,
      ),
    );
  });

  it('finds a stream that cannot be served', async () => {
    expect(
      await outcomeOf({ STREAM_ORIGIN: `${webUrl}/{stream_id}/index.m3u8` }, ['--stream', 'broken']),
    ).toEqual(
      only(
        /^fault origin\.stream: The stream broken cannot be served: .* -> Correct what the origin answers/,
      ),
    );
  });

  it('finds a folder without streams', async () => {
    expect(await outcomeOf({ STREAM_ORIGIN: __dirname })).toEqual(
      only(/^fault origin\.stream: .*no stream.* -> Put a stream into it/),
    );
  });

  const jwt = { AUTH_MODE: 'jwt', AUTH_ISSUER: 'https://id.example', AUTH_AUDIENCE: 'streamgate' };

  it.each([
    ['/absent', 'answers 404'],
    ['/empty-keys', 'has no public key for signatures'],
    ['/broken/index.m3u8', 'is no JSON'],
  ])('finds an issuer without keys: %s %s', async (path, fault) => {
    expect(await outcomeOf({ ...jwt, AUTH_JWKS_URL: webUrl + path })).toEqual(
      only(new RegExp(`^fault keys: .*${fault}.* -> Set AUTH_JWKS_URL to the jwks_uri`)),
    );
  });

  it('finds a receiver that is away', async () => {
    expect(
      await outcomeOf({ CALLBACK_URL: `${deadUrl}/hook?key=SECRET`, CALLBACK_SECRET: WEBHOOK_SECRET }),
    ).toEqual(
      only(
        /^fault receivers: The receiver default cannot be reached \(ECONNREFUSED\)\. -> Start the receiver/,
      ),
    );
  });

  it('connects to a receiver that is there, and posts nothing', async () => {
    let requests = 0;
    web.on('request', () => requests++);
    const diagnosis = await diagnose({ CALLBACK_URL: `${webUrl}/hook`, CALLBACK_SECRET: WEBHOOK_SECRET });
    expect(complaints(diagnosis)).toEqual([]);
    expect(requests).toBe(0);
  });

  it('finds that the service of the target is away', async () => {
    expect(await outcomeOf({}, ['--url', deadUrl])).toEqual(
      only(/^fault service: .*ECONNREFUSED.* -> Start the service, or correct the URL/),
    );
  });
});

describe('the doctor, of the proxies', () => {
  const service = useService('the embedded store');
  /** A proxy that forwards everything, and does not say which address the client used. */
  let proxy: Server;
  let proxyUrl: string;
  let headersOf: (host: string) => Record<string, string> = () => ({});
  const forwards = (path: string): boolean => path.startsWith('/v1') || path === '/metrics';

  beforeAll(async () => {
    proxy = createServer((request, reply) => {
      const forward = async (): Promise<void> => {
        if (!forwards(request.url!)) return void reply.writeHead(404).end();
        const chunks: Buffer[] = [];
        for await (const chunk of request) chunks.push(chunk as Buffer);
        const { port } = service.app.getHttpServer().address() as AddressInfo;
        const answer = await fetch(`http://127.0.0.1:${port}${request.url}`, {
          method: request.method!,
          headers: { 'content-type': 'application/json', ...headersOf(request.headers.host!) },
          body: request.method === 'POST' ? Buffer.concat(chunks) : null,
        });
        reply.writeHead(answer.status).end(await answer.text());
      };
      void forward();
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    proxyUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  });
  afterAll(async () => {
    await new Promise((resolve) => proxy.close(resolve));
  });

  it('finds that the service does not know the address of viewers, and that private paths are forwarded', async () => {
    headersOf = (host) => ({ 'x-forwarded-host': host });
    const diagnosis = await diagnose({}, ['--public-url', proxyUrl]);
    expect(complaints(diagnosis)).toEqual([
      expect.stringMatching(
        /^fault proxies\.address: .* -> Set TRUSTED_PROXIES to the addresses of the proxies/,
      ),
      expect.stringMatching(
        /^warning proxies\.paths: .* forwards \/metrics\. -> Let the load balancer forward neither/,
      ),
    ]);
    expect(diagnosis.code).toBe(1);
  });

  it('takes no place', async () => {
    const { sessions } = await service.sessions.list('streamgate-doctor');
    expect(sessions).toEqual([]);
  });
});
