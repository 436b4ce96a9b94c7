import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { freePort } from './redis-server.js';

const ROOT = join(__dirname, '../..');

/** The built service in a separate process, as in production: with real time and real signals. */
export interface ServiceProcess {
  readonly url: string;
  readonly process: ChildProcess;
  /** The output so far. */
  output(): string;
  ask(body: object): Promise<{ status: number; headers: Headers; body: PhaseReply }>;
  /** Sends this signal and returns the exit code, or null if the signal killed the process. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
}

/** The parts of a reply or problem that the tests use. */
interface PhaseReply {
  readonly degraded?: true;
  readonly code?: string;
}

/** All tests of one machine have the same address, so that the rate limits are off. No load balancer waits for a drain. */
const DEFAULTS = { RATE_LIMIT_PER_USER: '0', RATE_LIMIT_PER_ADDRESS: '0', DRAIN_SECONDS: '0' };

const started = new Set<Pick<ServiceProcess, 'end'>>();

/** For `afterEach`: kills all processes that a test started, even if it failed. */
export async function endServiceProcesses(): Promise<void> {
  await Promise.all([...started].map((service) => service.end()));
  started.clear();
}

/** Starts `dist/main.js` of `folder`, which the global set-up has built, and waits until it serves requests. */
export async function startServiceProcess(
  environment: Record<string, string>,
  folder = ROOT,
): Promise<ServiceProcess> {
  const port = environment.PORT ?? String(await freePort());
  const service = runService({ HOST: '127.0.0.1', PORT: port, ...environment }, folder);
  const url = `http://127.0.0.1:${port}`;
  const deadline = performance.now() + 60_000;
  while (
    !(await fetch(`${url}/health/live`)
      .then((reply) => reply.ok)
      .catch(() => false))
  ) {
    if (service.process.exitCode !== null || performance.now() > deadline)
      throw new Error(`the service did not start:\n${service.output()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    url,
    ...service,
    async ask(body) {
      const reply = await fetch(`${url}/v1/phases`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      return {
        status: reply.status,
        headers: reply.headers,
        body: (await reply.json()) as PhaseReply,
      };
    },
  };
}

/** Starts the service without waiting, for tests of a failed start. */
export function runService(
  environment: Record<string, string>,
  folder = ROOT,
): Omit<ServiceProcess, 'url' | 'ask'> {
  const child = spawn(process.execPath, ['--enable-source-maps', 'dist/main.js'], {
    cwd: folder,
    env: { PATH: process.env.PATH ?? '', LOG_FORMAT: 'json', ...DEFAULTS, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)));
  const service: Omit<ServiceProcess, 'url' | 'ask'> = {
    process: child,
    output: () => output,
    async end(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit');
        child.kill(signal);
        await exited;
      }
      return child.exitCode;
    },
  };
  started.add(service);
  return service;
}
