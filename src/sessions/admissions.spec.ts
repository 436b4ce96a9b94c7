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
    sessions = new Admissions(repository);
  });
  /** Resolves when the store was told what became of the next reply. */
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

  it('is tried again while the store is away, so that a session whose media arrived is kept', async () => {
    repository.failures = 2;
    const confirmed = settled('confirm');
    const admission = await admit(true);
    if (admission.outcome !== 'admitted') throw new Error(admission.outcome);
    await confirmed;
    expect(await statusOf(admission.session.sessionId)).toEqual({ created: false, reserved: false });
  });

  it('gives back the place of a reply that did not arrive', async () => {
    const withdrawn = settled('withdraw');
    await admit(false);
    await withdrawn;
    expect((await repository.list('ana')).sessions).toEqual([]);
  });

  it('leaves the place of a playlist that arrived as it is: held, and to lapse with the lease', async () => {
    const playlist = await admit(true, false, 'tv');
    expect(playlist.outcome).toBe('admitted');
    // The same store is asked for another session, whose media arrives later: by then the playlist was settled.
    const confirmed = settled('confirm');
    await admit(true, true, 'phone');
    await confirmed;
    expect(await statusOf('tv')).toEqual({ created: false, reserved: true });
  });

  it('watches no reply where nothing was admitted', async () => {
    const arrives = jest.fn(() => Promise.resolve(true));
    const refused = await sessions.admit(
      { ...REQUEST, sessionId: undefined, window: undefined },
      { arrives, isMedia: true },
    );
    expect([refused.outcome, arrives.mock.calls.length]).toEqual(['phase-not-found', 0]);
  });
});
