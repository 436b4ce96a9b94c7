import { Clock } from '../clock.js';
import { readConfig } from '../config/config.js';
import { MemoryEventLog } from './memory/memory-event-log.js';
import { MemorySessionRepository } from './memory/memory-session.repository.js';
import { type Place } from './session.js';
import { StoreUnavailableError } from './session.repository.js';
import { Admissions } from './admissions.js';

/** The embedded store, away for the first few times that a place is settled. */
class FlakyRepository extends MemorySessionRepository {
  failures = 0;

  override async confirm(place: Place): Promise<void> {
    if (this.failures-- > 0) throw new StoreUnavailableError('away');
    return super.confirm(place);
  }
}

describe('settling a place', () => {
  it('is tried again while the store is away: what was delivered is kept', async () => {
    const [{ policy }, clock] = [readConfig({}), new Clock()];
    const repository = new FlakyRepository(policy, clock, new MemoryEventLog(policy, clock, []));
    const sessions = new Admissions(repository);
    const admission = await sessions.admit({
      userId: 'ana',
      sessionId: undefined,
      streamId: 'film',
      phase: undefined,
      window: { oldest: 0, end: 1, start: 0, live: false, phaseMs: 10_000, lastPhaseMs: 10_000 },
      quota: { maxSessions: 3 },
      endSessionIds: [],
    });
    if (admission.outcome !== 'admitted') throw new Error(admission.outcome);
    repository.failures = 2;
    await sessions.settle(admission.place, Promise.resolve(true));
    const again = await repository.admit({
      userId: 'ana',
      sessionId: admission.session.sessionId,
      streamId: 'film',
      phase: 0,
      window: { oldest: 0, end: 1, start: 0, live: false, phaseMs: 10_000, lastPhaseMs: 10_000 },
      quota: { maxSessions: 3 },
      endSessionIds: [],
    });
    expect(again).toMatchObject({ outcome: 'admitted', created: false, place: { reserved: false } });
  });
});
