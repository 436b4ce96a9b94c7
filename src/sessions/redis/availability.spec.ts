import { Availability } from './availability.js';

/** The log of outages and faults, with fake timers: a loss is logged after 3 s, and an outage ends after 3 s. */
describe('the log of Redis', () => {
  let lines: string[];
  let redis: Availability;
  beforeEach(() => {
    jest.useFakeTimers();
    lines = [];
    const log = (line: string): void => void lines.push(line);
    redis = new Availability({ log, warn: log, error: log });
  });
  afterEach(() => jest.useRealTimers());
  const pass = (ms: number): void => {
    jest.advanceTimersByTime(ms);
    jest.advanceTimersByTime(1); // runs the callbacks of setImmediate
  };

  it('has an outage once, however often the connection works for a moment: a failover takes several tries', () => {
    redis.works();
    for (let n = 0; n < 17; n++) {
      redis.lost(n % 2 === 0 ? 'ECONNREFUSED' : "READONLY You can't write against a read only replica.");
      pass(500);
      redis.works();
      pass(2_000);
    }
    pass(1_000);
    expect(lines).toEqual([
      'Redis is unavailable (ECONNREFUSED); requests get 503 until it is back',
      expect.stringMatching(/^Redis is still unavailable \(READONLY\): this server is a replica/),
      'Redis is back',
    ]);
    redis.lost('ECONNREFUSED');
    expect(lines).toHaveLength(4);
  });

  it('has nothing of a machine that is busy while the service starts', () => {
    redis.lost('connect ETIMEDOUT');
    redis.lost('the connection was lost');
    redis.lost("Stream isn't writeable and enableOfflineQueue options is false");
    pass(2_900);
    redis.works();
    pass(10_000);
    expect(lines).toEqual([]);
  });

  it('has a silence that lasts, and a short one in one line with its length', () => {
    redis.works();
    redis.lost('Command timed out');
    redis.lost('Command timed out');
    pass(1_199);
    redis.works();
    expect(lines.splice(0)).toEqual(['Redis did not answer for 1200 ms; requests got 503']);
    redis.lost('Command timed out');
    pass(3_000);
    redis.lost('Command timed out');
    expect(lines).toEqual(['Redis is unavailable (Command timed out); requests get 503 until it is back']);
  });

  it('names each later reason that an operator can mend', () => {
    redis.lost('ECONNREFUSED');
    redis.lost('NOAUTH Authentication required.');
    redis.lost('WRONGPASS invalid username-password pair or user is disabled.');
    redis.lost('WRONGPASS invalid username-password pair or user is disabled.');
    expect(lines).toEqual([
      'Redis is unavailable (ECONNREFUSED); requests get 503 until it is back',
      expect.stringMatching(/^Redis is still unavailable \(NOAUTH\): .*REDIS_PASSWORD/),
      expect.stringMatching(/^Redis is still unavailable \(WRONGPASS\): .*REDIS_USERNAME/),
    ]);
  });

  it('has a refusal once, until readiness finds it mended or nobody met it for a minute', () => {
    const refuse = (): boolean => redis.refused("OOM command not allowed when used memory > 'maxmemory'.");
    expect([refuse(), refuse()]).toEqual([true, true]);
    expect(lines).toHaveLength(1);
    redis.complete();
    redis.complete();
    expect(lines.slice(1)).toEqual(['Redis does all that requests need again']);
    refuse();
    pass(50_000);
    refuse();
    expect(lines).toHaveLength(3);
    pass(61_000);
    refuse();
    expect(lines).toHaveLength(4);
  });

  it('leaves a refusal to the caller whose reason it does not know', () => {
    expect(redis.refused('WRONGTYPE Operation against a key holding the wrong kind of value')).toBe(false);
    expect(lines).toEqual([]);
  });
});
