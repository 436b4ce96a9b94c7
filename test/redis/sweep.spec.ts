import { MAX_ENDED_RECORDS } from '../../src/sessions/admission.js';
import { userKeys } from '../../src/sessions/redis/keys.js';
import { ScriptRunner } from '../../src/sessions/redis/script.js';
import { expire } from '../../src/sessions/redis/scripts/expire.js';
import { ManualClock } from '../support/manual-clock.js';
import { useConnection, useRedisDatabase } from '../support/redis-database.js';
import { POLICY, openRedisStore } from '../support/stores.js';
import { filmOf } from '../support/windows.js';

const { url, redis, empty } = useRedisDatabase();
const link = useConnection(() => url);
beforeEach(empty);

describe('a sweep', () => {
  it('skips no partition after the clock was set back by hours', async () => {
    const clock = new ManualClock();
    const { sessions } = openRedisStore(link(), POLICY, clock);
    await sessions.expireIdle({ maxSessions: 10, shared: true });
    clock.advance(-3 * 3_600_000);
    const admission = await sessions.admit(request('ana', 'tv'));
    if (admission.outcome === 'admitted') await sessions.confirm(admission.place);
    clock.advance(POLICY.expireAfterMs);
    expect(await sessions.expireIdle({ maxSessions: 10, shared: true })).toMatchObject({ expired: 1 });
  });

  it('skips a partition for 0.8 s after it was swept completely', async () => {
    const clock = new ManualClock();
    const { sessions } = openRedisStore(link(), POLICY, clock);
    await sessions.expireIdle({ maxSessions: 10, shared: true });
    const { state } = userKeys('ana').ofPartition;
    const sweptAt = await redis.hget(state, 'swept');
    clock.advance(799);
    await sessions.expireIdle({ maxSessions: 10, shared: true });
    expect(await redis.hget(state, 'swept')).toBe(sweptAt);
    clock.advance(1);
    await sessions.expireIdle({ maxSessions: 10, shared: true });
    expect(await redis.hget(state, 'swept')).toBe(String(clock.now()));
  });

  it('reads a limited number of records in a step, for any number of users and records', async () => {
    const clock = new ManualClock();
    const { sessions } = openRedisStore(link(), POLICY, clock);
    const keys = userKeys('ana');
    const users = Array.from({ length: 100_000 }, (_, n) => `user-${n}`)
      .filter((user) => userKeys(user).ofPartition === keys.ofPartition)
      .slice(0, 5);
    for (const user of users) {
      for (let n = 0; n < MAX_ENDED_RECORDS; n++) await sessions.admit(request(user, `s${n}`, `s${n - 1}`));
      await sessions.end(user, 'all', 'user');
    }
    clock.advance(POLICY.expireAfterMs);
    const scripts = new ScriptRunner(link(), { policy: POLICY, subscriptions: [], layout: 2 });
    const left = async (): Promise<number> =>
      (await Promise.all(users.map((user) => redis.hexists(userKeys(user).records, user)))).filter(Boolean)
        .length;
    const steps = [];
    while ((await left()) > 0) {
      const { more } = await expire(scripts, keys.ofPartition, clock.now(), 20);
      steps.push([more, await left()]);
    }
    // Two users have 200 records, which is the maximum of a step.
    expect(steps).toEqual([
      ['now', 3],
      ['now', 1],
      ['no', 0],
    ]);
  });
});

function request(userId: string, sessionId: string, replaces?: string) {
  return {
    userId,
    sessionId,
    streamId: 'film',
    phase: undefined,
    window: filmOf(100),
    endSessionIds: replaces === undefined ? [] : [replaces],
    quota: POLICY.quota,
  };
}
