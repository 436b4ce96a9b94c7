import { MemorySessionRepository } from '../../src/sessions/memory/memory-session.repository.js';
import { describeSessionRepository } from './session-repository.contract.js';

describe('the embedded store', () => {
  describeSessionRepository((policy, clock) => new MemorySessionRepository(policy, clock));
});
