import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installPackage } from './apt.js';
import { findProgram } from './program.js';

/**
 * The nginx that is installed, or that `installPackage` installs; otherwise the reason why there is none. Synchronous,
 * because Jest must know which suites it skips before any test runs.
 */
export function findNginx(): { readonly binary: string } | { readonly reason: string } {
  try {
    return { binary: findBinary() ?? install() };
  } catch (error) {
    return { reason: (error as Error).message.split('\n')[0]! };
  }
}

function findBinary(): string | undefined {
  // On Debian it is in /usr/sbin, which is not on the PATH of every user.
  return findProgram('nginx', ['/usr/sbin', '/usr/local/sbin']);
}

function install(): string {
  installPackage('nginx-light');
  return '/usr/sbin/nginx';
}

/** Runs nginx with these directives inside `http { }`, until it is stopped. */
export class Nginx {
  private folder: string;
  private process: ChildProcess | undefined;

  constructor(private readonly binary: string) {}

  /** Resolves when `url` is answered with any status. */
  async start(http: string, url: string): Promise<void> {
    this.folder = mkdtempSync(join(tmpdir(), 'streamgate-nginx-'));
    mkdirSync(join(this.folder, 'logs'));
    const file = join(this.folder, 'nginx.conf');
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
      (name) => `${name}_temp_path ${this.folder}/${name};`,
    );
    writeFileSync(
      file,
      [
        'daemon off;',
        // The workers must be able to read the files of the test.
        process.getuid?.() === 0 ? 'user root;' : '',
        `pid ${this.folder}/pid;`,
        'error_log stderr;',
        'events {}',
        `http { access_log off; ${temporary.join(' ')}\n${http}\n}`,
      ].join('\n'),
    );
    const server = spawn(this.binary, ['-p', this.folder, '-c', file], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.process = server;
    let output = '';
    server.stderr.on('data', (chunk) => (output += String(chunk)));
    server.on('error', (error) => (output += error.message));
    const deadline = performance.now() + 10_000;
    while (!(await fetch(url).catch(() => undefined))) {
      if (server.exitCode !== null || performance.now() > deadline)
        throw new Error(`nginx did not start:\n${output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async stop(): Promise<void> {
    const server = this.process;
    if (server && server.exitCode === null && server.signalCode === null) {
      const exited = once(server, 'exit');
      server.kill('SIGTERM');
      await exited;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
