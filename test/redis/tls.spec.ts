import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { type OwnRedisServer, freePort, startOwnRedis, startOwnSentinel } from '../support/redis-server.js';
import { type ServiceProcess, endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { until } from '../support/until.js';

/**
 * Redis over TLS with a password, as Terraform sets it up: one server, and a cluster behind a configuration endpoint. And a
 * primary that Sentinels name, which are asked by TLS with a password of their own. The certificate is for a name and not for
 * an address, as with ElastiCache, whose nodes tell their names in CLUSTER SLOTS.
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
  const settings = (port: number): [name: string, value: string][] =>
    Object.entries({
      'tls-port': String(port),
      'tls-auth-clients': 'no',
      'tls-ca-cert-file': file('ca.pem'),
      'tls-cert-file': file('server.pem'),
      'tls-key-file': file('server.key'),
    });
  const tls = (port: number): string[] => settings(port).flatMap(([name, value]) => [`--${name}`, value]);
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

  describe('Sentinels', () => {
    const OF_SENTINELS = 'a password of Sentinels';
    let servers: OwnRedisServer[];
    let replicaPort: number;
    let addresses: string;
    let admin: Redis;

    /** A primary and its replica, by TLS with a password, and three Sentinels, likewise with a password of their own. */
    beforeAll(async () => {
      const [primary, replica, ...sentinels] = await Promise.all(Array.from({ length: 5 }, freePort));
      replicaPort = replica!;
      const options = ['--requirepass', PASSWORD, '--masterauth', PASSWORD, '--tls-replication', 'yes'];
      const announced = (port: number): string[] => [
        '--replica-announce-ip',
        NAME,
        '--replica-announce-port',
        String(port),
      ];
      servers = [await startOwnRedis([...tls(primary!), ...options, ...announced(primary!)])];
      const follows = ['--replicaof', NAME, String(primary)];
      servers.push(await startOwnRedis([...tls(replica!), ...options, ...announced(replica!), ...follows]));
      for (const port of sentinels)
        servers.push(
          await startOwnSentinel([
            ...settings(port).map((setting) => setting.join(' ')),
            'tls-replication yes',
            'sentinel resolve-hostnames yes',
            'sentinel announce-hostnames yes',
            `sentinel announce-ip ${NAME}`,
            `sentinel announce-port ${port}`,
            `sentinel monitor films ${NAME} ${primary} 2`,
            `sentinel auth-pass films "${PASSWORD}"`,
            `requirepass "${OF_SENTINELS}"`,
            `sentinel sentinel-pass "${OF_SENTINELS}"`,
          ]),
        );
      addresses = sentinels.map((port) => `${NAME}:${port}`).join(',');
      admin = new Redis(servers.at(-1)!.url, {
        password: OF_SENTINELS,
        enableReadyCheck: false,
        protocol: 2,
      });
      const number = async (name: string): Promise<number> => {
        const fields = (await admin.call('SENTINEL', 'MASTER', 'films')) as string[];
        return Number(fields[fields.indexOf(name) + 1]);
      };
      await until(
        async () => (await number('num-slaves')) === 1 && (await number('num-other-sentinels')) === 2,
        60_000,
      );
    }, 120_000);
    afterAll(async () => {
      admin.disconnect();
      await Promise.all(servers.map(async (server) => server.stop()));
    });

    const startBySentinels = async (more: Record<string, string> = {}): Promise<ServiceProcess> =>
      start(1, {
        REDIS_SENTINELS: addresses,
        REDIS_SENTINEL_MASTER: 'films',
        REDIS_SENTINEL_PASSWORD: OF_SENTINELS,
        ...more,
      });

    it('are asked by TLS, too, and a failover is followed', async () => {
      const service = await startBySentinels();
      await until(async () => (await ready(service)) === 200, 20_000);
      expect(await admit(service, 'ana')).toBe(201);
      await admin.call('SENTINEL', 'FAILOVER', 'films');
      await until(() => service.output().includes(`Redis has a new primary: ${NAME}:${replicaPort}`), 30_000);
      await until(async () => (await admit(service, 'ben')) === 201, 20_000);
    });

    it('are not trusted without the certificate of their authority, and the log says so', async () => {
      const service = await startBySentinels({ NODE_EXTRA_CA_CERTS: '' });
      await until(
        () =>
          /Redis is unavailable \(Sentinel localhost:\d+: .*(self-signed|unable to verify)/.test(
            service.output(),
          ),
        20_000,
      );
      expect(await ready(service)).toBe(503);
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
          '--tls-cluster',
          'yes',
          '--cluster-announce-hostname',
          NAME,
          '--cluster-preferred-endpoint-type',
          'hostname',
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
