import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism, constants, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { freePort } from '../test/support/redis-server.ts';

/** A server in a process of its own; servers/probe.mts measures it from inside that process. */
export interface Server extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  /** Microseconds of CPU that the process has used so far. */
  cpu(): Promise<number>;
  memory(): Promise<Memory>;
  /** The longest turn of its event loop since the last question. */
  longestTurn(): Promise<Turn>;
}

/** Milliseconds that passed, and those that the thread was computing. */
export interface Turn {
  readonly wall: number;
  readonly cpu: number;
}

/** Bytes, after a garbage collection. The heap is that of objects and of buffers. */
export interface Memory {
  readonly rss: number;
  readonly heap: number;
}

/** The configuration of every server. The servers written by hand use the variables that they know. */
export const ENVIRONMENT = {
  HOST: '127.0.0.1',
  AUTH_MODE: 'none',
  MEDIA_SIGNING_SECRET: 'only-for-the-benchmark',
  INTERNAL_API_TOKEN: 'only-for-the-benchmark',
  // A limit that one machine cannot reach: every request is counted and none is refused.
  RATE_LIMIT_PER_USER: '1000000',
  RATE_LIMIT_PER_ADDRESS: '1000000',
  // The load asks for phases far faster than they play.
  MAX_AHEAD_SECONDS: '14400',
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
  const request = async <T,>(what: 'cpu' | 'memory' | 'turn'): Promise<T> => {
    child.send(what);
    const [answer] = (await once(child, 'message')) as [T];
    return answer;
  };
  const server: Server = {
    url,
    pid: child.pid!,
    cpu: async () => request<number>('cpu'),
    memory: async () => request<Memory>('memory'),
    longestTurn: async () => request<Turn>('turn'),
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

/** Reserves the last CPU for the servers that are measured. Processes that start later do not use it. */
export function leaveLastCpu(): boolean {
  return LAST_CPU > 0 && pin(process.pid, `0-${LAST_CPU - 1}`);
}

export function giveLastCpu({ pid }: Server): boolean {
  return LAST_CPU > 0 && pin(pid, String(LAST_CPU));
}

/** Binds a process, and the processes that it starts later, to these CPUs. Returns false if that is impossible. */
function pin(pid: number, cpus: string): boolean {
  try {
    execFileSync('taskset', ['-a', '-c', '-p', cpus, String(pid)], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
