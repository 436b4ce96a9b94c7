import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/**
 * The nginx of PATH, or of Debian's packages where this is Debian and we are root. Waits, because Jest wants to know
 * which suites it skips before any test runs.
 */
export function findNginx(): { readonly binary: string } | { readonly reason: string } {
  // Debian has it where only root looks.
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  const find = () => folders.map((folder) => join(folder, 'nginx')).find((file) => existsSync(file));
  const found = find() ?? (canInstall() ? install(find) : undefined);
  if (found === undefined) return { reason: 'nginx is not on PATH, and this is not root on Debian' };
  return found.startsWith('/') ? { binary: found } : { reason: found };
}

function canInstall(): boolean {
  return process.getuid?.() === 0 && existsSync('/usr/bin/apt-get');
}

function install(find: () => string | undefined): string {
  // RUNLEVEL keeps the package from starting a server of its own.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const apt = (...words: string[]): unknown =>
    execFileSync('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=300', ...words], { env, stdio: 'pipe' });
  const installNginx = () => apt('install', '-y', '--no-install-recommends', 'nginx-light');
  try {
    try {
      installNginx();
    } catch {
      apt('update');
      installNginx();
    }
  } catch (error) {
    return `apt-get could not install nginx-light: ${(error as Error).message.split('\n')[0]!}`;
  }
  return find() ?? 'nginx-light was installed and left no nginx';
}

/** Runs nginx with this inside its `http { }`, until it is stopped. */
export class Nginx {
  private readonly folder = mkdtempSync(join(tmpdir(), 'streamgate-nginx-'));
  private process: ChildProcess | undefined;

  constructor(private readonly binary: string) {}

  /** Resolves when `url` is answered, however. */
  async start(http: string, url: string): Promise<void> {
    mkdirSync(join(this.folder, 'logs'));
    const file = join(this.folder, 'nginx.conf');
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
      (name) => `${name}_temp_path ${this.folder}/${name};`,
    );
    writeFileSync(
      file,
      [
        'daemon off;',
        // Who started it may read the files of the test.
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
    let told = '';
    server.stderr.on('data', (chunk) => (told += String(chunk)));
    server.on('error', (error) => (told += error.message));
    const deadline = performance.now() + 10_000;
    while (!(await fetch(url).catch(() => undefined))) {
      if (server.exitCode !== null || performance.now() > deadline)
        throw new Error(`nginx did not start:\n${told}`);
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
