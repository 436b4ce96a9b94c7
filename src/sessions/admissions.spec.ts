import { setImmediate } from 'node:timers/promises';
import { ManualClock } from '../../test/support/manual-clock.js';
import { elsewhere } from '../../test/support/stores.js';
import { Clock } from '../clock.js';
import { readConfig } from '../config/config.js';
import { MemoryEventLog } from './memory/memory-event-log.js';
import { MemorySessionRepository } from './memory/memory-session.repository.js';
import { type Place } from './session.js';
import { StoreUnavailableError } from './session.repository.js';
import { Metrics } from '../observability/metrics.js';
import { Admissions } from './admissions.js';
import { OutageSessions } from './outage-sessions.js';

/** The embedded store, whose first calls of `confirm` fail. */
class FlakyRepository extends MemorySessionRepository {
  failures = 0;
  onSettled: ((verb: 'confirm' | 'withdraw') => void) | undefined;

  override async confirm(place: Place): Promise<boolean> {
    if (this.failures-- > 0) throw new StoreUnavailableError('away');
    const holds = await super.confirm(place);
    this.onSettled?.('confirm');
    return holds;
  }

  override async withdraw(place: Place): Promise<void> {
    await super.withdraw(place);
    this.onSettled?.('withdraw');
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
    sessions = new Admissions(repository, new Metrics(), clock);
  });
  /** Resolves when the store has handled the next call of `verb`. */
  const settled = (verb: 'confirm' | 'withdraw'): Promise<void> =>
    new Promise((resolve) => {
      repository.onSettled = (settledBy) => {
        if (settledBy === verb) resolve();
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

describe('what continues while the store is away (STORE_DOWN_POLICY=open)', () => {
  const { policy } = readConfig({ MAX_SESSIONS_PER_USER: '2' });
  let clock: ManualClock;
  let repository: MemorySessionRepository;
  let sessions: Admissions;
  beforeEach(() => {
    clock = new ManualClock();
    repository = new MemorySessionRepository(policy, clock, new MemoryEventLog(policy, clock, []));
    sessions = new Admissions(repository, new Metrics(), clock, new OutageSessions(policy, clock));
  });
  const request = { ...REQUEST, quota: policy.quota };
  /** Asks for a phase, and returns when its reply was settled. */
  const ask = async (
    sessionId: string,
    more: object = {},
    arrives: Promise<boolean> = Promise.resolve(true),
  ) => {
    const { outcome } = await sessions.admit(
      { ...request, sessionId, ...more },
      { arrives: () => arrives, isMedia: true },
    );
    if (await arrives) await setImmediate();
    return outcome;
  };
  const continued = async (...ids: string[]): Promise<string[]> => {
    const away = new StoreUnavailableError('away', { announced: true, away: true });
    jest.spyOn(repository, 'admit').mockRejectedValue(away);
    const outcomes = await Promise.all(ids.map(async (id) => ask(id, { phase: 0 }).catch(() => 'refused')));
    return ids.filter((_, at) => outcomes[at] === 'admitted');
  };
  afterEach(() => jest.restoreAllMocks());

  it('is each session whose phases were delivered', async () => {
    await ask('a');
    await ask('b');
    expect(await continued('a', 'b', 'c')).toEqual(['a', 'b']);
  });

  it('is promised by the last phase that was delivered, not by one that was not', async () => {
    await ask('a');
    clock.advance(20_000);
    await ask('a', {}, Promise.resolve(false));
    clock.advance(10_000);
    expect(await continued('a')).toEqual([]);
  });

  it('is promised by the latest phase, in whatever order the replies were delivered', async () => {
    await ask('a');
    const first = Promise.withResolvers<boolean>();
    clock.advance(1_000);
    const slow = ask('a', { phase: 0 }, first.promise);
    clock.advance(9_000);
    await ask('a', { phase: 1 });
    first.resolve(true);
    await slow;
    clock.advance(29_000);
    expect(await continued('a')).toEqual(['a']);
  });

  it.each([
    ['by another session', async () => ask('c', { endSessionIds: ['a'] })],
    [
      'through this instance',
      async () => {
        await repository.end('ana', ['a'], 'operator');
      },
    ],
    [
      'with all others',
      async () => {
        await repository.end('ana', 'all', 'operator');
        await ask('b');
      },
    ],
  ])('is no session that was ended %s', async (_, end) => {
    await ask('a');
    await ask('b', {}, Promise.resolve(true));
    await end();
    expect(await continued('a')).toEqual([]);
  });

  it('is no session that was ended while the reply of its last phase was on its way', async () => {
    await ask('a');
    const last = Promise.withResolvers<boolean>();
    clock.advance(1_000);
    const slow = ask('a', {}, last.promise);
    clock.advance(1_000);
    await repository.end('ana', ['a'], 'user');
    await ask('b');
    last.resolve(true);
    await slow;
    expect(await continued('a', 'b')).toEqual(['b']);
  });

  it('is no idle session of a player that started another one', async () => {
    const client = 'a player without a device';
    await ask('a', { client });
    clock.advance(25_000);
    // Through another instance.
    const other = await repository.admit({ ...request, sessionId: 'b' });
    if (other.outcome === 'admitted') await repository.confirm(other.place);
    await ask('c', { client });
    expect(await continued('a', 'c')).toEqual(['c']);
  });

  it('is no session whose device started another one', async () => {
    const device = { id: 'tv' };
    await ask('a', { device });
    await ask('b', { device });
    expect(await continued('a', 'b')).toEqual(['b']);
  });

  it('is no session that lost its place before its first phase was delivered', async () => {
    const late = Promise.withResolvers<boolean>();
    const slow = ask('a', {}, late.promise);
    await elsewhere(repository).end('ana', ['a'], 'user');
    late.resolve(true);
    await slow;
    expect(await continued('a')).toEqual([]);
  });

  it('is never more than the limit, even if another instance ended a session', async () => {
    await ask('a');
    clock.advance(1);
    await ask('b');
    await elsewhere(repository).end('ana', ['a'], 'user');
    clock.advance(1);
    await ask('c');
    expect(await continued('a', 'b', 'c')).toEqual(['b', 'c']);
  });
});
