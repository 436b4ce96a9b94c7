import { ALL_SESSIONS, MAX_ENDED_RECORDS, type Policy } from '../../src/sessions/admission.js';
import { type Admission, type AdmissionRequest, type Place } from '../../src/sessions/session.js';
import { type EventType, type SessionEvent, messageId } from '../../src/sessions/session-events.js';
import { ManualClock } from '../support/manual-clock.js';
import { POLICY, type Store, eventsOf } from '../support/stores.js';
import { filmOf, liveFrom } from '../support/windows.js';

let users = 0;

/**
 * The contract of the ports, which every store must fulfil. `open` returns the ports of the store under test, empty.
 */
export function describeSessionRepository(open: (policy: Policy, clock: ManualClock) => Store): void {
  let clock: ManualClock;
  let store: Store['sessions'];
  let events: Store['events'];
  let outbox: Store['outbox'];
  let userId: string;
  beforeEach(() => {
    clock = new ManualClock();
    ({ sessions: store, events, outbox } = open(POLICY, clock));
    userId = `user-${++users}`;
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
  /** Admits a session and confirms its first phase. */
  const watch = async (sessionId: string, more: Partial<AdmissionRequest> = {}): Promise<Place> => {
    const taken = await place(sessionId, more);
    await store.confirm(taken);
    return taken;
  };
  const live = async (): Promise<string[]> =>
    (await store.list(userId)).sessions.map(({ sessionId }) => sessionId);
  const reported = async (type?: EventType): Promise<SessionEvent[]> =>
    (await eventsOf({ events }, userId)).filter((event) => type === undefined || event.type === type);
  const expired = async (): Promise<string[]> =>
    (await reported('session.expired')).map(({ sessionId }) => sessionId);
  /** Sweeps the whole store, and returns the claimed sessions of the test's user. */
  const sweep = async (): Promise<string[]> => {
    const before = await expired();
    await store.expireIdle({ maxSessions: 1_000 });
    return (await expired()).slice(before.length);
  };

  /** Takes all events, a few at a time, like an instance. */
  const takeAll = async (): Promise<SessionEvent[]> => {
    const taken: SessionEvent[] = [];
    for (let some = await outbox.take(100); some.length > 0; some = await outbox.take(100)) {
      taken.push(...some.map(({ event }) => event).filter((event) => event.userId === userId));
      for (const { event } of some) await outbox.settle(event);
    }
    return taken;
  };

  describe('admit', () => {
    it('counts a place at once, before its first phase is delivered', async () => {
      await place('a');
      await place('b');
      expect(await ask('c')).toMatchObject({ outcome: 'admitted', created: true, live: 3 });
      expect(await ask('d')).toMatchObject({ outcome: 'limit-reached' });
    });

    it('gives a live session its next phase even if the limit is reached', async () => {
      await Promise.all(['a', 'b', 'c'].map((id) => watch(id)));
      clock.advance(29_999);
      expect(await ask('b')).toMatchObject({
        outcome: 'admitted',
        created: false,
        live: 3,
        session: { sessionId: 'b', phase: 1, state: 'active', lastActivityAt: clock.now() },
      });
    });

    it('applies the limit of the plan, which may differ in each request', async () => {
      for (const id of ['a', 'b', 'c']) await watch(id, { quota: { maxSessions: 5 } });
      expect(await ask('d')).toMatchObject({ outcome: 'limit-reached' });
      for (const id of ['d', 'e'])
        expect(await ask(id, { quota: { maxSessions: 5 } })).toMatchObject({
          outcome: 'admitted',
          created: true,
        });
      clock.advance(1_000);
      // The plan was lowered: running sessions continue, and a new one is admitted only when enough of them have ended.
      expect(await ask('a', { quota: { maxSessions: 2 } })).toMatchObject({
        outcome: 'admitted',
        created: false,
        live: 5,
      });
      expect(await ask('f', { quota: { maxSessions: 2 } })).toMatchObject({
        outcome: 'limit-reached',
        retryAt: clock.now() - 1_000 + POLICY.expireAfterMs,
      });
      await store.end(userId, ['b', 'c', 'd'], 'user');
      expect(await ask('f', { quota: { maxSessions: 2 } })).toMatchObject({ outcome: 'limit-reached' });
      await store.end(userId, ['e'], 'user');
      expect(await ask('f', { quota: { maxSessions: 2 } })).toMatchObject({ outcome: 'admitted', live: 2 });
    });

    it('refuses a session over the limit, with the live sessions, oldest first, and the time when a place becomes free', async () => {
      for (const id of ['c', 'a', 'b']) {
        await watch(id);
        clock.advance(100);
      }
      await ask('c');
      const refused = await ask('d');
      expect(refused).toMatchObject({ outcome: 'limit-reached', now: clock.now() });
      if (refused.outcome !== 'limit-reached') return;
      expect(refused.sessions.map(({ sessionId }) => sessionId)).toEqual(['c', 'a', 'b']);
      expect(refused.retryAt).toBe(refused.sessions[1]!.expiresAt); // c was renewed since
      expect(await live()).toEqual(['c', 'a', 'b']);
    });

    it('issues the next phase, or the requested one, or phase 0 after a move', async () => {
      await watch('a');
      expect(await ask('a')).toMatchObject({ session: { phase: 1 } });
      expect(await ask('a', { phase: 40 })).toMatchObject({ session: { phase: 40 } });
      expect(await ask('a')).toMatchObject({ session: { phase: 41 } });
      expect(await ask('a', { streamId: 'news' })).toMatchObject({
        created: false,
        session: { streamId: 'news', phase: 0 },
      });
    });

    it('refuses a phase that does not exist without a change, and only if there is no other reason to refuse', async () => {
      expect(await ask('a', { window: filmOf(0) })).toEqual({ outcome: 'phase-not-found' });
      expect(await live()).toEqual([]);
      await watch('a', { phase: 99 });
      await watch('b');
      await watch('c');
      clock.advance(1_000);
      const before = (await store.list(userId)).sessions;
      expect(await ask('a')).toEqual({ outcome: 'phase-not-found' });
      expect(await ask('a', { phase: 100 })).toEqual({ outcome: 'phase-not-found' });
      expect(await ask('d', { window: filmOf(0) })).toMatchObject({ outcome: 'limit-reached' });
      expect(await ask('d', { window: filmOf(0), endSessionIds: ['b'] })).toEqual({
        outcome: 'phase-not-found',
      });
      expect((await store.list(userId)).sessions).toEqual(before);
    });

    it('renews a session at its current phase if the client fetches the same phase again', async () => {
      await watch('a', { phase: 7 });
      clock.advance(1_000);
      expect(await ask('a', { phase: 'same' })).toMatchObject({
        created: false,
        session: { phase: 7, lastActivityAt: clock.now() },
      });
      expect(await ask('a', { phase: 'same', window: filmOf(5) })).toMatchObject({ session: { phase: 4 } });
      expect(await ask('a', { phase: 'same', streamId: 'news' })).toMatchObject({ session: { phase: 0 } });
      expect(await ask('b', { phase: 'same', window: filmOf(0) })).toEqual({ outcome: 'phase-not-found' });
    });

    it('starts at the live edge, returns there after an absence, and does not go beyond it', async () => {
      const news = { streamId: 'news', window: liveFrom(20, 28, 30) };
      await watch('a', news);
      expect((await store.list(userId)).sessions).toMatchObject([{ phase: 28 }]);
      expect(await ask('a', news)).toMatchObject({ session: { phase: 29 } });
      expect(await ask('a', news)).toMatchObject({ session: { phase: 29 } });
      expect(await ask('a', { ...news, window: liveFrom(20, 28, 31) })).toMatchObject({
        session: { phase: 30 },
      });
      const later = { streamId: 'news', window: liveFrom(40, 48, 50) };
      expect(await ask('a', later)).toMatchObject({ session: { phase: 48 } });
      expect(await ask('a', { ...later, phase: 40 })).toMatchObject({ session: { phase: 40 } });
      expect(await ask('a', { ...later, phase: 39 })).toEqual({ outcome: 'phase-not-found' });
      expect(await ask('a', { ...later, phase: 50 })).toEqual({ outcome: 'phase-not-found' });
    });

    it('counts the sessions of each user separately', async () => {
      await Promise.all(['a', 'b', 'c'].map((id) => watch(id)));
      userId += '-other';
      expect(await ask('a')).toMatchObject({ outcome: 'admitted', created: true, live: 1 });
    });

    it('frees a place at the instant of expiry, without a sweep', async () => {
      await Promise.all(['a', 'b', 'c'].map((id) => watch(id)));
      clock.advance(29_999);
      expect(await ask('d')).toMatchObject({ outcome: 'limit-reached', retryAt: clock.now() + 1 });
      clock.advance(1);
      expect(await live()).toEqual([]);
      expect(await ask('d')).toMatchObject({ outcome: 'admitted', created: true, live: 1 });
    });

    it('removes only as many expired sessions as necessary, the longest silent first, and reports each', async () => {
      for (const id of ['b', 'a', 'c']) {
        await watch(id);
        clock.advance(1);
      }
      clock.advance(30_000);
      await ask('d');
      expect(await reported('session.expired')).toMatchObject([
        { sessionId: 'b', session: { state: 'expired' } },
      ]);
      expect(await ask('a')).toMatchObject({ created: true, session: { phase: 1 } });
      expect(await expired()).toEqual(['b']);
      expect(await sweep()).toEqual(['c']);
    });

    it('lets an expired session continue where it was until its expiry is claimed, and start again afterwards', async () => {
      const { startedAt } = await watch('a', { phase: 7 });
      clock.advance(30_000);
      expect(await ask('a')).toMatchObject({ created: true, session: { startedAt, phase: 8 } });
      clock.advance(30_000);
      expect(await sweep()).toEqual(['a']);
      expect(await ask('a')).toMatchObject({ created: true, session: { startedAt: clock.now(), phase: 0 } });
    });

    it('refuses an expired session whose place was taken', async () => {
      await watch('a');
      clock.advance(30_000);
      await Promise.all(['b', 'c', 'd'].map((id) => watch(id)));
      expect(await ask('a')).toMatchObject({ outcome: 'limit-reached' });
    });
  });

  describe('admit with sessions to end', () => {
    it('ends them and admits in one step', async () => {
      await Promise.all(['a', 'b', 'c'].map((id) => watch(id)));
      expect(await ask('d', { endSessionIds: ['a', 'c'] })).toMatchObject({ outcome: 'admitted', live: 2 });
      expect(await live()).toEqual(['b', 'd']);
      expect(await ask('a')).toEqual({
        outcome: 'session-ended',
        endedAt: clock.now(),
        reason: 'replaced',
        replacedBy: { sessionId: 'd', device: undefined },
      });
    });

    it('ignores unknown, expired and ended sessions, and the id of the request itself', async () => {
      await watch('old');
      clock.advance(30_000);
      await watch('a');
      await store.end(userId, ['a'], 'user');
      await watch('b');
      expect(await ask('b', { endSessionIds: ['b', 'a', 'old', 'nobody'] })).toMatchObject({
        outcome: 'admitted',
        live: 1,
      });
      expect(await ask('a')).toMatchObject({ outcome: 'session-ended', reason: 'user' });
      expect(await sweep()).toEqual(['old']);
    });

    it('ends nothing if it does not admit', async () => {
      await Promise.all(['a', 'b', 'c'].map((id) => watch(id)));
      expect(await ask('d', { endSessionIds: ['nobody'] })).toMatchObject({ outcome: 'limit-reached' });
      await store.end(userId, ['c'], 'user');
      expect(await ask('c', { endSessionIds: ['a'] })).toMatchObject({ outcome: 'session-ended' });
      expect(await live()).toEqual(['a', 'b']);
    });

    it('does not restore them if the phase did not arrive', async () => {
      await watch('a');
      await store.withdraw(await place('b', { endSessionIds: ['a'] }));
      expect(await live()).toEqual([]);
      expect(await ask('a')).toMatchObject({ outcome: 'session-ended' });
    });
  });

  describe('confirm', () => {
    it('makes a new session permanent, with its expiry counted from the admission', async () => {
      const taken = await place('a');
      expect(taken.reserved).toBe(true);
      clock.advance(4_999);
      await store.confirm(taken);
      clock.advance(25_000);
      expect(await live()).toEqual(['a']);
      clock.advance(1);
      expect(await live()).toEqual([]);
    });

    it('is not necessary for a renewal', async () => {
      await watch('a');
      expect((await place('a')).reserved).toBe(false);
    });

    it('does nothing if the reservation has lapsed and other sessions took its place', async () => {
      const taken = await place('a');
      clock.advance(5_000);
      await Promise.all(['b', 'c', 'd'].map((id) => watch(id)));
      await store.confirm(taken);
      expect(await live()).toEqual(['b', 'c', 'd']);
    });

    it('works for a reservation that has lapsed if its place is still free', async () => {
      const taken = await place('a');
      clock.advance(6_000);
      expect(await live()).toEqual([]);
      await store.confirm(taken);
      expect(await live()).toEqual(['a']);
    });

    it('does not revive an ended session, or confirm a later session with the same id', async () => {
      const first = await place('a');
      await store.end(userId, ['a'], 'user');
      await store.confirm(first);
      expect(await live()).toEqual([]);
      clock.advance(30_000);
      const second = await place('a');
      await store.confirm(first);
      clock.advance(5_000);
      expect(await live()).toEqual([]); // the second reservation has lapsed
      expect(second.startedAt).not.toBe(first.startedAt);
    });
  });

  describe('withdraw', () => {
    it('leaves no trace of a new session', async () => {
      await store.withdraw(await place('a'));
      expect(await live()).toEqual([]);
      clock.advance(60_000);
      expect(await sweep()).toEqual([]);
    });

    it('restores the last activity, the stream and the phase of a running session', async () => {
      await watch('a', { phase: 3 });
      const [before] = (await store.list(userId)).sessions;
      clock.advance(12_000);
      await store.withdraw(await place('a', { streamId: 'news', phase: 8 }));
      expect((await store.list(userId)).sessions).toEqual([{ ...before, state: 'idle' }]);
      clock.advance(18_000);
      expect(await live()).toEqual([]);
      expect(await sweep()).toEqual(['a']);
    });

    it('makes a session due for the sweep again, even if a sweep ran before it', async () => {
      await watch('a');
      clock.advance(29_000);
      const renewal = await place('a');
      clock.advance(1_000);
      expect(await sweep()).toEqual([]);
      await store.withdraw(renewal);
      expect(await sweep()).toEqual(['a']);
    });

    it('restores the expiry of a session that was admitted again', async () => {
      await watch('a');
      clock.advance(30_000);
      await store.withdraw(await place('a'));
      expect(await live()).toEqual([]);
      expect(await sweep()).toEqual(['a']);
    });

    it('does nothing if the session was admitted again since', async () => {
      await watch('a');
      clock.advance(1_000);
      const lost = await place('a', { phase: 5 });
      await place('a', { phase: 6 });
      await store.withdraw(lost);
      expect((await store.list(userId)).sessions).toMatchObject([{ phase: 6, lastActivityAt: clock.now() }]);
    });

    it('does nothing the second time', async () => {
      await watch('a');
      const lost = await place('a', { phase: 5 });
      await store.withdraw(lost);
      const kept = await place('a', { phase: 9 });
      await store.withdraw(lost);
      expect((await store.list(userId)).sessions).toMatchObject([{ phase: 9 }]);
      expect(kept.version).not.toBe(lost.version);
    });

    it('keeps a new session whose first phase arrived, if a concurrent second phase did not', async () => {
      const first = await place('a');
      const second = await place('a');
      await store.withdraw(second);
      await store.confirm(first);
      clock.advance(6_000);
      expect((await store.list(userId)).sessions).toMatchObject([{ sessionId: 'a', phase: 0 }]);
    });

    it('does not change a session that was ended since', async () => {
      const taken = await place('a');
      await store.end(userId, ['a'], 'operator');
      await store.withdraw(taken);
      expect(await ask('a')).toMatchObject({ outcome: 'session-ended', reason: 'operator' });
    });
  });

  describe('end', () => {
    it('is told to the listeners of this instance, and so is each later answer that the session is ended', async () => {
      await watch('a');
      await watch('b');
      const told: unknown[] = [];
      store.onEnded((user, ids) => {
        if (user === userId) told.push(ids);
      });
      await store.end(userId, ['a'], 'user');
      await store.keepAlive(userId, 'a');
      await store.noteActivity(userId, 'a', clock.now());
      await store.keepAlive(userId, 'b');
      await store.end(userId, 'all', 'operator');
      expect(told).toEqual([['a'], ['a'], ['a'], 'all']);
    });

    it('admits a session whose player quit again as a new session, if a place is free', async () => {
      await watch('a');
      const life = clock.now();
      await store.end(userId, ['a'], 'left');
      expect(await ask('a')).toMatchObject({ outcome: 'session-ended', reason: 'left' }); // at the same instant
      expect(await store.keepAlive(userId, 'a')).toMatchObject({ outcome: 'session-ended', reason: 'left' });
      clock.advance(1);
      await Promise.all(['b', 'c', 'd'].map((id) => watch(id)));
      expect(await ask('a')).toMatchObject({ outcome: 'limit-reached' });
      await store.end(userId, ['b'], 'left');
      expect(await ask('a')).toMatchObject({
        outcome: 'admitted',
        created: true,
        live: 3,
        session: { phase: 0, startedAt: life + 1 },
      });
    });

    it('frees the place at once, and remembers the end for n·X', async () => {
      await Promise.all(['a', 'b', 'c'].map((id) => watch(id)));
      const { ended } = await store.end(userId, ['b'], 'user');
      expect(ended).toMatchObject([{ sessionId: 'b' }]);
      expect(await ask('d')).toMatchObject({ outcome: 'admitted', live: 3 });
      clock.advance(29_999);
      expect(await store.end(userId, ['b'], 'user')).toEqual({ ended: [], endedBefore: ['b'] });
      expect(await ask('b')).toMatchObject({ outcome: 'session-ended', reason: 'user' });
      clock.advance(1);
      expect(await store.end(userId, ['b'], 'user')).toEqual({ ended: [], endedBefore: [] });
      expect(await ask('b')).toMatchObject({ outcome: 'admitted', created: true });
    });

    it('can end all live sessions, which does not include expired ones', async () => {
      await watch('old');
      clock.advance(30_000);
      await watch('a');
      clock.advance(1);
      await place('b');
      const { ended } = await store.end(userId, ALL_SESSIONS, 'user');
      expect(ended.map(({ sessionId }) => sessionId)).toEqual(['a', 'b']);
      expect(await live()).toEqual([]);
      expect(await sweep()).toEqual(['old']);
    });

    it('ignores the sessions of other users', async () => {
      await watch('a');
      expect(await store.end(`${userId}-other`, ['a'], 'user')).toEqual({ ended: [], endedBefore: [] });
      expect(await live()).toEqual(['a']);
    });

    it('remembers only the latest ended sessions, up to a maximum', async () => {
      for (let n = 0; n <= MAX_ENDED_RECORDS; n++) {
        await place(`s${n}`);
        await store.end(userId, [`s${n}`], 'user');
        clock.advance(1);
      }
      expect(await ask('s1')).toMatchObject({ outcome: 'session-ended' });
      expect(await ask('s0')).toMatchObject({ outcome: 'admitted' });
    });

    it('is never reported as an expiry', async () => {
      await watch('a');
      await store.end(userId, ['a'], 'user');
      clock.advance(60_000);
      expect(await sweep()).toEqual([]);
    });
  });

  describe('expireIdle', () => {
    it('claims only sessions that are due', async () => {
      await watch('a');
      clock.advance(1);
      await watch('b');
      await place('never-delivered');
      clock.advance(29_999);
      expect(await sweep()).toEqual(['a']);
      expect(await live()).toEqual(['b']);
      clock.advance(1);
      expect(await sweep()).toEqual(['b']);
      expect(await sweep()).toEqual([]);
    });

    it('says how long ago each session that it claims was due', async () => {
      await watch('a');
      clock.advance(400);
      await watch('b');
      clock.advance(30_007);
      const { expired: claimed, latenessMs } = await store.expireIdle({ maxSessions: 1_000 });
      expect([claimed, latenessMs.toSorted((x, y) => x - y)]).toEqual([2, [7, 407]]);
      expect((await store.expireIdle({ maxSessions: 1_000 })).latenessMs).toEqual([]);
    });

    it('claims a session that was renewed many times', async () => {
      await watch('a');
      for (let n = 0; n < 10; n++) {
        clock.advance(20_000);
        await ask('a', { phase: 0 });
        expect(await sweep()).toEqual([]);
      }
      clock.advance(30_000);
      expect(await sweep()).toEqual(['a']);
    });

    it('claims each expiry once if many sweeps run at the same time', async () => {
      const ids = Array.from({ length: 40 }, (_, n) => `${userId}-${n}`);
      for (const id of ids) {
        userId = id;
        await Promise.all(['a', 'b', 'c'].map((session) => watch(session)));
      }
      clock.advance(30_000);
      const sweeps = await Promise.all(
        Array.from({ length: 8 }, () => store.expireIdle({ maxSessions: 1_000 })),
      );
      expect(sweeps.reduce((sum, one) => sum + one.expired, 0)).toBe(120);
      for (const id of ids) {
        userId = id;
        expect((await expired()).toSorted()).toEqual(['a', 'b', 'c']);
      }
    });

    it('claims a limited number per call, and reports whether there is more', async () => {
      const base = userId;
      for (let n = 0; n < 300; n++) {
        userId = `${base}-${n}`;
        await watch('a');
      }
      clock.advance(30_000);
      const first = await store.expireIdle({ maxSessions: 10 });
      expect(first.more).toBe(true);
      expect(first.expired).toBeGreaterThanOrEqual(10);
      expect(first.expired).toBeLessThan(300);
      let claimed = first.expired;
      for (let more = true; more;) {
        const next = await store.expireIdle({ maxSessions: 100 });
        claimed += next.expired;
        more = next.more;
      }
      expect(claimed).toBe(300);
    });
  });

  describe('a sweep', () => {
    it('claims nothing for X after an outage of more than n·X, in which clients could not send requests', async () => {
      await store.expireIdle({ maxSessions: 1_000 });
      await watch('a');
      await watch('b');
      clock.advance(30_001);
      expect(await store.expireIdle({ maxSessions: 1_000 })).toMatchObject({ expired: 0, more: true });
      clock.advance(9_999);
      expect(await sweep()).toEqual([]);
      expect(await ask('a')).toMatchObject({ created: true, session: { phase: 1 } }); // continues where it was
      clock.advance(1);
      expect(await sweep()).toEqual(['b']);
      expect(await live()).toEqual(['a']);
    });

    it('does not treat a gap of up to n·X as an outage', async () => {
      await store.expireIdle({ maxSessions: 1_000 });
      await watch('a');
      clock.advance(30_000);
      expect(await sweep()).toEqual(['a']);
    });

    it('counts the last sweep of any instance if instances share the work', async () => {
      await store.expireIdle({ maxSessions: 1_000, shared: true });
      await watch('a');
      clock.advance(30_000);
      expect(await store.expireIdle({ maxSessions: 1_000, shared: true })).toMatchObject({ expired: 1 });
    });
  });

  describe('a pause', () => {
    afterEach(() => store.resumeExpiry());

    it('stops only the claims of sweeps, which are made after the pause', async () => {
      await Promise.all(['a', 'b', 'c'].map((id) => watch(id)));
      const since = clock.now();
      expect(await store.pauseExpiry({ by: 'ops', until: undefined })).toEqual({
        since,
        by: 'ops',
        until: undefined,
      });
      for (let seconds = 0; seconds < 60; seconds++) {
        clock.advance(1_000);
        expect(await store.expireIdle({ maxSessions: 10 })).toEqual({
          expired: 0,
          latenessMs: [],
          more: true,
          paused: true,
        });
      }
      expect(await store.expiryPause()).toEqual({ since, by: 'ops', until: undefined });
      // The limit is still exact, and a session that is removed for a new one is reported.
      expect(await ask('d')).toMatchObject({ outcome: 'admitted', live: 1 });
      expect(await expired()).toEqual(['a']);
      await store.resumeExpiry();
      expect(await store.expiryPause()).toBeUndefined();
      expect(await sweep()).toEqual(['b', 'c']);
      expect(await sweep()).toEqual([]);
    });

    it('ends by itself at the given instant', async () => {
      await watch('a');
      await store.pauseExpiry({ by: undefined, until: clock.now() + 30_000 });
      clock.advance(29_999);
      expect(await store.expireIdle({ maxSessions: 10 })).toMatchObject({ paused: true });
      expect(await store.expiryPause()).toMatchObject({ by: undefined });
      clock.advance(1);
      expect(await store.expiryPause()).toBeUndefined();
      expect(await sweep()).toEqual(['a']);
    });

    it('keeps its start if it is requested again', async () => {
      const { since } = await store.pauseExpiry({ by: 'ana', until: undefined });
      clock.advance(5_000);
      await store.pauseExpiry({ by: 'ben', until: clock.now() + 1_000 });
      expect(await store.expiryPause()).toEqual({ since, by: 'ben', until: clock.now() + 1_000 });
      clock.advance(1_000);
      expect(await store.pauseExpiry({ by: 'ben', until: undefined })).toMatchObject({ since: clock.now() });
    });
  });

  describe('keepAlive', () => {
    it('keeps the place of a paused player, up to the maximum pause', async () => {
      await watch('a', { phase: 7 });
      const phaseAt = clock.now();
      for (let kept = 0; kept < 5; kept++) {
        clock.advance(20_000);
        expect(await store.keepAlive(userId, 'a')).toMatchObject({
          outcome: 'kept',
          session: {
            lastActivityAt: clock.now(),
            expiresAt: clock.now() + 30_000,
            phase: 7,
            state: 'active',
          },
        });
      }
      clock.advance(19_999);
      expect(await store.keepAlive(userId, 'a')).toMatchObject({ session: { lastActivityAt: clock.now() } });
      clock.advance(1);
      const unmoved = { lastActivityAt: phaseAt + 119_999, expiresAt: phaseAt + 149_999 };
      expect(await store.keepAlive(userId, 'a')).toMatchObject({ outcome: 'kept', session: unmoved });
      clock.advance(29_998);
      expect(await store.keepAlive(userId, 'a')).toMatchObject({ session: { ...unmoved, state: 'idle' } });
      clock.advance(1);
      expect(await store.keepAlive(userId, 'a')).toEqual({ outcome: 'session-not-found' });
      expect(await sweep()).toEqual(['a']);
    });

    it('counts the pause again from zero after each phase', async () => {
      await watch('a');
      for (let kept = 0; kept < 5; kept++) {
        clock.advance(29_000);
        await store.keepAlive(userId, 'a');
      }
      await ask('a');
      clock.advance(29_000);
      expect(await store.keepAlive(userId, 'a')).toMatchObject({ session: { lastActivityAt: clock.now() } });
    });

    it('continues the pause if a phase did not arrive', async () => {
      await watch('a');
      for (let kept = 0; kept < 4; kept++) {
        clock.advance(29_000);
        await store.keepAlive(userId, 'a');
      }
      clock.advance(4_000); // 120 s after its last phase
      await store.withdraw(await place('a'));
      expect(await store.keepAlive(userId, 'a')).toMatchObject({
        session: { lastActivityAt: clock.now() - 4_000 },
      });
    });

    it('is not undone when an earlier phase is withdrawn', async () => {
      await watch('a');
      clock.advance(10_000);
      const lost = await place('a');
      clock.advance(1_000);
      await store.keepAlive(userId, 'a');
      await store.withdraw(lost);
      expect((await store.list(userId)).sessions).toMatchObject([{ lastActivityAt: clock.now() }]);
    });

    it('promises no more than the lease before the first phase has arrived, and that in any case', async () => {
      const undone = await place('a');
      const taken = clock.now();
      clock.advance(4_000);
      const lease = { lastActivityAt: taken, idleAt: taken + 5_000, expiresAt: taken + 5_000 };
      expect(await store.keepAlive(userId, 'a')).toMatchObject({ session: { ...lease, state: 'active' } });
      await store.withdraw(undone);
      clock.advance(999);
      expect(await store.keepAlive(userId, 'a')).toMatchObject({ session: lease });
      clock.advance(1);
      expect(await store.keepAlive(userId, 'a')).toEqual({ outcome: 'session-not-found' });
      expect(await store.ledger()).toMatchObject({ undone: 0 });
      await sweep();
      expect(await store.ledger()).toMatchObject({ admitted: 1, undone: 1, expired: 0 });
    });

    it('does not stand in the way when the first phase arrives after it', async () => {
      const taken = await place('a');
      await store.keepAlive(userId, 'a');
      expect(await store.confirm(taken)).toBe(true);
      clock.advance(6_000);
      expect(await store.keepAlive(userId, 'a')).toMatchObject({
        session: { lastActivityAt: clock.now(), expiresAt: clock.now() + 30_000 },
      });
    });

    it('reports unknown and ended sessions', async () => {
      expect(await store.keepAlive(userId, 'nobody')).toEqual({ outcome: 'session-not-found' });
      await watch('b');
      await store.end(userId, ['b'], 'operator');
      expect(await store.keepAlive(userId, 'b')).toEqual({
        outcome: 'session-ended',
        endedAt: clock.now(),
        reason: 'operator',
      });
    });
  });

  describe('the events', () => {
    const types = async (): Promise<string[]> =>
      (await reported()).map(({ type, sessionId }) => `${type.replace('session.', '')} ${sessionId}`);

    it('report what happened, in order', async () => {
      await watch('a');
      await watch('b');
      await watch('c', { endSessionIds: ['a'] });
      await ask('b', { streamId: 'news' });
      await store.end(userId, ['b'], 'operator');
      clock.advance(30_000);
      await sweep();
      expect(await types()).toEqual([
        'started a',
        'started b',
        'ended a', // c replaced it, and starts after it
        'started c',
        'moved b',
        'ended b',
        'expired c',
      ]);
      const all = await reported();
      expect(all.map(({ reason }) => reason)).toEqual([
        undefined,
        undefined,
        'replaced',
        undefined,
        undefined,
        'operator',
        undefined,
      ]);
      expect(all[4]!.session).toMatchObject({ streamId: 'news', phase: 0, userId });
      expect(all.map(({ session }) => session!.state)).toEqual([
        'active',
        'active',
        'ended',
        'active',
        'active',
        'ended',
        'expired',
      ]);
      expect(all[6]).toMatchObject({ at: clock.now(), session: { expiresAt: clock.now() } });
    });

    it('do not report sessions that never began, and renewals', async () => {
      await store.withdraw(await place('a'));
      await place('b');
      clock.advance(5_000);
      await sweep();
      await watch('c');
      await ask('c');
      clock.advance(30_000);
      await ask('c'); // admitted again before its expiry was claimed
      await watch('d');
      await watch('e');
      expect(await types()).toEqual(['started c', 'started d', 'started e']);
    });

    it('report a refusal with the sessions that held the places, and a repeated one not again', async () => {
      for (const held of ['a', 'b', 'c']) await watch(held);
      const { sessions } = await store.list(userId);
      const laptop = { id: 'laptop', name: '</script>"’' };
      await ask('d', { device: laptop });
      await ask('e', { device: laptop });
      clock.advance(10_000);
      await ask('f', { device: laptop });
      const refusals = (await reported()).filter(({ type }) => type === 'session.refused');
      expect(refusals.map(({ sessionId, session }) => [sessionId, session])).toEqual([
        ['d', undefined],
        ['f', undefined],
      ]);
      expect(refusals[0]).toMatchObject({ at: clock.now() - 10_000, reason: 'session-limit-reached' });
      expect(refusals[0]!.refusal).toEqual({ limit: 3, device: laptop, holders: sessions });
    });

    it('have the subject of the user, as the list has it, in the outbox too', async () => {
      const subject = 'auth0|Ána "O\\’Neil"/\u0000\n😀';
      const mine = { subject };
      for (const id of ['a', 'b', 'c']) await watch(id, mine);
      await ask('d', mine); // refused
      await watch('d', { ...mine, endSessionIds: ['a'] });
      await store.withdraw(await place('b', { ...mine, streamId: 'news' }));
      await ask('c', { streamId: 'news' }); // a request that knows no subject, as with AUTH_MODE=none
      await store.end(userId, ['b'], 'operator');
      expect((await store.list(userId)).subject).toBe(subject);
      clock.advance(40_000);
      await sweep();
      const all = await reported();
      // A kept refusal is a step of its own, so that it may be a little late.
      expect(all.map(({ type }) => type.replace('session.', '')).toSorted()).toEqual(
        'ended ended expired expired moved moved moved refused started started started started'.split(' '),
      );
      expect(all.filter((event) => event.subject !== subject)).toEqual([]);
      const posted = await takeAll();
      expect([posted.length, posted.filter((event) => event.subject !== subject)]).toEqual([12, []]);
      expect((await store.list(userId)).subject).toBeUndefined();
    });

    it('have no subject of a user whose id is the subject, nor that of another user', async () => {
      await watch('a', { userId: `${userId}-other`, subject: 'auth0|other' });
      await watch('a');
      expect([(await store.list(userId)).subject, (await reported())[0]!.subject]).toEqual([
        undefined,
        undefined,
      ]);
    });

    it('report a second move, back, if the phase of the new stream did not arrive', async () => {
      await watch('a');
      await store.withdraw(await place('a', { streamId: 'news' }));
      const moves = await reported('session.moved');
      expect(moves.map(({ streamId }) => streamId)).toEqual(['news', 'film']);
    });

    it('reach the listeners of the user only, until they stop', async () => {
      const seen: string[] = [];
      const { stop } = await events.watch(userId, undefined, ({ type, id }) => seen.push(`${type} ${id}`));
      const other = await events.watch(`${userId}-other`, undefined, () => seen.push('another user'));
      await watch('a');
      await store.end(userId, ['a'], 'user');
      const expected = (await reported()).map(({ type, id }) => `${type} ${id}`);
      await eventually(() => {
        expect(seen).toEqual(expected);
      });
      stop();
      other.stop();
      await watch('b');
      await reported(); // events that were on their way have arrived before this reply
      expect(seen).toHaveLength(2);
    });

    it('can be resumed after any event', async () => {
      const resume = async (after: string | undefined) => {
        const { missed, complete, position, stop } = await events.watch(userId, after, () => undefined);
        stop();
        return { missed, complete, position };
      };
      const { position, missed, complete } = await resume(undefined);
      expect([missed, complete]).toEqual([[], true]);
      await watch('a');
      await watch('b');
      const [first, second] = await reported();
      const newest = second!.id;
      expect(await resume(position)).toMatchObject({ missed: [first, second], position: newest });
      expect(await resume(first!.id)).toEqual({ missed: [second], complete: true, position: newest });
      expect(await resume(newest)).toEqual({ missed: [], complete: true, position: newest });
      expect((await resume('900000000000000-0')).complete).toBe(false); // an id of a former store
    });

    it('reach a listener that returns, including the missed ones, without duplicates', async () => {
      await watch('a');
      const [first] = await reported();
      await watch('b');
      const seen: string[] = [];
      const { missed } = await events.watch(userId, first!.id, ({ sessionId }) => seen.push(sessionId));
      expect(missed.map(({ sessionId }) => sessionId)).toEqual(['b']);
      await watch('c');
      await eventually(() => {
        expect(seen).toEqual(['c']);
      });
      const third = (await reported())[2]!;
      expect(events.position(userId)).toBe(third.id);
      await events.refresh();
      expect(seen).toEqual(['c']);
    });
  });

  describe('the outbox', () => {
    it('hands out each event once and in order, including refusals', async () => {
      await watch('a');
      await watch('b');
      await watch('c');
      await ask('d');
      await store.end(userId, ['a'], 'user');
      const taken = await takeAll();
      expect(taken.map(({ type, sessionId }) => `${type} ${sessionId}`)).toEqual([
        'session.started a',
        'session.started b',
        'session.started c',
        'session.refused d',
        'session.ended a',
      ]);
      expect(taken[3]).toMatchObject({
        session: undefined,
        reason: 'session-limit-reached',
        streamId: 'film',
      });
      expect(new Set(taken.map(messageId)).size).toBe(5);
      expect(await takeAll()).toEqual([]);
      expect(await outbox.state()).toEqual({ waiting: 0, oldestAt: undefined, deadLetters: 0, lost: 0 });
    });

    it('counts events as waiting until they are settled', async () => {
      await watch('a');
      await watch('b');
      expect((await outbox.state()).waiting).toBe(2);
      const taken = await outbox.take(1);
      expect(taken.length).toBeGreaterThanOrEqual(1);
      expect(await outbox.state()).toMatchObject({ waiting: 2, oldestAt: expect.any(Number) });
      for (const { event } of taken) await outbox.settle(event);
      expect((await outbox.state()).waiting).toBe(2 - taken.length);
    });

    it('keeps dead letters, and hands them out again with the same id', async () => {
      await watch('a');
      await store.end(userId, ['a'], 'user');
      const taken = (await outbox.take(100)).map(({ event }) => event);
      for (const event of taken) await outbox.bury(event, 20, 'nobody listens');
      await outbox.bury(taken[0]!, 20, 'twice');
      expect(await outbox.state()).toMatchObject({ waiting: 0, deadLetters: 2 });
      const letters = await outbox.deadLetters(10);
      expect(letters.map(({ event }) => messageId(event))).toEqual(taken.map(messageId));
      expect(letters).toMatchObject(taken.map(() => ({ tries: 20, failure: 'nobody listens' })));
      expect(await outbox.deadLetters(1)).toHaveLength(1);

      expect(await outbox.replay([messageId(taken[1]!), 'msg_unknown'])).toEqual({
        replayed: 1,
        more: false,
      });
      expect((await takeAll()).map(messageId)).toEqual([messageId(taken[1]!)]);
      expect(await outbox.replay(undefined)).toEqual({ replayed: 1, more: false });
      expect((await takeAll()).map(messageId)).toEqual([messageId(taken[0]!)]);
      expect(await outbox.state()).toMatchObject({ waiting: 0, deadLetters: 0, lost: 0 });
      // Listeners have received these events before, and do not get them again.
      expect(await reported()).toHaveLength(2);
    });
  });

  it('counts each admitted session as live, expired, ended or undone', async () => {
    await watch('a');
    await watch('b');
    await store.withdraw(await place('c'));
    await place('d');
    clock.advance(5_000);
    await place('d'); // a new session, because the reservation lapsed
    await store.end(userId, ['a'], 'user');
    expect(await store.ledger()).toMatchObject({ admitted: 5, expired: 0, ended: 1, undone: 2 });
    clock.advance(30_000);
    await watch('e'); // removes no expired session, because a place is free
    await sweep();
    expect(await live()).toEqual(['e']);
    expect(await store.ledger()).toMatchObject({ admitted: 6, expired: 1, ended: 1, undone: 3 });
  });

  it('answers a ping', async () => {
    expect(await store.check()).toBe('ok');
  });
}

/** Waits until the expectation holds: events of other processes arrive soon, but not at once. */
async function eventually(expectation: () => void): Promise<void> {
  const deadline = performance.now() + 5_000;
  for (;;) {
    try {
      expectation();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
