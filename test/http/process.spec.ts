import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync, mkdtempDisposableSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { type Socket, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HeldOrigin } from '../support/held-origin.js';
import { freePort } from '../support/redis-server.js';
import { endServiceProcesses, runService, startServiceProcess } from '../support/service-process.js';

const PRODUCTION = {
  NODE_ENV: 'production',
  SESSION_STORE: 'memory',
  AUTH_MODE: 'none',
  MEDIA_SIGNING_SECRET: 'a-secret-of-some-length',
  INTERNAL_API_TOKEN: 'a-token-of-some-length',
};

afterEach(endServiceProcesses);

/** Runs the service until it exits by itself. */
async function failToStart(
  environment: Record<string, string>,
): Promise<{ code: number | null; output: string }> {
  const service = runService(environment);
  await once(service.process, 'exit');
  return { code: service.process.exitCode, output: service.output() };
}

describe('the configuration', () => {
  it('has all its errors reported together, by name and never by value, with exit code 1', async () => {
    const { code, output } = await failToStart({
      PORT: '70000',
      SESSION_STORE: 'sqlite-value',
      REDIS_URL: 'http://user:redis-secret@example',
      MAX_SESSIONS_PER_USER: '0',
      PHASE_SECONDS: '0.1',
      IDLE_PHASES: '2.5',
      MEDIA_SIGNING: 'md5-value',
      MEDIA_BASE_URL: 'ftp-value',
      LOG_LEVEL: 'loud-value',
      AUTH_MODE: 'basic-value',
      STORE_DOWN_POLICY: 'ajar-value',
      REDIS_CLUSTER: 'maybe',
      INTERNAL_API_TOKEN_FILE: '/nonexistent',
    });
    expect(code).toBe(1);
    const named = [...output.matchAll(/^ {2}([A-Z_]+): /gm)].map(([, name]) => name);
    expect(named.toSorted()).toEqual(
      [
        'AUTH_MODE',
        'IDLE_PHASES',
        'INTERNAL_API_TOKEN_FILE',
        'LOG_LEVEL',
        'MAX_SESSIONS_PER_USER',
        'MEDIA_BASE_URL',
        'MEDIA_SIGNING',
        'PHASE_SECONDS',
        'PORT',
        'REDIS_CLUSTER',
        'REDIS_URL',
        'SESSION_STORE',
        'STORE_DOWN_POLICY',
      ].toSorted(),
    );
    expect(output).not.toMatch(/70000|sqlite|secret@|0\.1|2\.5|md5|ftp-value|loud-value|ajar|basic-value/);
    expect(output).not.toMatch(/^\s+at /m);
  });

  it('of production requires a store, authentication, a secret and a token', async () => {
    const { code, output } = await failToStart({ NODE_ENV: 'production' });
    expect(code).toBe(1);
    for (const name of [
      'SESSION_STORE',
      'AUTH_JWKS_URL',
      'AUTH_ISSUER',
      'AUTH_AUDIENCE',
      'MEDIA_SIGNING_SECRET',
      'INTERNAL_API_TOKEN',
    ])
      expect(output).toContain(`  ${name}: `);
    expect(output).toContain('use AUTH_MODE=none only behind something that authenticates');
  });

  it('logs an error if AUTH_MODE is none in production, even if LOG_LEVEL hides warnings', async () => {
    const service = await startServiceProcess({
      NODE_ENV: 'production',
      AUTH_MODE: 'none',
      SESSION_STORE: 'memory',
      INTERNAL_API_TOKEN: 'x'.repeat(32),
      MEDIA_SIGNING_SECRET: 'x'.repeat(32),
      LOG_LEVEL: 'error',
    });
    expect(service.output()).toContain('AUTH_MODE is none');
  });

  it('reads secrets from files, treats an empty variable as unset, and warns about variables without effect', async () => {
    using folder = mkdtempDisposableSync(join(tmpdir(), 'streamgate-'));
    const file = join(folder.path, 'token');
    writeFileSync(file, 'from-a-file-of-some-length\n');
    const service = await startServiceProcess({
      INTERNAL_API_TOKEN_FILE: file,
      REDIS_URL: '',
      MAX_SESSIONS_PER_USER: '1',
      AUTH_AUDIENCE: 'players',
    });
    const sweep = async (token: string): Promise<number> =>
      (
        await fetch(`${service.url}/internal/expire-idle-sessions`, {
          method: 'POST',
          headers: { authorization: `Bearer ${token}` },
        })
      ).status;
    expect([await sweep('from-a-file-of-some-length'), await sweep('wrong')]).toEqual([200, 401]);
    expect((await service.ask({ user_id: 'ana', stream_id: 'test-pattern' })).status).toBe(201);
    expect((await service.ask({ user_id: 'ana', stream_id: 'test-pattern' })).status).toBe(409);
    expect(service.output()).toContain('AUTH_AUDIENCE has no effect: AUTH_MODE is none');
  });

  it('reports that its port is in use', async () => {
    const first = await startServiceProcess({});
    const { code, output } = await failToStart({ HOST: '127.0.0.1', PORT: new URL(first.url).port });
    expect(code).toBe(1);
    expect(output).toContain('is in use: stop the program that uses it, or set PORT');
  });
});

