import {
  type Ask,
  type HeldRecord,
  type Policy,
  type SessionRecord,
  admit,
  graceAfterOutage,
  live,
} from './admission.js';

const POLICY: Policy = {
  quota: { maxSessions: 3 },
  idleAfterMs: 10_000,
  expireAfterMs: 30_000,
  leaseMs: 5_000,
  maxPauseMs: 60_000,
  maxAheadMs: 60_000,
  pacedAheadMs: 40_000,
};
const NOW = 1_000_000;

const held = (sessionId: string, silentMs: number, more: Partial<HeldRecord> = {}): HeldRecord => ({
  status: 'permanent',
  sessionId,
  streamId: 'film',
  startedAt: NOW - 100_000,
  lastActivityAt: NOW - silentMs,
  phase: 4,
  playsUntil: NOW - silentMs + 10_000,
  ahead: 0,
  run: 1,
  quota: POLICY.quota,
  device: undefined,
  client: undefined,
  version: 1,
  pausedMs: 0,
  ...more,
});
const ask = (sessionId: string, more: Partial<Ask> = {}): Ask => ({
  sessionId,
  streamId: 'film',
  phase: undefined,
  window: { oldest: 0, end: 100, start: 0, live: false, phaseMs: 10_000, lastPhaseMs: 10_000 },
  endSessionIds: [],
  quota: POLICY.quota,
  ...more,
});
const decide = (records: SessionRecord[], request: Ask, policy = POLICY) =>
  admit(records, request, policy, NOW);

/** The rule, one call at a time. test/contract tests its behaviour over time, against every store. */
describe('admit', () => {
  it.each([
    ['no session yet', [], 'admitted'],
    ['two', [held('a', 0), held('b', 29_999)], 'admitted'],
    ['three', [held('a', 0), held('b', 0), held('c', 29_999)], 'limit-reached'],
    [
      'three, one of which expires at this instant',
      [held('a', 0), held('b', 0), held('c', 30_000)],
      'admitted',
    ],
    [
      'two and one whose first phase is not delivered yet',
      [held('a', 0), held('b', 0), held('c', 4_999, { status: 'reserved' })],
      'limit-reached',
    ],
    [
      'two and one whose lease has lapsed',
      [held('a', 0), held('b', 0), held('c', 5_000, { status: 'reserved' })],
      'admitted',
    ],
  ] as const)('a new session beside %s', (_, records, outcome) => {
    expect(decide([...records], ask('new')).outcome).toBe(outcome);
  });

  it('mutates nothing', () => {
    const records = [held('a', 0), held('b', 31_000), held('c', 31_000), held('d', 31_000)].map((one) =>
      Object.freeze(one),
    );
    expect(
      decide(Object.freeze(records) as SessionRecord[], ask('new', { endSessionIds: ['a'] })).outcome,
    ).toBe('admitted');
  });

  it('lets running sessions continue after the limit was lowered, and computes when enough of them have expired', () => {
    const records = [held('a', 1_000), held('b', 3_000), held('c', 2_000)];
    const lowered = { quota: { maxSessions: 2 } };
    expect(decide(records, ask('b', lowered))).toMatchObject({
      outcome: 'admitted',
      created: false,
      live: 3,
    });
    // b expires in 27 s, when two are left; c in 28 s.
    expect(decide(records, ask('new', lowered))).toMatchObject({
      outcome: 'limit-reached',
      retryAt: NOW + 28_000,
    });
  });

  it('refuses in this order: session ended, limit reached, phase not found', () => {
    const full = [held('a', 0), held('b', 0), held('c', 0)];
    const ended: SessionRecord = {
      status: 'ended',
      sessionId: 'x',
      endedAt: NOW - 1,
      reason: 'user',
      replacedBy: undefined,
    };
    expect(decide([...full, ended], ask('x', { window: undefined })).outcome).toBe('session-ended');
    expect(decide([...full, ended], ask('y', { window: undefined })).outcome).toBe('limit-reached');
    expect(decide([ended], ask('y', { window: undefined })).outcome).toBe('phase-not-found');
  });

  it('restarts the version at 1 after 65,535', () => {
    const decision = decide([held('a', 0, { version: 65_535 })], ask('a'));
    expect(decision).toMatchObject({ outcome: 'admitted', record: { version: 1 } });
  });
});

describe('live', () => {
  it('orders sessions of one instant by id', () => {
    expect(
      live([held('b', 0), held('B', 0), held('a', 0)], POLICY, NOW).map(({ sessionId }) => sessionId),
    ).toEqual(['B', 'a', 'b']);
  });
});

describe('the grace of a sweep', () => {
  const grace = (sinceLastMs: number, policy = POLICY): number =>
    graceAfterOutage(NOW - sinceLastMs, 7, policy, NOW);

  it('lasts X from now if there was no sweep for longer than n·X, and is unchanged otherwise', () => {
    expect([grace(30_000), grace(30_001)]).toEqual([7, NOW + 10_000]);
    expect(graceAfterOutage(undefined, 0, POLICY, NOW)).toBe(0);
  });

  it('does not count a gap of up to 5 s as an outage, however short n·X is', () => {
    const short = { ...POLICY, idleAfterMs: 200, expireAfterMs: 600 };
    expect([grace(5_000, short), grace(5_001, short)]).toEqual([7, NOW + 200]);
  });
});
