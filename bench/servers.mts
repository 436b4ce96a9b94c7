import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism, constants, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { freePort } from '../test/support/redis-server.ts';

/** A server in a process of its own, measured from in there by servers/probe.mts. */
export interface Server extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  /** Microseconds of CPU that the process has used so far. */
  cpu(): Promise<number>;
  memory(): Promise<Memory>;
}

/** Bytes, garbage left out. */
export interface Memory {
  readonly rss: number;
  readonly heap: number;
}

/** What every server is given; those written by hand take what they know. */
export const ENVIRONMENT = {
  HOST: '127.0.0.1',
  AUTH_MODE: 'none',
  MEDIA_SIGNING_SECRET: 'only-for-the-benchmark',
  INTERNAL_API_TOKEN: 'only-for-the-benchmark',
  // More than one machine can ask, so that every request is counted and none is refused.
  RATE_LIMIT_PER_USER: '1000000',
  RATE_LIMIT_PER_ADDRESS: '1000000',
};

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

export async function startServer(
  file: string,
  environment: Record<string, string>,
  priority = constants.priority.PRIORITY_NORMAL,
): Promise<Server> {
  const port = await freePort();
  const child = fork(path(file), {
    execArgv: [...process.execArgv, '--enable-source-maps', '--import', path('servers/probe.mts')],
    env: { PATH: process.env.PATH, NODE_ENV: 'production', PORT: String(port), ...environment },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit');
  setPriority(child.pid!, priority);
  const url = `http://127.0.0.1:${port}`;
  const tell = async <T,>(what: 'cpu' | 'memory'): Promise<T> => {
    child.send(what);
    const [told] = (await once(child, 'message')) as [T];
    return told;
  };
  const server: Server = {
    url,
    pid: child.pid!,
    cpu: async () => tell<number>('cpu'),
    memory: async () => tell<Memory>('memory'),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited;
    },
  };
  const deadline = performance.now() + 20_000;
  while (!(await fetch(url).catch(() => false))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      await server[Symbol.asyncDispose]();
      throw new Error(`${file} did not start`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return server;
}

const LAST_CPU = availableParallelism() - 1;

/** Leaves the last CPU to the servers that are measured, and keeps what is started from now on off it. */
export function leaveLastCpu(): boolean {
  return LAST_CPU > 0 && pin(process.pid, `0-${LAST_CPU - 1}`);
}

export function giveLastCpu({ pid }: Server): boolean {
  return LAST_CPU > 0 && pin(pid, String(LAST_CPU));
}

/** Keeps a process and what it starts from now on to these CPUs; false where that cannot be done. */
function pin(pid: number, cpus: string): boolean {
  try {
    execFileSync('taskset', ['-a', '-c', '-p', cpus, String(pid)], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
