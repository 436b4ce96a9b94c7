import { type Outcome, type Simulation, simulate } from './simulation.js';

/** Every simulation that once failed. Each run of the tests tries them. */
const REGRESSIONS: readonly (readonly [string, Simulation])[] = [
  ['429 without the store was taken for an answer of the store', { seed: 12, minutes: 4, users: 12 }],
];
const SMALL = { minutes: 3, users: 10 };
/** By how many seeds a planted fault must be found. */
const TRIES = 3;

describe('a simulation', () => {
  it('is the same again with the same seed, and another one with another seed', async () => {
    const [first, again, other] = [1, 1, 2].map((seed) => ({ ...SMALL, seed }));
    const { hash, faults, steps } = await simulate(first!);
    expect(faults).toEqual([]);
    expect(await simulate(again!)).toMatchObject({ hash, steps });
    const second = await simulate(other!);
    expect(second.faults).toEqual([]);
    expect(second.hash).not.toBe(hash);
  });

  it('has everything that can happen to a session', async () => {
    const { report, ledger, outages, continued, faults } = await simulate({ seed: 6, minutes: 8, users: 12 });
    expect(faults).toEqual([]);
    const { admissions, created, refused, unknown } = report;
    const { expired, ended, undone } = ledger;
    for (const count of [admissions, created, refused, unknown, expired, ended, undone, outages, continued])
      expect(count).toBeGreaterThan(0);
  });

  it.each(REGRESSIONS)('finds nothing wrong any more: %s', async (_, simulation) => {
    expect((await simulate(simulation)).faults).toEqual([]);
  });
});

describe('a planted fault', () => {
  it.each<[string, RegExp, NonNullable<Simulation['plant']>]>([
    [
      'a session beyond the limit is admitted',
      /^violated|places of/,
      ({ store, dice }) => {
        const admit = store.admit.bind(store);
        store.admit = async (request) => {
          const more = dice.happens(0.1) ? 1 : 0;
          const { quota } = request;
          return admit({ ...request, quota: { ...quota, maxSessions: quota.maxSessions + more } });
        };
      },
    ],
    [
      'a confirmation is dropped',
      /never started/,
      ({ store, dice }) => {
        const confirm = store.confirm.bind(store);
        store.confirm = async (place) => dice.happens(0.1) || confirm(place);
      },
    ],
    [
      'an undo is dropped',
      /^violated/,
      ({ store }) => {
        store.withdraw = async () => undefined;
      },
    ],
    [
      'an event is told twice',
      /told again/,
      ({ outboxes, dice }) => {
        const outbox = outboxes.of('default');
        const take = outbox.take.bind(outbox);
        outbox.take = async (room) => {
          const taken = await take(room);
          return dice.happens(0.05) ? [...taken, ...taken] : taken;
        };
      },
    ],
    [
      'a sweep forgets a session',
      /left|due|never ended|neither/,
      ({ store }) => {
        const expire = store.expireIdle.bind(store);
        // The first session of this user that is due is never reported.
        store.expireIdle = async (options) => {
          const users = (store as unknown as { users: Map<string, readonly unknown[]> }).users;
          const kept = users.get('u3');
          users.delete('u3');
          const swept = await expire(options);
          if (kept !== undefined) users.set('u3', kept);
          return swept;
        };
      },
    ],
  ])('is found: %s', async (_, expected, plant) => {
    const found: Outcome['faults'][] = [];
    for (let seed = 1; seed <= TRIES && found.length === 0; seed++) {
      const { faults } = await simulate({ ...SMALL, seed, plant });
      if (faults.some((fault) => expected.test(fault))) found.push(faults);
    }
    expect(found).toHaveLength(1);
  });
});
