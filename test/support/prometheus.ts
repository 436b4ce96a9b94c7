import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installPackage } from './apt.js';
import { findProgram } from './program.js';
import { freePort } from './redis-server.js';
import { until } from './until.js';

/** Why there is no Prometheus here with its promtool, or undefined if there is one. Installs it as `installPackage` does. */
export function missingPrometheus(): string | undefined {
  const isThere = (): boolean =>
    ['prometheus', 'promtool'].every((program) => findProgram(program) !== undefined);
  if (isThere()) return undefined;
  try {
    installPackage('prometheus');
    return undefined;
  } catch (error) {
    return (error as Error).message.split('\n')[0];
  }
}

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [at: number, value: string];
}

/** A real Prometheus that scrapes `targets` (host:port) every second. */
export class Prometheus {
  private folder: string;
  private process: ChildProcess;
  private url: string;

  async start(targets: readonly string[]): Promise<void> {
    this.folder = mkdtempSync(join(tmpdir(), 'streamgate-prometheus-'));
    const config = join(this.folder, 'prometheus.json');
    const job = { job_name: 'streamgate', static_configs: [{ targets }] };
    writeFileSync(
      config,
      JSON.stringify({ global: { scrape_interval: '1s', scrape_timeout: '1s' }, scrape_configs: [job] }),
    );
    const port = await freePort();
    this.url = `http://127.0.0.1:${port}`;
    this.process = spawn(
      'prometheus',
      [
        `--config.file=${config}`,
        `--storage.tsdb.path=${this.folder}/data`,
        `--web.listen-address=127.0.0.1:${port}`,
        '--log.level=error',
      ],
      { stdio: 'ignore' },
    );
    await until(async () => (await fetch(`${this.url}/-/ready`).catch(() => undefined))?.ok === true);
  }

  /** Runs an instant query. Throws with the reason if Prometheus refuses it. */
  async query(expression: string): Promise<readonly Sample[]> {
    const reply = await fetch(`${this.url}/api/v1/query?query=${encodeURIComponent(expression)}`);
    const body = (await reply.json()) as { error?: string; data?: { result: readonly Sample[] } };
    if (body.data === undefined) throw new Error(`${expression}: ${body.error}`);
    return body.data.result;
  }

  /** The value of a query with a single sample; undefined if it has none or several. */
  async value(expression: string): Promise<number | undefined> {
    const [sample, ...more] = await this.query(expression);
    return sample && more.length === 0 ? Number(sample.value[1]) : undefined;
  }

  async stop(): Promise<void> {
    const exited = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await exited;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
