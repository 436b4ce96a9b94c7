import { Redis } from 'ioredis';
import { Availability } from '../../src/sessions/redis/availability.js';
import { type RedisLink, connectRedis } from '../../src/sessions/redis/link.js';

/**
 * An empty database of the test server for the calling suite, which is emptied again at its end. The server may be used by
 * others (REDIS_URL), so that a database with data is refused and never flushed.
 */
export function useRedisDatabase(): RedisDatabase {
  const url = new URL(process.env.STREAMGATE_TEST_REDIS_URL!);
  url.pathname = `/${process.env.JEST_WORKER_ID}`;
  const redis = new Redis(url.href, { lazyConnect: true });
  let ours = false;
  const empty = async (): Promise<void> => {
    if (ours) await redis.flushdb();
  };
  beforeAll(async () => {
    await redis.connect();
    const keys = await redis.dbsize();
    if (keys > 0)
      throw new Error(
        `Database ${url.pathname} of the test Redis holds ${keys} keys, such as ${await redis.randomkey()}; ` +
          'give the tests an empty one.',
      );
    ours = true;
  });
  afterAll(async () => {
    await empty();
    await redis.quit();
  });
  return { url: url.href, redis, empty };
}

interface RedisDatabase {
  readonly url: string;
  readonly redis: Redis;
  /** Empties the database; does nothing if it was refused. */
  readonly empty: () => Promise<void>;
}

/** Ignores the log lines of connections, for tests that are not about them. */
export const QUIET = new Availability({
  log: () => undefined,
  warn: () => undefined,
  error: () => undefined,
});

/** A connection like that of the service, but with a longer time-out, because the machine may be busy. */
export function connectPatiently(
  url: string,
  settings: { isCluster?: boolean; awaitsReplica?: boolean } = {},
): RedisLink {
  return connectRedis({ url, ...settings }, QUIET, 15_000);
}

/** A link for the calling suite, which is ready before its tests and closed after them. */
export function useConnection(url: () => string, settings?: { isCluster?: boolean }): () => RedisLink {
  let link: RedisLink;
  beforeAll(async () => {
    link = connectPatiently(url(), settings);
    await link.attempted();
  });
  afterAll(() => link.close());
  return () => link;
}
