import { ManualClock } from '../../test/support/manual-clock.js';
import { filmOf } from '../../test/support/windows.js';
import { Tickets } from '../auth/tickets.js';
import { readConfig } from '../config/config.js';
import { type PhaseRequest, Admissions } from '../sessions/admissions.js';
import { MemoryEventLog } from '../sessions/memory/memory-event-log.js';
import { Metrics } from '../observability/metrics.js';
import { MemorySessionRepository } from '../sessions/memory/memory-session.repository.js';
import { type Client, type SessionPlayer, Gate } from './gate.service.js';

const PHASE_MS = 10_000;
const TV_SET: Client = { isPage: false, fingerprint: 'tv set' };
const FILM = filmOf(6);
const ARRIVES = { arrives: () => Promise.resolve(true), isMedia: true };

function stage(environment: Record<string, string> = {}) {
  const clock = new ManualClock();
  const config = readConfig(environment);
  const repository = new MemorySessionRepository(
    config.policy,
    clock,
    new MemoryEventLog(config.policy, clock, []),
  );
  const admissions = new Admissions(repository, new Metrics(), clock);
  const tickets = new Tickets(config, clock);
  const gate = new Gate(admissions, repository, tickets, clock, new Metrics(), config);
  const admit = jest.spyOn(repository, 'admit');
  const list = jest.spyOn(repository, 'list');
  const player = (sessionId: string, userId = 'ana'): SessionPlayer => ({
    userId,
    sessionId,
    streamId: 'film',
    quota: config.policy.quota,
    device: undefined,
    ticket: undefined,
  });
  const fetchAs = async (sessionId: string, phase: number | 'same' = 'same') =>
    gate.admit(player(sessionId), phase, FILM, ARRIVES, { ...TV_SET, fingerprint: sessionId });
  /** Resolves when the replies so far were told to the store: their sessions are permanent. */
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  /** Ends a session on purpose. */
  const end = async (sessionId: string) => repository.end('ana', [sessionId], 'user');
  /** Takes a place as POST /v1/phases does. */
  const admitElsewhere = async (sessionId: string) => {
    const request: PhaseRequest = {
      ...player(sessionId),
      phase: undefined,
      window: FILM,
      endSessionIds: [],
    };
    return admissions.admit(request, ARRIVES);
  };
  return { clock, gate, repository, tickets, admit, list, player, fetchAs, settled, end, admitElsewhere };
}

describe('the gate', () => {
  it('gives the ticket for media to a player that showed one', async () => {
    const { gate, tickets, player } = stage();
    expect(await gate.mediaTicket(player('tv'))).toBeUndefined();
    const ticket = await gate.mediaTicket({ ...player('tv'), ticket: 'of the first playlist' });
    expect(await tickets.open(['media'], ticket!)).toMatchObject({ userId: 'ana', sessionId: 'tv' });
  });
});

describe('the gate, asked for a session,', () => {
  it('gives a client the same one again for 2 s, and not longer for being asked again', () => {
    const { gate, clock, player } = stage();
    const first = gate.sessionFor(player('-'), TV_SET);
    clock.advance(1_999);
    expect(gate.sessionFor(player('-'), TV_SET)).toBe(first);
    clock.advance(1);
    expect(gate.sessionFor(player('-'), TV_SET)).not.toBe(first);
  });

  it('gives another one to another client, user or stream, and where the client may be several players', () => {
    const { gate, player } = stage();
    const given = [
      gate.sessionFor(player('-'), TV_SET),
      gate.sessionFor(player('-'), { ...TV_SET, fingerprint: 'phone' }),
      gate.sessionFor(player('-', 'bob'), TV_SET),
      gate.sessionFor({ ...player('-'), streamId: 'other' }, TV_SET),
      gate.sessionFor(player('-'), { ...TV_SET, isPage: true }),
      gate.sessionFor(player('-'), { ...TV_SET, isPage: true }),
    ];
    expect(new Set(given).size).toBe(given.length);
  });

  it('gives another one as soon as something was fetched with it', () => {
    const { gate, player } = stage();
    const first = gate.sessionFor(player('-'), TV_SET);
    gate.useSession(player('-'), TV_SET);
    expect(gate.sessionFor(player('-'), TV_SET)).not.toBe(first);
  });
});

