import { once } from 'node:events';
import { connectRedis } from '../../src/sessions/redis/redis-connection.js';
import { RedisSessionRepository } from '../../src/sessions/redis/redis-session.repository.js';
import { describeSessionRepository } from '../contract/session-repository.contract.js';
import { QUIET } from '../support/redis-database.js';

/** The public Redis image keeps the promise as well. Without a Docker engine, global-container.ts says why not. */
const url = process.env.STREAMGATE_TEST_CONTAINER_URL;

(url === undefined ? describe.skip : describe)('the Redis store on the Redis image', () => {
  let redis: ReturnType<typeof connectRedis>;
  beforeAll(async () => {
    redis = connectRedis({ REDIS_URL: url! }, QUIET);
    await once(redis, 'ready');
  });
  afterAll(() => redis.quit());

  describeSessionRepository((policy, clock) => new RedisSessionRepository(redis, policy, clock, QUIET));
});
