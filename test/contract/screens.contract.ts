import { type Policy } from '../../src/sessions/admission.js';
import { type Device } from '../../src/sessions/device.js';
import {
  type Admission,
  type AdmissionRequest,
  type Place,
  type Session,
} from '../../src/sessions/session.js';
import { ManualClock } from '../support/manual-clock.js';
import { POLICY, type Store, eventsOf } from '../support/stores.js';
import { filmOf } from '../support/windows.js';

const X = POLICY.idleAfterMs;
const TV: Device = { id: 'tv-1', name: 'Living-room TV', type: 'tv' };
let users = 0;

/**
 * The part of the contract about players: a place lasts as long as the phases that were handed out, no player can fetch
 * far ahead, and a device plays one stream at a time. X = 10 s, n = 3, limit 3.
 */
export function describeScreens(open: (policy: Policy, clock: ManualClock) => Store): void {
  let clock: ManualClock;
  let store: Store['sessions'];
  let events: Store['events'];
  let userId: string;
  beforeEach(() => {
    clock = new ManualClock();
    ({ sessions: store, events } = open(POLICY, clock));
    userId = `screens-${++users}`;
  });

  const ask = (sessionId: string, more: Partial<AdmissionRequest> = {}): Promise<Admission> =>
    store.admit({
      userId,
      sessionId,
      streamId: 'film',
      phase: undefined,
      window: filmOf(100),
      endSessionIds: [],
      quota: POLICY.quota,
      ...more,
    });
  const place = async (sessionId: string, more: Partial<AdmissionRequest> = {}): Promise<Place> => {
    const admission = await ask(sessionId, more);
    if (admission.outcome !== 'admitted') throw new Error(`${sessionId} was refused: ${admission.outcome}`);
    return admission.place;
  };
  /** Fetches a phase, and returns how long the session then has left to play, in milliseconds. */
  const take = async (sessionId: string, more: Partial<AdmissionRequest> = {}): Promise<number> => {
    const taken = await place(sessionId, more);
    if (taken.reserved) await store.confirm(taken);
    return (await session(sessionId)).playsUntil - clock.now();
  };
  const session = async (sessionId: string): Promise<Session> =>
    (await store.list(userId)).sessions.find((one) => one.sessionId === sessionId)!;
  const live = async (): Promise<string[]> =>
    (await store.list(userId)).sessions.map(({ sessionId }) => sessionId);

  describe('what is left to play', () => {
    it('is exactly X after each request of a client that sends one request every X', async () => {
      for (let phase = 0; phase < 4; phase++) {
        await take('a');
        const now = clock.now();
        expect(await session('a')).toMatchObject({
          lastActivityAt: now,
          playsUntil: now + X,
          idleAt: now + X,
          expiresAt: now + 3 * X,
        });
        clock.advance(X);
      }
    });

    it('keeps the place of a session that fetched eight phases in a row until they have played', async () => {
      const begun = clock.now();
      const policy = { ...POLICY, maxAheadMs: 8 * X };
      ({ sessions: store } = open(policy, clock));
      for (let phase = 0; phase < 8; phase++) await take('a');
      expect(await session('a')).toMatchObject({ idleAt: begun + 8 * X, expiresAt: begun + 10 * X });
      for (const other of ['b', 'c']) await take(other);
      clock.advance(3 * X);
      for (const other of ['b', 'c']) await take(other);
      expect(await ask('d')).toMatchObject({ outcome: 'limit-reached', retryAt: begun + 6 * X });
      clock.advance(10 * X - 3 * X - 1);
      expect(await live()).toEqual(['a']);
      clock.advance(1);
      expect(await live()).toEqual([]);
    });

    it('grows by the duration of each new phase, but not if a phase is fetched again', async () => {
      expect(await take('a')).toBe(X);
      expect(await take('a', { phase: 0 })).toBe(X);
      expect(await take('a')).toBe(2 * X);
      expect(await take('a', { phase: 1 })).toBe(2 * X);
      // The same phases in another quality, and then a new phase.
      expect(await take('a', { phase: 0 })).toBe(2 * X);
      expect(await take('a', { phase: 1 })).toBe(2 * X);
      expect(await take('a', { phase: 2 })).toBe(3 * X);
    });

    it('grows if a phase that has already played is fetched again', async () => {
      await take('a');
      await take('a');
      clock.advance(1.5 * X);
      expect(await take('a', { phase: 0 })).toBe(1.5 * X);
    });

    it('grows only by the actual duration of the last phase of a film', async () => {
      const window = { ...filmOf(2)!, lastPhaseMs: 4_000 };
      await take('a', { window });
      expect(await take('a', { window })).toBe(X + 4_000);
    });

    it('is not shortened by a seek or by a move', async () => {
      await take('a');
      await take('a');
      expect(await take('a', { phase: 50 })).toBe(3 * X);
      expect(await take('a', { streamId: 'news' })).toBe(4 * X);
      expect(await take('a', { phase: 'same', streamId: 'film' })).toBe(4 * X);
    });

    it('does not grow by playlists, but by the first phase after a playlist', async () => {
      expect(await take('a', { phase: 'same' })).toBe(0);
      expect(await take('a', { phase: 0 })).toBe(X);
      expect(await take('a', { phase: 'same' })).toBe(X);
      expect(await take('a')).toBe(2 * X);
    });

    it('starts with the first phase after a session loaded only a playlist', async () => {
      await take('a', { phase: 'same' });
      expect(await ask('a')).toMatchObject({ session: { phase: 0 } });
      expect(await ask('a')).toMatchObject({ session: { phase: 1 } });
    });

    it('shrinks again if the phase did not arrive', async () => {
      await take('a');
      const before = await session('a');
      clock.advance(1_000);
      await store.withdraw(await place('a'));
      expect(await session('a')).toEqual(before);
    });

    it('shrinks until the first keepalive of a pause, and stays the same until the last', async () => {
      for (let phase = 0; phase < 4; phase++) await take('a');
      for (let beat = 0; beat < 5; beat++) {
        clock.advance(X);
        await store.keepAlive(userId, 'a');
        expect((await session('a')).playsUntil).toBe(clock.now() + 3 * X);
      }
      expect(await take('a')).toBe(4 * X);
    });

    it('stays the same from a keepalive at the instant of the phase on', async () => {
      await take('a');
      for (let beat = 0; beat < 3; beat++) {
        await store.keepAlive(userId, 'a');
        clock.advance(X);
      }
      expect((await session('a')).playsUntil).toBe(clock.now());
    });

    it('is not forgotten over several pauses, however short', async () => {
      for (let phase = 0; phase < 6; phase++) {
        await take('a');
        await store.keepAlive(userId, 'a');
        clock.advance(X);
        await store.keepAlive(userId, 'a');
      }
      expect((await session('a')).playsUntil).toBe(clock.now() + 6 * X);
      expect(await take('a')).toBe(7 * X);
      expect(await ask('a')).toMatchObject({ outcome: 'too-far-ahead' });
    });

    it('is part of the event of an expiry', async () => {
      await take('a');
      await take('a');
      const { playsUntil } = await session('a');
      clock.advance(4 * X);
      await store.expireIdle({ maxSessions: 1_000 });
      const [expired] = (await eventsOf({ events }, userId)).filter(({ type }) => type === 'session.expired');
      expect(expired!.session).toMatchObject({ playsUntil, idleAt: playsUntil });
    });
  });

  describe('the bound on fetching ahead', () => {
    it('refuses a phase while too much is left to play, without a change', async () => {
      for (let phase = 0; phase < 7; phase++) await take('a');
      const before = await session('a');
      clock.advance(2_500);
      expect(await ask('a')).toEqual({
        outcome: 'too-far-ahead',
        now: clock.now(),
        retryAt: clock.now() + X - 2_500,
      });
      expect(await session('a')).toEqual({ ...before, state: 'active' });
      clock.advance(X - 2_501);
      expect(await ask('a')).toMatchObject({ outcome: 'too-far-ahead', retryAt: clock.now() + 1 });
      clock.advance(1);
      expect(await take('a')).toBe(7 * X);
    });

    it('applies to seeks and moves, but not to phases that are fetched again', async () => {
      for (let phase = 0; phase < 7; phase++) await take('a');
      for (const more of [{ phase: 50 }, { streamId: 'news' }, { phase: 0, streamId: 'news' }])
        expect(await ask('a', more)).toMatchObject({ outcome: 'too-far-ahead' });
      for (const phase of [6, 1, 3]) expect(await take('a', { phase })).toBe(7 * X);
    });

    it('allows up to X more to a paced player after a pause, which can hide that it played', async () => {
      for (let phase = 0; phase < 5; phase++) await take('a', { paced: true });
      await store.keepAlive(userId, 'a'); // counts as 1 ms
      clock.advance(X - 1_001);
      await store.keepAlive(userId, 'a');
      expect(await ask('a', { paced: true })).toMatchObject({ retryAt: clock.now() + 1_000 });
      clock.advance(1_000);
      await store.keepAlive(userId, 'a');
      expect(await take('a', { paced: true })).toBe(6 * X);
      expect(await ask('a', { paced: true })).toMatchObject({ retryAt: clock.now() + 2 * X });
    });

    it('is lower for consecutive phases of a paced player, so that the player can still seek', async () => {
      for (let phase = 0; phase < 5; phase++) await take('a', { paced: true });
      expect(await ask('a', { paced: true })).toMatchObject({
        outcome: 'too-far-ahead',
        retryAt: clock.now() + X,
      });
      expect(await take('a', { phase: 50, paced: true })).toBe(6 * X);
      expect(await ask('a', { paced: true })).toMatchObject({ retryAt: clock.now() + 2 * X });
      expect(await take('a', { phase: 70, paced: true })).toBe(7 * X);
      expect(await ask('a', { phase: 90, paced: true })).toMatchObject({ retryAt: clock.now() + X });
    });

    it('does not count phases after seeks as consecutive', async () => {
      for (const phase of [40, 30, 20]) await take('a', { phase });
      // Only phase 20 counts as consecutive, so that 19 is new.
      expect(await take('a', { phase: 19 })).toBe(4 * X);
    });

    it('is checked after the end of the film', async () => {
      for (let phase = 0; phase < 7; phase++) await take('a');
      expect(await ask('a', { phase: 100 })).toEqual({ outcome: 'phase-not-found' });
      expect(await ask('a', { window: undefined })).toEqual({ outcome: 'phase-not-found' });
    });

    it('works after the clock was set back', async () => {
      for (let phase = 0; phase < 5; phase++) await take('a');
      clock.advance(-60_000);
      expect(await take('a')).toBe(6 * X);
    });
  });

  describe('a device', () => {
    it('is shown with its session, and only its name can change', async () => {
      await take('a', { device: TV });
      expect((await session('a')).device).toEqual(TV);
      await take('a', { device: { ...TV, name: 'Attic TV', type: 'phone', shared: true } });
      expect((await session('a')).device).toEqual({ ...TV, name: 'Attic TV' });
      await take('a', { device: { id: 'other' } });
      await take('a');
      expect((await session('a')).device).toEqual({ ...TV, name: 'Attic TV' });
      await take('b');
      await take('b', { device: TV });
      expect((await session('b')).device).toBeUndefined();
    });

    it('gets the place of its former session for a new session, even if all places are taken', async () => {
      await take('old', { device: TV });
      for (const other of ['b', 'c']) await take(other);
      expect(await ask('new', { device: TV })).toMatchObject({ outcome: 'admitted', created: true, live: 3 });
      expect(await live()).toEqual(['b', 'c', 'new']);
      expect(await ask('old', { device: TV })).toMatchObject({
        outcome: 'session-ended',
        reason: 'replaced',
        replacedBy: { sessionId: 'new', device: TV },
      });
      const ended = (await eventsOf({ events }, userId)).filter(({ type }) => type === 'session.ended');
      expect(ended).toMatchObject([
        { sessionId: 'old', reason: 'replaced', replacedBy: { sessionId: 'new', device: TV } },
      ]);
    });

    it('gives up its former session even if other places are free', async () => {
      await take('old', { device: TV });
      await take('new', { device: TV });
      expect(await live()).toEqual(['new']);
    });

    it('that is shared can have several sessions', async () => {
      const browser = { id: 'browser', shared: true };
      for (const tab of ['a', 'b', 'c']) await take(tab, { device: browser });
      expect(await live()).toHaveLength(3);
      expect(await ask('d', { device: browser })).toMatchObject({ outcome: 'limit-reached' });
      // Its sessions are not replaced by a session that does not say that the device is shared.
      expect(await ask('d', { device: { id: 'browser' } })).toMatchObject({ outcome: 'limit-reached' });
    });

    it('of another user is another device', async () => {
      await take('a', { device: TV });
      const other = await ask('a', { userId: `${userId}-other`, device: TV });
      expect(other).toMatchObject({ outcome: 'admitted', created: true, live: 1 });
      expect(await live()).toEqual(['a']);
    });

    it('that requests a missing phase replaces no session', async () => {
      await take('old', { device: TV });
      expect(await ask('new', { device: TV, window: undefined })).toEqual({ outcome: 'phase-not-found' });
      expect(await live()).toEqual(['old']);
    });
  });

  describe('a client without a device', () => {
    const client = 'mpv at home';

    it('takes the place of its idle session if no other place is free', async () => {
      await take('ghost', { client });
      clock.advance(X);
      for (const other of ['b', 'c']) await take(other);
      expect(await ask('new', { client })).toMatchObject({ outcome: 'admitted', live: 3 });
      expect(await live()).toEqual(['b', 'c', 'new']);
      expect(await ask('ghost')).toMatchObject({ outcome: 'session-ended', reason: 'replaced' });
    });

    it('takes no place of an active session, of another client, or while a place is free', async () => {
      await take('plays', { client });
      clock.advance(X - 1);
      for (const other of ['b', 'c']) await take(other);
      expect(await ask('new', { client })).toMatchObject({ outcome: 'limit-reached' });
      clock.advance(1);
      expect(await ask('new', { client: 'another' })).toMatchObject({ outcome: 'limit-reached' });
      await store.end(userId, ['b'], 'user');
      expect(await ask('new', { client })).toMatchObject({ outcome: 'admitted', live: 3 });
      expect(await live()).toEqual(['plays', 'c', 'new']);
    });

    it('replaces its session that has been silent for the longest time', async () => {
      await take('first', { client });
      clock.advance(1_000);
      await take('second', { client });
      await take('c');
      clock.advance(X);
      await take('new', { client });
      expect(await live()).toEqual(['c', 'second', 'new']);
    });
  });

  describe('noteActivity', () => {
    it('moves the last activity forward, but not back and not beyond the present', async () => {
      await take('a');
      const begun = clock.now();
      clock.advance(8_000);
      const at = async (instant: number): Promise<number | undefined> => {
        const answer = await store.noteActivity(userId, 'a', instant);
        return answer.outcome === 'kept' ? answer.session.lastActivityAt - begun : undefined;
      };
      expect(await at(begun + 5_000)).toBe(5_000);
      expect(await at(begun + 4_000)).toBe(5_000);
      expect(await at(begun + 60_000)).toBe(8_000);
      expect(await session('a')).toMatchObject({ expiresAt: begun + 8_000 + 3 * X });
    });

    it('neither creates nor confirms a session', async () => {
      expect(await store.noteActivity(userId, 'a', clock.now())).toEqual({ outcome: 'session-not-found' });
      await place('a');
      clock.advance(1_000);
      await store.noteActivity(userId, 'a', clock.now());
      clock.advance(POLICY.leaseMs - 1_000);
      expect(await live()).toEqual([]);
    });

    it('reports that the session was ended', async () => {
      await take('a');
      await store.end(userId, ['a'], 'operator');
      expect(await store.noteActivity(userId, 'a', clock.now())).toMatchObject({
        outcome: 'session-ended',
        reason: 'operator',
      });
    });
  });
}