describe('the gate, asked to admit,', () => {
  it('answers with the session, and with phase-not-found for what does not exist', async () => {
    const { gate, player, fetchAs, repository } = stage();
    expect(await fetchAs('tv', 4)).toMatchObject({ outcome: 'admitted', session: { phase: 4 } });
    expect(await fetchAs('tv', 6)).toMatchObject({ outcome: 'phase-not-found' });
    expect(await gate.admit(player('tv'), 'same', undefined, ARRIVES, TV_SET)).toMatchObject({
      outcome: 'phase-not-found',
    });
    expect((await repository.list('ana')).sessions).toMatchObject([{ sessionId: 'tv', phase: 4 }]);
  });

  it('repeats a refusal for a second without asking the store', async () => {
    const { clock, fetchAs, admit } = stage();
    for (const session of ['a', 'b', 'c']) await fetchAs(session);
    const refused = await fetchAs('d');
    expect(refused).toMatchObject({ outcome: 'refused', refusal: { outcome: 'limit-reached' } });
    clock.advance(999);
    expect(await fetchAs('d')).toEqual(refused);
    expect(admit).toHaveBeenCalledTimes(4);
    clock.advance(1);
    expect(await fetchAs('d')).toMatchObject({ outcome: 'refused' });
    expect(admit).toHaveBeenCalledTimes(5);
  });

  it('repeats it no longer than until the instant at which a place frees', async () => {
    const { clock, fetchAs, settled } = stage();
    for (const session of ['a', 'b', 'c']) await fetchAs(session, 0);
    await settled();
    clock.advance(3 * PHASE_MS - 400);
    expect(await fetchAs('d')).toMatchObject({ outcome: 'refused' });
    clock.advance(399);
    expect(await fetchAs('d')).toMatchObject({ outcome: 'refused' });
    clock.advance(1);
    expect(await fetchAs('d')).toMatchObject({ outcome: 'admitted' });
  });

  it('forgets a refusal where the player begins anew', async () => {
    const { gate, fetchAs, player, end } = stage();
    for (const session of ['a', 'b', 'c', 'd']) await fetchAs(session);
    await end('a');
    expect(await fetchAs('d')).toMatchObject({ outcome: 'refused' });
    gate.forgetRefusal(player('d'));
    expect(await fetchAs('d')).toMatchObject({ outcome: 'admitted' });
  });

  it('remembers that a session was ended for longer than the store, and asks it once in X whether the session lives', async () => {
    const { clock, fetchAs, admit, list, end } = stage();
    await fetchAs('tv');
    await end('tv');
    expect(await fetchAs('tv')).toMatchObject({
      outcome: 'refused',
      refusal: { outcome: 'session-ended', reason: 'user' },
    });
    admit.mockClear();
    // Ten requests in each X, for longer than the ten minutes for which a silent player is remembered.
    for (let asked = 0; asked < 1_000; asked++) {
      clock.advance(PHASE_MS / 10);
      expect(await fetchAs('tv')).toMatchObject({ outcome: 'refused' });
    }
    expect(admit).not.toHaveBeenCalled();
    expect(list).toHaveBeenCalledTimes(100);
    // A player that was silent for ten minutes begins anew.
    clock.advance(600_000);
    expect(await fetchAs('tv')).toMatchObject({ outcome: 'admitted' });
  });

  it('lets an ended session go on that was admitted again elsewhere', async () => {
    const { clock, fetchAs, admitElsewhere, end } = stage();
    await fetchAs('tv');
    await end('tv');
    expect(await fetchAs('tv')).toMatchObject({ outcome: 'refused' });
    clock.advance(3 * PHASE_MS);
    expect(await fetchAs('tv')).toMatchObject({ outcome: 'refused' });
    expect(await admitElsewhere('tv')).toMatchObject({ outcome: 'admitted' });
    clock.advance(PHASE_MS - 1);
    expect(await fetchAs('tv')).toMatchObject({ outcome: 'refused' });
    clock.advance(1);
    expect(await fetchAs('tv', 2)).toMatchObject({ outcome: 'admitted', session: { phase: 2 } });
  });
});
