import { openMemoryStore } from '../support/stores.js';
import { describeAuditLog } from './audit.contract.js';
import { describeScreens } from './screens.contract.js';
import { describeSessionRepository } from './session-repository.contract.js';

describe('the embedded store', () => {
  describeSessionRepository(openMemoryStore);
  describeScreens(openMemoryStore);
  describe('the audit', () => {
    describeAuditLog(openMemoryStore);
  });
});
