import { Redis } from 'ioredis';
import { type OwnRedisServer, startOwnSentinel } from './redis-server.js';
import { until } from './until.js';

/** The name by which the Sentinels know the primary. */
export const MASTER = 'films';
const COUNT = 3;

interface Sentinels {
  /** As REDIS_SENTINELS has them. */
  readonly addresses: string;
  readonly servers: readonly OwnRedisServer[];
  /** A connection of its own to each of them. */
  readonly admins: readonly Redis[];
  stop(): Promise<void>;
}

/** Starts three Sentinels that watch a primary with one replica. They call it down after `silenceMs` without a reply. */
export async function startSentinels(
  primaryUrl: string,
  password: string,
  silenceMs = 1_000,
): Promise<Sentinels> {
  const { hostname, port } = new URL(primaryUrl);
  const servers = await Promise.all(
    Array.from({ length: COUNT }, async () =>
      startOwnSentinel([
        `sentinel monitor ${MASTER} ${hostname} ${port} 2`,
        `sentinel down-after-milliseconds ${MASTER} ${silenceMs}`,
        `sentinel failover-timeout ${MASTER} 5000`,
        `requirepass ${password}`,
        `sentinel sentinel-pass ${password}`,
      ]),
    ),
  );
  const admins = servers.map(({ url }) => new Redis(url, { password, enableReadyCheck: false, protocol: 2 }));
  for (const admin of admins) admin.on('error', () => undefined);
  const isComplete = async (admin: Redis): Promise<boolean> => {
    const fields = (await admin.call('SENTINEL', 'MASTER', MASTER)) as string[];
    const numberOf = (name: string): number => Number(fields[fields.indexOf(name) + 1]);
    return numberOf('num-slaves') === 1 && numberOf('num-other-sentinels') === COUNT - 1;
  };
  await until(async () => (await Promise.all(admins.map(isComplete))).every(Boolean));
  return {
    addresses: servers.map(({ url }) => new URL(url).host).join(','),
    servers,
    admins,
    async stop() {
      for (const admin of admins) admin.disconnect();
      await Promise.all(servers.map(async (server) => server.stop()));
    },
  };
}
