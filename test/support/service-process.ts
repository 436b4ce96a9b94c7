import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { freePort } from './redis-server.js';

const ROOT = join(__dirname, '../..');

/** The built service in a process of its own, as it runs in production: real time, real signals, real death. */
export interface ServiceProcess {
  readonly url: string;
  readonly process: ChildProcess;
  /** Everything that it wrote so far. */
  output(): string;
  ask(body: object): Promise<{ status: number; headers: Headers; body: PhaseReply }>;
  /** Ends it by this signal and gives its exit code, null where the signal killed it. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
}

/** As much of a reply, or of a problem, as the tests look at. */
interface PhaseReply {
  readonly code?: string;
}

/** The tests of one machine are one address, and race. */
const AS_OFTEN_AS_THEY_LIKE = { RATE_LIMIT_PER_USER: '0', RATE_LIMIT_PER_ADDRESS: '0' };

const started = new Set<Pick<ServiceProcess, 'end'>>();

/** For `afterEach`: whatever a test started is gone, also where it failed. */
export async function endServiceProcesses(): Promise<void> {
  await Promise.all([...started].map((service) => service.end()));
  started.clear();
}

/** Starts `dist/main.js` of `folder`, which the project's global set-up has built, and waits until it serves. */
export async function startServiceProcess(
  environment: Record<string, string>,
  folder = ROOT,
): Promise<ServiceProcess> {
  const port = await freePort();
  const service = runService({ HOST: '127.0.0.1', PORT: String(port), ...environment }, folder);
  const url = `http://127.0.0.1:${port}`;
  const deadline = performance.now() + 20_000;
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

/** Starts it and does not wait: for what it does when it cannot serve. */
export function runService(
  environment: Record<string, string>,
  folder = ROOT,
): Omit<ServiceProcess, 'url' | 'ask'> {
  const child = spawn(process.execPath, ['--enable-source-maps', 'dist/main.js'], {
    cwd: folder,
    env: { PATH: process.env.PATH ?? '', LOG_FORMAT: 'json', ...AS_OFTEN_AS_THEY_LIKE, ...environment },
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
