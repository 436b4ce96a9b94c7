import { connectRedis } from '../../src/sessions/redis/redis-connection.js';
import { RedisSessionRepository } from '../../src/sessions/redis/redis-session.repository.js';
import { QUIET, useRedisDatabase } from '../support/redis-database.js';
import { describeSessionRepository } from './session-repository.contract.js';

describe('the Redis store', () => {
  const { url } = useRedisDatabase();
  const redis = connectRedis({ REDIS_URL: url }, QUIET);
  afterAll(() => redis.quit());
  describeSessionRepository((policy, clock) => new RedisSessionRepository(redis, policy, clock, QUIET));
});