describe('the port for operators', () => {
  it('answers a probe before the clients whose connections wait at the other port', async () => {
    const operatorPort = await freePort();
    const service = await startServiceProcess({ OPERATOR_PORT: String(operatorPort) });
    const answered: string[] = [];
    const ask = async (name: string, port: number): Promise<Socket> => {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      socket.once('data', () => answered.push(name));
      await once(socket, 'connect');
      socket.write('GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n');
      return socket;
    };
    // The kernel makes these connections, and the service accepts none of them.
    service.process.kill('SIGSTOP');
    const clients = Array.from({ length: 400 }, () => Number(new URL(service.url).port));
    const sockets = await Promise.all(clients.map(async (port) => ask('client', port)));
    sockets.push(await ask('probe', operatorPort));
    service.process.kill('SIGCONT');
    while (answered.length < sockets.length) await new Promise((resolve) => setTimeout(resolve, 10));

    expect(answered.indexOf('probe')).toBeLessThan(100);
    for (const socket of sockets) socket.destroy();
  });

  it('serves what the other port serves, and closes with it', async () => {
    const operatorPort = await freePort();
    const service = await startServiceProcess({ OPERATOR_PORT: String(operatorPort) });
    const url = `http://127.0.0.1:${operatorPort}`;
    expect((await fetch(`${url}/metrics`)).status).toBe(200);
    expect((await fetch(`${url}/v1/streams`)).status).toBe(200);

    expect(await service.end()).toBe(0);
    await expect(fetch(`${url}/health/live`)).rejects.toThrow('fetch failed');
  });

  it('that is in use is reported by its variable', async () => {
    const first = await startServiceProcess({});
    const { code, output } = await failToStart({ PORT: '0', OPERATOR_PORT: new URL(first.url).port });
    expect(code).toBe(1);
    expect(output).toContain('is in use: stop the program that uses it, or set OPERATOR_PORT');
  });
});

