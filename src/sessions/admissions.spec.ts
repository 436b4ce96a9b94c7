import { Clock } from '../clock.js';
import { readConfig } from '../config/config.js';
import { MemoryEventLog } from './memory/memory-event-log.js';
import { MemorySessionRepository } from './memory/memory-session.repository.js';
import { type Place } from './session.js';
import { StoreUnavailableError } from './session.repository.js';
import { Metrics } from '../observability/metrics.js';
import { Admissions } from './admissions.js';

/** The embedded store, whose first calls of `confirm` fail. */
class FlakyRepository extends MemorySessionRepository {
  failures = 0;

  override async confirm(place: Place): Promise<void> {
    if (this.failures-- > 0) throw new StoreUnavailableError('away');
    return super.confirm(place);
  }
}

const REQUEST = {
  userId: 'ana',
  streamId: 'film',
  phase: undefined,
  window: { oldest: 0, end: 2, start: 0, live: false, phaseMs: 10_000, lastPhaseMs: 10_000 },
  quota: { maxSessions: 3 },
  endSessionIds: [],
};

describe('settling a place', () => {
  const [{ policy }, clock] = [readConfig({}), new Clock()];
  let repository: FlakyRepository;
  let sessions: Admissions;
  beforeEach(() => {
    repository = new FlakyRepository(policy, clock, new MemoryEventLog(policy, clock, []));
    sessions = new Admissions(repository, new Metrics());
  });
  /** Resolves when the store has handled the next call of `verb`. */
  const settled = (verb: 'confirm' | 'withdraw'): Promise<void> =>
    new Promise((resolve) => {
      const original = repository[verb].bind(repository);
      repository[verb] = async (place) => {
        await original(place);
        resolve();
      };
    });
  const admit = async (arrived: boolean, isMedia = true, sessionId?: string) =>
    sessions.admit({ ...REQUEST, sessionId }, { arrives: () => Promise.resolve(arrived), isMedia });
  const statusOf = async (sessionId: string): Promise<unknown> => {
    const again = await repository.admit({ ...REQUEST, sessionId });
    return again.outcome === 'admitted' && { created: again.created, reserved: again.place.reserved };
  };

  it('is retried while the store is unavailable, so that a session whose media was delivered is kept', async () => {
    repository.failures = 2;
    const confirmed = settled('confirm');
    const admission = await admit(true);
    if (admission.outcome !== 'admitted') throw new Error(admission.outcome);
    await confirmed;
    expect(await statusOf(admission.session.sessionId)).toEqual({ created: false, reserved: false });
  });

  it('frees the place of a reply that was not delivered', async () => {
    const withdrawn = settled('withdraw');
    await admit(false);
    await withdrawn;
    expect((await repository.list('ana')).sessions).toEqual([]);
  });

  it('leaves the place of a delivered playlist reserved until its lease lapses', async () => {
    const playlist = await admit(true, false, 'tv');
    expect(playlist.outcome).toBe('admitted');
    // Another session's media is delivered later. When that is confirmed, the playlist was settled as well.
    const confirmed = settled('confirm');
    await admit(true, true, 'phone');
    await confirmed;
    expect(await statusOf('tv')).toEqual({ created: false, reserved: true });
  });

  it('does not watch the reply of a refused request', async () => {
    const arrives = jest.fn(() => Promise.resolve(true));
    const refused = await sessions.admit(
      { ...REQUEST, sessionId: undefined, window: undefined },
      { arrives, isMedia: true },
    );
    expect([refused.outcome, arrives.mock.calls.length]).toEqual(['phase-not-found', 0]);
  });
});
