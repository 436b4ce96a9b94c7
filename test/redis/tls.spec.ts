import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { type OwnRedisServer, freePort, startOwnRedis } from '../support/redis-server.js';
import { type ServiceProcess, endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { until } from '../support/until.js';

/**
 * Redis over TLS with a password, as Terraform sets it up: one server, and a cluster behind a configuration endpoint. The
 * certificate is for a name and not for an address, as with ElastiCache, whose nodes tell their names in CLUSTER SLOTS.
 */
const NAME = 'localhost';
const PASSWORD = 'a password of Redis';

/** A folder with the certificate of a private authority, and of the server; undefined without the openssl command. */
function makeCertificates(): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'streamgate-tls-'));
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  try {
    openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=Test authority');
    openssl('req', ...key, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=Redis');
    writeFileSync(join(folder, 'names'), `subjectAltName=DNS:${NAME}\n`);
    const authority = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'];
    openssl('x509', '-req', '-in', 'server.csr', ...authority, '-extfile', 'names', '-out', 'server.pem');
    return folder;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    // Written directly, because Jest would delay it. The log of a run must show which tests were skipped, and why.
    process.stderr.write(
      'The tests of Redis over TLS are skipped: the command openssl is not on this machine.\n',
    );
    return undefined;
  }
}

const folder = makeCertificates();

(folder === undefined ? describe.skip : describe)('Redis over TLS', () => {
  const file = (name: string): string => join(folder!, name);
  const tls = (port: number): string[] => [
    ...['--tls-port', String(port), '--tls-auth-clients', 'no', '--tls-ca-cert-file', file('ca.pem')],
    ...['--tls-cert-file', file('server.pem'), '--tls-key-file', file('server.key')],
  ];
  const start = async (port: number, more: Record<string, string> = {}): Promise<ServiceProcess> =>
    startServiceProcess({
      REDIS_URL: `rediss://${NAME}:${port}`,
      REDIS_PASSWORD: PASSWORD,
      NODE_EXTRA_CA_CERTS: file('ca.pem'),
      ...more,
    });
  const ready = async ({ url }: ServiceProcess): Promise<number> =>
    (await fetch(`${url}/health/ready`)).status;
  const admit = async (service: ServiceProcess, user: string): Promise<number> =>
    (await service.ask({ user_id: user, session_id: 'tv', stream_id: 'test-pattern' })).status;
  afterEach(endServiceProcesses);
  afterAll(() => {
    rmSync(folder!, { recursive: true });
  });

  describe('one server', () => {
    let server: OwnRedisServer;
    let port: number;
    beforeAll(async () => {
      port = await freePort();
      server = await startOwnRedis([...tls(port), '--requirepass', PASSWORD]);
    });
    afterAll(async () => server.stop());

    it('admits sessions', async () => {
      const service = await start(port);
      await until(async () => (await ready(service)) === 200, 20_000);
      expect(await admit(service, 'ana')).toBe(201);
    });

    it('is not trusted without the certificate of its authority, and the log says so', async () => {
      const service = await start(port, { NODE_EXTRA_CA_CERTS: '' });
      await until(
        () => /Redis is unavailable \((SELF_SIGNED_CERT|UNABLE_TO_VERIFY)/.test(service.output()),
        20_000,
      );
      expect(await ready(service)).toBe(503);
      expect(await admit(service, 'ben')).toBe(503);
    });
  });

  describe('a cluster', () => {
    let cluster: RedisCluster;
    const ports: number[] = [];
    beforeAll(async () => {
      for (let node = 0; node < 3; node++) ports.push(await freePort());
      cluster = await startRedisCluster(3, {
        password: PASSWORD,
        options: (node) => [
          ...tls(ports[node]!),
          ...['--tls-cluster', 'yes'],
          ...['--cluster-announce-hostname', NAME, '--cluster-preferred-endpoint-type', 'hostname'],
        ],
      });
    });
    afterAll(async () => cluster.stop());

    it('admits sessions on every node, by one address', async () => {
      const service = await start(ports[0]!, { REDIS_CLUSTER: 'true' });
      await until(async () => (await ready(service)) === 200, 20_000);
      const users = Array.from({ length: 30 }, (_, at) => `user-${at}`);
      expect(await Promise.all(users.map(async (user) => admit(service, user)))).toEqual(
        users.map(() => 201),
      );
      const keys = await Promise.all(cluster.admins.map(async (admin) => admin.dbsize()));
      expect(keys.every((count) => count > 0)).toBe(true);
    });
  });
});
