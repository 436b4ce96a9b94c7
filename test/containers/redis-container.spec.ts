import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connectRedis } from '../../src/sessions/redis/redis-connection.js';
import { RedisSessionRepository } from '../../src/sessions/redis/redis-session.repository.js';
import { describeSessionRepository } from '../contract/session-repository.contract.js';
import { QUIET } from '../support/redis-database.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

/**
 * The public Redis image keeps the promise as well, and the tests' way to it works. Needs a Docker engine; where there
 * is none the suite says so, and fails if REQUIRE_DOCKER promises one.
 */
const engine = (process.env.DOCKER_HOST ?? '').startsWith('tcp:') || existsSync('/var/run/docker.sock');
const needed = process.env.REQUIRE_DOCKER === 'true';
if (!engine && !needed)
  console.log('No Docker engine at /var/run/docker.sock or DOCKER_HOST: the container tests are skipped.');

(engine || needed ? describe : describe.skip)('the Redis store on the Redis image', () => {
  let server: RedisServer;
  let redis: ReturnType<typeof connectRedis>;
  beforeAll(async () => {
    server = await startRedis(['docker']);
    redis = connectRedis({ REDIS_URL: server.url }, QUIET);
    await once(redis, 'ready');
  }, 90_000);
  afterAll(async () => {
    redis?.disconnect();
    await server?.stop();
  });

  describeSessionRepository((policy, clock) => new RedisSessionRepository(redis, policy, clock));
});
