import { ALL_PARTITIONS, PARTITIONS, partitionKeys, userKeys } from '../../src/sessions/redis/keys.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { useConnection } from '../support/redis-database.js';
import { openRedisStore } from '../support/stores.js';
import { describeAuditLog } from './audit.contract.js';
import { describeScreens } from './screens.contract.js';
import { describeSessionRepository } from './session-repository.contract.js';

describe('the Redis store on a cluster of three nodes', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster();
  });
  const redis = useConnection(() => cluster.url, { isCluster: true });
  afterAll(() => cluster.stop());

  beforeEach(() => cluster.empty());
  describeSessionRepository((policy, clock) => openRedisStore(redis(), policy, clock));
  describeScreens((policy, clock) => openRedisStore(redis(), policy, clock));
  describe('the audit', () => {
    describeAuditLog((policy, clock) => openRedisStore(redis(), policy, clock));
  });

  it('spreads its partitions evenly over all slots, with the records and the index of a user in one slot', async () => {
    const [admin] = cluster.admins;
    const slots = ALL_PARTITIONS.map((at) => admin!.cluster('KEYSLOT', partitionKeys(at).state));
    expect(await Promise.all(slots)).toEqual(Array.from({ length: PARTITIONS }, (_, at) => at * 64));
    for (const user of ['ana', 'ben', 'a'.repeat(64), 'x:y', '~@._-']) {
      const { records, index } = userKeys(user);
      expect(await admin!.cluster('KEYSLOT', records)).toBe(await admin!.cluster('KEYSLOT', index));
      expect(
        records.startsWith(
          partitionKeys(Math.floor((await admin!.cluster('KEYSLOT', user)) / 64)).recordsPrefix,
        ),
      ).toBe(true);
    }
  });

  it('spreads its partitions within one of even over its nodes', async () => {
    const holders = ALL_PARTITIONS.map((at) => redis().holderOf(partitionKeys(at).state));
    const counts = [...Map.groupBy(holders, (name) => name).values()].map(({ length }) => length);
    expect(counts).toHaveLength(3);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
  });
});
