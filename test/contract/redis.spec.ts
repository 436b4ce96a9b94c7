import { RedisSessionRepository } from '../../src/sessions/redis/redis-session.repository.js';
import { QUIET, useConnection, useRedisDatabase } from '../support/redis-database.js';
import { describeSessionRepository } from './session-repository.contract.js';

describe('the Redis store', () => {
  const { url } = useRedisDatabase();
  const redis = useConnection(() => url);
  describeSessionRepository((policy, clock) => new RedisSessionRepository(redis(), policy, clock, QUIET));
});