describe('the log', () => {
  it('is one line at the start, with the address of the documentation', async () => {
    const service = await startServiceProcess({ LOG_FORMAT: 'pretty' });
    const lines = service
      .output()
      .trim()
      .split('\n')
      .filter((line) => !line.includes('/health/live'));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(`${service.url}/docs`);
    await service.end();
  });

  it('has a JSON line for each request with its id and route, without the user, in production', async () => {
    const service = await startServiceProcess(PRODUCTION);
    const reply = await service.ask({ user_id: 'SECRET-USER', stream_id: 'test-pattern' });
    await fetch(`${service.url}/v1/users/SECRET-USER/sessions?token=SECRET-TOKEN`);
    await fetch(`${service.url}/nothing/SECRET-PATH`);
    await service.end();
    const lines = service
      .output()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toContainEqual(
      expect.objectContaining({
        level: 'info',
        msg: 'request',
        reqId: reply.headers.get('x-request-id'),
        method: 'POST',
        route: '/v1/phases',
        status: 201,
        ms: expect.any(Number),
      }),
    );
    expect(lines).toContainEqual(
      expect.objectContaining({ route: '/v1/users/:user_id/sessions', status: 200 }),
    );
    expect(lines).toContainEqual(expect.objectContaining({ msg: 'request', status: 404 }));
    expect(service.output()).not.toContain('SECRET');
  });

  it('contains no secret or part of one, even if a client sends one', async () => {
    const key = generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey.export({
      type: 'pkcs8',
      format: 'pem',
    });
    const secrets = {
      REDIS_URL: 'redis://:SECRET-in%20a-url@127.0.0.1:1',
      MEDIA_SIGNING_SECRET: 'SECRET-of-media "quoted"',
      INTERNAL_API_TOKEN: 'SECRET-of-operators',
      CALLBACK_URL: 'http://127.0.0.1:1/SECRET-path?SECRET-query',
      CALLBACK_SECRET: 'whsec_SECRETofcallbacksSECRETofcallbac whsec_SECRETofyesterdaySECRETofyesterd',
      CLOUDFRONT_PRIVATE_KEY: String(key),
    };
    const service = await startServiceProcess({
      ...PRODUCTION,
      SESSION_STORE: 'redis',
      LOG_LEVEL: 'trace',
      ...secrets,
    });
    const internal = (by: string) =>
      fetch(`${service.url}/internal/expiry/pause`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${secrets.INTERNAL_API_TOKEN}`,
          'content-type': 'application/json',
        },
        body: JSON.stringify({ by }),
      });
    expect((await service.ask({ user_id: 'ana', stream_id: 'test-pattern' })).status).toBe(503);
    expect((await internal('nobody')).status).toBe(503);
    await service.end();
    expect(service.output()).toMatch(/^\{"level":"warn",.*"route":"\/v1\/phases".*"status":503/m);

    // With a store that answers, the name that an operator sends is logged.
    const other = await startServiceProcess({ ...PRODUCTION, ...secrets, LOG_LEVEL: 'trace' });
    for (const by of [...Object.values(secrets), 'SECRET-in a-url', String(key).split('\n')[3]!])
      await fetch(`${other.url}/internal/expiry/pause`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${secrets.INTERNAL_API_TOKEN}`,
          'content-type': 'application/json',
        },
        body: JSON.stringify({ by: by.slice(0, 100) }),
      });
    await other.end();
    expect(other.output()).toContain('sweeps are paused');
    for (const output of [service.output(), other.output()]) {
      expect(output).not.toContain('SECRET');
      for (const line of String(key).trim().split('\n').slice(1, -1)) expect(output).not.toContain(line);
    }
  });

  it('shows developers the file and line of each log statement in the source', async () => {
    const service = await startServiceProcess({
      LOG_FORMAT: 'pretty',
      STREAM_ORIGIN: 'http://127.0.0.1:9/{stream_id}/x.m3u8',
    });
    expect((await service.ask({ user_id: 'ana', stream_id: 'film' })).status).toBe(502);
    await service.end();
    expect(service.output()).toMatch(/INFO: main\.ts:\d+ Streamgate serves/);
    expect(service.output()).toMatch(/WARN: origin-failures\.ts:\d+ [0-9a-f-]{36} the origin failed/);
    expect(service.output()).toMatch(/INFO: log\.ts:\d+ [0-9a-f-]{36} request/);
  });
});

describe('SIGTERM', () => {
  it('ends the service at once with exit code 0, although a client keeps its connection', async () => {
    const service = await startServiceProcess({});
    const agent = new Agent({ keepAlive: true });
    const call = async (): Promise<number> => {
      const sent = request(`${service.url}/v1/streams`, { agent }).end();
      const [reply] = (await once(sent, 'response')) as [NodeJS.ReadableStream & { statusCode: number }];
      await once(reply.resume(), 'end');
      return reply.statusCode;
    };
    expect(await call()).toBe(200);
    const started = performance.now();
    expect(await service.end()).toBe(0);
    expect(performance.now() - started).toBeLessThan(5_000);
    agent.destroy();
  });

  it('ends the service although a client sends nothing, or an incomplete request', async () => {
    const service = await startServiceProcess({});
    const port = Number(new URL(service.url).port);
    const sockets = [
      '',
      'GET / HTTP/1.1\r\nHost:',
      'POST /v1/phases HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{',
    ];
    for (const bytes of sockets) {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      await once(socket, 'connect');
      socket.write(bytes);
    }
    await fetch(`${service.url}/health/live`); // what was written before has arrived
    expect(await service.end()).toBe(0);
  });

  it('answers requests in progress, and keeps the places that they took', async () => {
    const origin = new HeldOrigin();
    await origin.start();
    const service = await startServiceProcess({ STREAM_ORIGIN: origin.template });
    const held = origin.hold('film');
    const asked = service.ask({ user_id: 'ana', stream_id: 'film' });
    const release = await held;
    const ended = service.end();
    while (!service.output().includes('is stopping')) await new Promise((resolve) => setTimeout(resolve, 10));
    release();
    const reply = await asked;
    expect([reply.status, reply.headers.get('connection')]).toEqual([201, 'close']);
    expect(await ended).toBe(0);
    await origin.stop();
  });
});
