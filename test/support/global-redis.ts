import { type RedisServer, startRedis } from './redis-server.ts';

declare global {
  var streamgateTestRedis: RedisServer | undefined;
}

/** One real Redis for all suites that need one. Each worker uses its own database. */
export default async function startGlobalRedis(): Promise<void> {
  if (globalThis.streamgateTestRedis) return;
  const redis = await startRedis();
  globalThis.streamgateTestRedis = redis;
  process.env.STREAMGATE_TEST_REDIS_URL = redis.url;
  console.log(`\nTests use a real Redis (${redis.from}).`);
}
