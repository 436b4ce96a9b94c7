import { openRedisStore } from '../support/stores.js';
import { describeScreens } from '../contract/screens.contract.js';
import { describeSessionRepository } from '../contract/session-repository.contract.js';
import { Redis } from 'ioredis';
import { useConnection } from '../support/redis-database.js';

/** The contract on the public Redis image. Without a Docker engine, global-container.ts prints why it is skipped. */
const url = process.env.STREAMGATE_TEST_CONTAINER_URL;

(url === undefined ? describe.skip : describe)('the Redis store on the Redis image', () => {
  const redis = useConnection(() => url!);
  let admin: Redis;
  beforeAll(() => {
    admin = new Redis(url!);
  });
  afterAll(() => admin.quit());
  beforeEach(async () => {
    await admin.flushdb();
  });
  describeSessionRepository((policy, clock) => openRedisStore(redis(), policy, clock));
  describeScreens((policy, clock) => openRedisStore(redis(), policy, clock));
});
