import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installPackage } from './apt.js';
import { freePort } from './redis-server.js';
import { until } from './until.js';

/** Debian's place for it, which is not on the PATH of every user. */
const BINARY = '/usr/sbin/haproxy';

/** Why there is no haproxy; undefined if it is installed, or was installed by `installPackage`. Synchronous, for Jest. */
export function whyNoHaproxy(): string | undefined {
  try {
    if (!existsSync(BINARY)) installPackage('haproxy');
    return undefined;
  } catch (error) {
    return (error as Error).message.split('\n')[0]!;
  }
}

/** A load balancer that sends requests to those servers whose readiness is 200, as those of AWS do. */
export class Haproxy {
  private readonly folder = mkdtempSync(join(tmpdir(), 'streamgate-haproxy-'));
  private process: ChildProcess | undefined;
  private statistics: string;

  /** Resolves when all servers (URLs) take requests. */
  async start(port: number, servers: readonly string[]): Promise<void> {
    const ofStatistics = await freePort();
    this.statistics = `http://127.0.0.1:${ofStatistics}/;csv`;
    const file = join(this.folder, 'haproxy.cfg');
    const list = servers.map((url, at) => `  server s${at} ${new URL(url).host} check`);
    writeFileSync(
      file,
      [
        'defaults',
        '  mode http',
        '  timeout connect 2s',
        '  timeout client 60s',
        '  timeout server 30s',
        // On a busy machine a check may take longer than the interval between two.
        '  timeout check 10s',
        'listen service',
        `  bind 127.0.0.1:${port}`,
        '  option httpchk GET /health/ready',
        '  default-server inter 200ms fall 1 rise 1',
        ...list,
        'listen statistics',
        `  bind 127.0.0.1:${ofStatistics}`,
        '  stats enable',
        '  stats uri /',
        '',
      ].join('\n'),
    );
    this.process = spawn(BINARY, ['-db', '-f', file], { stdio: 'ignore' });
    await until(async () => (await this.serversUp()) === servers.length);
  }

  /** How many servers take requests. */
  async serversUp(): Promise<number> {
    const csv = await fetch(this.statistics)
      .then(async (reply) => reply.text())
      .catch(() => '');
    return [...csv.matchAll(/^service,s\d+,.*?,UP,/gm)].length;
  }

  async stop(): Promise<void> {
    const server = this.process;
    if (server && server.exitCode === null && server.signalCode === null) {
      const exited = once(server, 'exit');
      server.kill('SIGKILL');
      await exited;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
