import { ALL_SESSIONS, MAX_ENDED_RECORDS, type Policy } from '../../src/sessions/admission.js';
import { type Admission, type AdmissionRequest, type Place } from '../../src/sessions/session.js';
import { type SessionRepository } from '../../src/sessions/session.repository.js';
import { ManualClock } from '../support/manual-clock.js';

export const POLICY: Policy = { limit: 3, idleAfterMs: 10_000, expireAfterMs: 30_000, leaseMs: 5_000 };

let users = 0;

/** The promise of the port: every store must keep it. `open` gives a repository on the store under test. */
export function describeSessionRepository(
  open: (policy: Policy, clock: ManualClock) => SessionRepository,
): void {
  let clock: ManualClock;
  let store: SessionRepository;
  let userId: string;
  beforeEach(() => {
    clock = new ManualClock();
    store = open(POLICY, clock);
    userId = `user-${++users}`;
  });

  const ask = (sessionId: string, more: Partial<AdmissionRequest> = {}): Promise<Admission> =>
    store.admit({
      userId,
      sessionId,
      streamId: 'film',
      phase: undefined,
      phases: 100,
      endSessionIds: [],
      ...more,
    });
  const place = async (sessionId: string, more: Partial<AdmissionRequest> = {}): Promise<Place> => {
    const admission = await ask(sessionId, more);
    if (admission.outcome !== 'admitted') throw new Error(`${sessionId} was refused: ${admission.outcome}`);
    return admission.place;
  };
  /** A session whose first phase arrived. */
  const watch = async (sessionId: string, more: Partial<AdmissionRequest> = {}): Promise<Place> => {
    const taken = await place(sessionId, more);
    await store.confirm(taken);
    return taken;
  };
  const live = async (): Promise<string[]> => (await store.list(userId)).map(({ sessionId }) => sessionId);
  /** Sweeps everything; only this user's are the test's business. */
  const sweep = async (): Promise<string[]> => {
    const { expired } = await store.expireIdle({ maxSessions: 1_000 });
    return expired.filter((session) => session.userId === userId).map(({ sessionId }) => sessionId);
  };

  describe('admit', () => {
    it('counts a place from the moment that it is taken, delivered or not', async () => {
      await place('a');
      await place('b');
      expect(await ask('c')).toMatchObject({ outcome: 'admitted', created: true, live: 3 });
      expect(await ask('d')).toMatchObject({ outcome: 'limit-reached' });
    });

    it('gives a live session its next phase whatever the limit says', async () => {
      await Promise.all(['a', 'b', 'c'].map((id) => watch(id)));
      clock.advance(29_999);
      expect(await ask('b')).toMatchObject({
        outcome: 'admitted',
        created: false,
        live: 3,
        session: { sessionId: 'b', phase: 1, state: 'active', lastActivityAt: clock.now() },
      });
    });

    it('refuses beyond the limit, lists the holders oldest first and tells when a place would be free', async () => {
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

    it('issues the next phase, the one asked for, and 0 after a move', async () => {
      await watch('a');
      expect(await ask('a')).toMatchObject({ session: { phase: 1 } });
      expect(await ask('a', { phase: 40 })).toMatchObject({ session: { phase: 40 } });
      expect(await ask('a')).toMatchObject({ session: { phase: 41 } });
      expect(await ask('a', { streamId: 'news' })).toMatchObject({
        created: false,
        session: { streamId: 'news', phase: 0 },
      });
    });

    it('changes nothing for a phase that does not exist, once the other refusals are ruled out', async () => {
      expect(await ask('a', { phases: 0 })).toEqual({ outcome: 'phase-not-found' });
      expect(await live()).toEqual([]);
      await watch('a', { phase: 99 });
      await watch('b');
      await watch('c');
      clock.advance(1_000);
      const before = await store.list(userId);
      expect(await ask('a')).toEqual({ outcome: 'phase-not-found' });
      expect(await ask('a', { phase: 100 })).toEqual({ outcome: 'phase-not-found' });
      expect(await ask('d', { phases: 0 })).toMatchObject({ outcome: 'limit-reached' });
      expect(await ask('d', { phases: 0, endSessionIds: ['b'] })).toEqual({ outcome: 'phase-not-found' });
      expect(await store.list(userId)).toEqual(before);
    });

    it('keeps users apart', async () => {
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

    it('lets just enough of the expired give way, the longest silent first, and reports each', async () => {
      for (const id of ['b', 'a', 'c']) {
        await watch(id);
        clock.advance(1);
      }
      clock.advance(30_000);
      const first = await ask('d');
      expect(first).toMatchObject({ expired: [{ sessionId: 'b', state: 'expired' }] });
      expect(await ask('a')).toMatchObject({ created: true, expired: [], session: { phase: 1 } });
      expect(await sweep()).toEqual(['c']);
    });

    it('lets an expired session go on where it was until its expiry is claimed, and start anew after', async () => {
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
      expect(await ask('a')).toEqual({ outcome: 'session-ended', endedAt: clock.now(), reason: 'replaced' });
    });

    it('ignores ids that are unknown, expired, ended before or its own', async () => {
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

    it('ends nothing where it does not admit', async () => {
      await Promise.all(['a', 'b', 'c'].map((id) => watch(id)));
      expect(await ask('d', { endSessionIds: ['nobody'] })).toMatchObject({ outcome: 'limit-reached' });
      await store.end(userId, ['c'], 'user');
      expect(await ask('c', { endSessionIds: ['a'] })).toMatchObject({ outcome: 'session-ended' });
      expect(await live()).toEqual(['a', 'b']);
    });

    it('leaves them ended where the phase did not arrive', async () => {
      await watch('a');
      await store.withdraw(await place('b', { endSessionIds: ['a'] }));
      expect(await live()).toEqual([]);
      expect(await ask('a')).toMatchObject({ outcome: 'session-ended' });
    });
  });

  describe('confirm', () => {
    it('makes a new session permanent, from its taking on', async () => {
      const taken = await place('a');
      expect(taken.reserved).toBe(true);
      clock.advance(4_999);
      await store.confirm(taken);
      clock.advance(25_000);
      expect(await live()).toEqual(['a']);
      clock.advance(1);
      expect(await live()).toEqual([]);
    });

    it('is not needed for a session that goes on', async () => {
      await watch('a');
      expect((await place('a')).reserved).toBe(false);
    });

    it('comes too late for a reservation that lapsed and whose place was taken', async () => {
      const taken = await place('a');
      clock.advance(5_000);
      await Promise.all(['b', 'c', 'd'].map((id) => watch(id)));
      await store.confirm(taken);
      expect(await live()).toEqual(['b', 'c', 'd']);
    });

    it('still comes in time for one that lapsed and that nobody wanted', async () => {
      const taken = await place('a');
      clock.advance(6_000);
      expect(await live()).toEqual([]);
      await store.confirm(taken);
      expect(await live()).toEqual(['a']);
    });

    it('does not revive an ended session, nor confirm a later life of the same id', async () => {
      const first = await place('a');
      await store.end(userId, ['a'], 'user');
      await store.confirm(first);
      expect(await live()).toEqual([]);
      clock.advance(30_000);
      const second = await place('a');
      await store.confirm(first);
      clock.advance(5_000);
      expect(await live()).toEqual([]); // still only reserved, and lapsed
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

    it('gives a running session its former activity, stream and phase back', async () => {
      await watch('a', { phase: 3 });
      const [before] = await store.list(userId);
      clock.advance(12_000);
      await store.withdraw(await place('a', { streamId: 'news', phase: 8 }));
      expect(await store.list(userId)).toEqual([{ ...before, state: 'idle' }]);
      clock.advance(18_000);
      expect(await live()).toEqual([]);
      expect(await sweep()).toEqual(['a']);
    });

    it('is found by the sweep although one had looked at the user in between', async () => {
      await watch('a');
      clock.advance(29_000);
      const renewal = await place('a');
      clock.advance(1_000);
      expect(await sweep()).toEqual([]);
      await store.withdraw(renewal);
      expect(await sweep()).toEqual(['a']);
    });

    it('gives a session that was admitted again back its expiry', async () => {
      await watch('a');
      clock.advance(30_000);
      await store.withdraw(await place('a'));
      expect(await live()).toEqual([]);
      expect(await sweep()).toEqual(['a']);
    });

    it('undoes nothing where something happened since', async () => {
      await watch('a');
      clock.advance(1_000);
      const lost = await place('a', { phase: 5 });
      await place('a', { phase: 6 });
      await store.withdraw(lost);
      expect(await store.list(userId)).toMatchObject([{ phase: 6, lastActivityAt: clock.now() }]);
    });

    it('does nothing the second time', async () => {
      await watch('a');
      const lost = await place('a', { phase: 5 });
      await store.withdraw(lost);
      const kept = await place('a', { phase: 9 });
      await store.withdraw(lost);
      expect(await store.list(userId)).toMatchObject([{ phase: 9 }]);
      expect(kept.version).not.toBe(lost.version);
    });

    it('keeps a new session whose first phase arrived though a second, parallel one did not', async () => {
      const first = await place('a');
      const second = await place('a');
      await store.withdraw(second);
      await store.confirm(first);
      clock.advance(6_000);
      expect(await store.list(userId)).toMatchObject([{ sessionId: 'a', phase: 0 }]);
    });

    it('does not touch a session that was ended meanwhile', async () => {
      const taken = await place('a');
      await store.end(userId, ['a'], 'operator');
      await store.withdraw(taken);
      expect(await ask('a')).toMatchObject({ outcome: 'session-ended', reason: 'operator' });
    });
  });

  describe('end', () => {
    it('frees the place at once and remembers for n·X', async () => {
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

    it('takes all of the live ones, and none that expired', async () => {
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

    it('says nothing of sessions that the user does not hold', async () => {
      await watch('a');
      expect(await store.end(`${userId}-other`, ['a'], 'user')).toEqual({ ended: [], endedBefore: [] });
      expect(await live()).toEqual(['a']);
    });

    it('remembers a bounded number, the latest', async () => {
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
    it('claims what is due and nothing else', async () => {
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

    it('finds a session that was renewed for long', async () => {
      await watch('a');
      for (let n = 0; n < 10; n++) {
        clock.advance(20_000);
        await ask('a', { phase: 0 });
        expect(await sweep()).toEqual([]);
      }
      clock.advance(30_000);
      expect(await sweep()).toEqual(['a']);
    });

    it('gives each expiry to one of many claimers', async () => {
      const ids = Array.from({ length: 40 }, (_, n) => `${userId}-${n}`);
      for (const id of ids) {
        userId = id;
        await Promise.all(['a', 'b', 'c'].map((session) => watch(session)));
      }
      clock.advance(30_000);
      const sweeps = await Promise.all(
        Array.from({ length: 8 }, () => store.expireIdle({ maxSessions: 1_000 })),
      );
      const claimed = sweeps
        .flatMap(({ expired }) => expired)
        .filter((session) => ids.includes(session.userId));
      expect(claimed).toHaveLength(120);
      expect(new Set(claimed.map((session) => `${session.userId}/${session.sessionId}`)).size).toBe(120);
    });

    it('is bounded, says that there is more, and comes to an end', async () => {
      const base = userId;
      for (let n = 0; n < 300; n++) {
        userId = `${base}-${n}`;
        await watch('a');
      }
      clock.advance(30_000);
      const first = await store.expireIdle({ maxSessions: 10 });
      expect(first.more).toBe(true);
      expect(first.expired.length).toBeGreaterThanOrEqual(10);
      expect(first.expired.length).toBeLessThan(300);
      let claimed = first.expired.length;
      for (let more = true; more;) {
        const next = await store.expireIdle({ maxSessions: 100 });
        claimed += next.expired.length;
        more = next.more;
      }
      expect(claimed).toBeGreaterThanOrEqual(300);
    });
  });

  it('answers a ping', async () => {
    await expect(store.ping()).resolves.toBeUndefined();
  });
}
