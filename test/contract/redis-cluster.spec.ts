import { Redis } from 'ioredis';
import { PARTITIONS, partitionKeys, userKeys } from '../../src/sessions/redis/keys.js';
import { type OwnRedisServer, startOwnRedis } from '../support/redis-server.js';
import { useConnection } from '../support/redis-database.js';
import { openRedisStore } from '../support/stores.js';
import { describeScreens } from './screens.contract.js';
import { describeSessionRepository } from './session-repository.contract.js';

/** A server in cluster mode refuses a script that uses keys of two slots, even if it serves both. */
describe('the Redis store on a node of a cluster', () => {
  let server: OwnRedisServer;
  let admin: Redis;
  beforeAll(async () => {
    server = await startOwnRedis(['--cluster-enabled', 'yes']);
    admin = new Redis(server.url);
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
    while (!(await admin.cluster('INFO')).includes('cluster_state:ok'))
      await new Promise((resolve) => setTimeout(resolve, 10));
  });
  const redis = useConnection(() => server.url);
  afterAll(async () => {
    await admin.quit();
    await server.stop();
  });

  beforeEach(async () => {
    await admin.flushdb();
  });
  describeSessionRepository((policy, clock) => openRedisStore(redis(), policy, clock));
  describeScreens((policy, clock) => openRedisStore(redis(), policy, clock));

  it('spreads its partitions evenly over all slots, with the records and the index of a user in one slot', async () => {
    const slots = Array.from({ length: PARTITIONS }, (_, at) =>
      admin.cluster('KEYSLOT', partitionKeys(at).state),
    );
    expect(await Promise.all(slots)).toEqual(Array.from({ length: PARTITIONS }, (_, at) => at * 64));
    for (const user of ['ana', 'ben', 'a'.repeat(64), 'x:y', '~@._-']) {
      const { records, index } = userKeys(user);
      expect(await admin.cluster('KEYSLOT', records)).toBe(await admin.cluster('KEYSLOT', index));
      expect(
        records.startsWith(
          partitionKeys(Math.floor((await admin.cluster('KEYSLOT', user)) / 64)).recordsPrefix,
        ),
      ).toBe(true);
    }
  });
});
