import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { INSTALL_ADVICE, installPackage } from './apt.ts';
import { findProgram } from './program.ts';

/**
 * A real Redis for tests, on any machine. The first of these that works:
 *   url     REDIS_URL, an existing server
 *   path    redis-server or valkey-server on PATH
 *   docker  an engine, by testcontainers
 *   apt     installs redis-server, in CI or on request (apt.ts)
 */
export interface RedisServer {
  readonly url: string;
  readonly from: Source;
  stop(): Promise<void>;
}

/** A server that only one test uses, and may break. */
export interface OwnRedisServer extends RedisServer {
  kill(): Promise<void>;
  /** Starts again, empty, on the same port. */
  restart(): Promise<void>;
  pause(): void;
  resume(): void;
}

type Source = 'url' | 'path' | 'docker' | 'apt';

const IMAGE = 'redis:7-alpine';

export async function startRedis(
  sources: readonly Source[] = ['url', 'path', 'docker', 'apt'],
): Promise<RedisServer> {
  const tried: string[] = [];
  for (const from of sources) {
    try {
      return { ...(await START[from]()), from };
    } catch (error) {
      tried.push(`${from}: ${(error as Error).message.split('\n')[0]!.slice(0, 200)}`);
    }
  }
  throw new Error(
    `Found no real Redis. Set REDIS_URL, install redis-server or valkey-server, or start Docker; ${INSTALL_ADVICE}. ` +
      `Tried:\n  ${tried.join('\n  ')}`,
  );
}

/**
 * Starts a separate server for a test that kills or stops it, independent of REDIS_URL: such a test must not share one.
 * Throws with instructions if neither redis-server nor valkey-server is installed.
 */
export async function startOwnRedis(options: readonly string[] = []): Promise<OwnRedisServer> {
  const binary = findBinary() ?? installRedis();
  return { ...(await spawnServer(binary, options)), from: 'path' };
}

/** Starts a Sentinel with these lines in its configuration. */
export async function startOwnSentinel(lines: readonly string[]): Promise<OwnRedisServer> {
  const binary = findBinary() ?? installRedis();
  return { ...(await spawnServer(binary, [], lines)), from: 'path' };
}

const START: Record<Source, () => Promise<Pick<RedisServer, 'url' | 'stop'>>> = {
  async url() {
    const url = process.env.REDIS_URL;
    if (!url) throw new Error('REDIS_URL is not set');
    const { hostname, port } = new URL(url);
    await answers(hostname, Number(port || 6379), 2_000);
    return { url, stop: async () => undefined };
  },

  async path() {
    const binary = findBinary();
    if (binary === undefined) throw new Error('neither redis-server nor valkey-server is on PATH');
    return spawnServer(binary);
  },

  async docker() {
    const { GenericContainer, Wait } = await import('testcontainers');
    const container = await new GenericContainer(IMAGE)
      .withExposedPorts(6379)
      .withWaitStrategy(Wait.forLogMessage('Ready to accept connections'))
      .withStartupTimeout(60_000)
      .start();
    return {
      url: `redis://${container.getHost()}:${container.getMappedPort(6379)}`,
      stop: async () => {
        await container.stop({ timeout: 0 });
      },
    };
  },

  async apt() {
    return spawnServer(installRedis());
  },
};

function findBinary(): string | undefined {
  return findProgram('redis-server') ?? findProgram('valkey-server');
}

function installRedis(): string {
  installPackage('redis-server');
  return '/usr/bin/redis-server';
}

async function spawnServer(
  binary: string,
  options: readonly string[] = ['--databases', '64'],
  sentinel?: readonly string[],
): Promise<Omit<OwnRedisServer, 'from'>> {
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), 'streamgate-redis-'));
  const args = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--dir',
    folder,
    '--save',
    '',
    '--appendonly',
    'no',
  ];
  const file = join(folder, 'sentinel.conf');
  if (sentinel)
    await writeFile(file, [`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`, ...sentinel, ''].join('\n'));
  let server: ChildProcess;
  const start = async (): Promise<void> => {
    server = spawn(binary, sentinel ? [file, '--sentinel'] : [...args, ...options], { stdio: 'ignore' });
    const died = new Promise<never>((_, reject) => {
      server.once('error', reject);
      server.once('exit', (code) => {
        reject(new Error(`${binary} ended with ${code}`));
      });
    });
    died.catch(() => undefined);
    await Promise.race([answers('127.0.0.1', port, 5_000), died]);
  };
  const kill = async (): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    await new Promise((resolve) => {
      server.once('exit', resolve);
      server.kill('SIGKILL');
    });
  };
  await start();
  const atExit = (): void => void server.kill('SIGKILL');
  process.once('exit', atExit);
  return {
    url: `redis://127.0.0.1:${port}`,
    kill,
    restart: start,
    pause: () => void server.kill('SIGSTOP'),
    resume: () => void server.kill('SIGCONT'),
    stop: async () => {
      process.off('exit', atExit);
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Resolves when a server answers PING, with PONG or with an authentication error. */
async function answers(host: string, port: number, withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const reply = await new Promise<string>((resolve) => {
      const socket = connect({ host, port }, () => socket.write('PING\r\n'));
      socket.setTimeout(500, () => socket.destroy());
      socket.once('data', (data) => {
        resolve(String(data));
        socket.destroy();
      });
      socket.once('error', () => undefined);
      socket.once('close', () => {
        resolve('');
      });
    });
    if (/^\+PONG|NOAUTH/.test(reply)) return;
    if (performance.now() > deadline) throw new Error(`nothing answers as Redis on ${host}:${port}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
