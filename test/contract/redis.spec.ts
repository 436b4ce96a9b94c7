import { useConnection, useRedisDatabase } from '../support/redis-database.js';
import { openRedisStore } from '../support/stores.js';
import { describeAuditLog } from './audit.contract.js';
import { describeScreens } from './screens.contract.js';
import { describeSessionRepository } from './session-repository.contract.js';

describe('the Redis store', () => {
  const { url, empty } = useRedisDatabase();
  beforeEach(empty);
  const redis = useConnection(() => url);
  describeSessionRepository((policy, clock) => openRedisStore(redis(), policy, clock));
  describeScreens((policy, clock) => openRedisStore(redis(), policy, clock));
  describe('the audit', () => {
    describeAuditLog((policy, clock) => openRedisStore(redis(), policy, clock));
  });
});
