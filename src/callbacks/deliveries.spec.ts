import { Logger } from '@nestjs/common';
import { Clock } from '../clock.js';
import { readConfig } from '../config/config.js';
import { MemoryEventLog } from '../sessions/memory/memory-event-log.js';
import { StoreUnavailableError } from '../sessions/session.repository.js';
import {
  type CallbackOutbox,
  EVENT_TYPES,
  type EventType,
  type SessionEvent,
} from '../sessions/session-events.js';
import { type Failed, type Sent } from './callback-sender.js';
import { Deliveries } from './deliveries.js';
import { backOffMs } from './receiver.js';

// Jest does not fake the timers of this module, so that it is replaced by one on fake timers.
jest.mock('node:timers/promises', () => ({
  setTimeout: (ms: number, value?: unknown, { signal }: { signal?: AbortSignal } = {}) =>
    new Promise((resolve, reject) => {
      const stop = (): void => {
        clearTimeout(timer);
        reject(signal!.reason as Error);
      };
      const timer = setTimeout(resolve, ms, value);
      if (signal?.aborted) stop();
      else signal?.addEventListener('abort', stop, { once: true });
    }),
}));

const DELIVERED: Sent = { delivered: true };
const FAILED: Failed = {
  delivered: false,
  answered: true,
  failure: 'the receiver answered 500',
  asks: 'retry',
  retryAfterMs: 0,
};
const BUSY: Failed = { ...FAILED, failure: 'the receiver answered 429', asks: 'rest' };
const GONE: Failed = { ...FAILED, failure: 'the receiver answered 410', asks: 'stop' };
const DOWN = 'the receiver of callbacks is down: events wait in the outbox';
const MINUTE = 60_000;

describe('the back-off', () => {
  it('starts below 2 s, grows four times with each try, and is 15 min at most', () => {
    const bounds = [1, 2, 3, 4, 5, 6, 7, 20, 100].map((tries) => [
      backOffMs(tries, () => 0),
      backOffMs(tries, () => 1),
    ]);
    expect(bounds).toEqual([
      [500, 1_000],
      [2_000, 4_000],
      [8_000, 16_000],
      [32_000, 64_000],
      [128_000, 256_000],
      ...Array.from({ length: 4 }, () => [450_000, 900_000]),
    ]);
  });

  it('adds up to between 1.8 and 3.6 hours for the default number of tries, as documented', () => {
    const { CALLBACK_MAX_TRIES } = readConfig({});
    const hours = (draw: number): number => {
      const waits = Array.from({ length: CALLBACK_MAX_TRIES - 1 }, (_, n) => backOffMs(n + 1, () => draw));
      return waits.reduce((sum, ms) => sum + ms, 0) / 3_600_000;
    };
    expect(hours(0)).toBeCloseTo(1.8, 1);
    expect(hours(0.5)).toBeCloseTo(2.7, 1);
    expect(hours(1)).toBeCloseTo(3.6, 1);
  });

  it('has jitter, so that many instances do not retry at the same time', () => {
    const draws = new Set(Array.from({ length: 20 }, () => backOffMs(1, () => new Clock().jitter())));
    expect(draws.size).toBeGreaterThan(10);
  });
});

describe('delivery', () => {
  const log = { log: jest.fn(), error: jest.fn(), warn: jest.fn(), debug: jest.fn() };
  const said = ({ mock }: jest.Mock): string[] =>
    mock.calls.map(([line]: (string | { msg: string })[]) => (typeof line === 'string' ? line : line!.msg));
  beforeAll(() => {
    Logger.overrideLogger(log);
  });
  afterAll(() => {
    Logger.overrideLogger(true);
  });

  let events: MemoryEventLog;
  let outbox: CallbackOutbox;
  let service: Deliveries;
  let answer: (event: SessionEvent, signal: AbortSignal) => Sent | Promise<Sent>;
  /** All tries, with their instants. */
  let tries: { type: EventType; sessionId: string; at: number }[];
  const start = (environment: Record<string, string> = {}): void => {
    const config = readConfig({
      CALLBACK_URL: 'https://receiver.example',
      CALLBACK_EVENTS: EVENT_TYPES.join(','),
      ...environment,
    });
    const clock = new Clock();
    events = new MemoryEventLog(config.policy, clock, config.subscriptions);
    outbox = events.outboxes.of('default');
    const sender = {
      async send(event: SessionEvent, signal: AbortSignal) {
        tries.push({ type: event.type, sessionId: event.sessionId, at: Date.now() });
        return answer(event, signal);
      },
    };
    service = new Deliveries('default', outbox, sender, clock, config.CALLBACK_MAX_TRIES);
    service.start();
  };
  const stop = async (): Promise<void> => {
    const stopped = service.stop();
    await jest.advanceTimersByTimeAsync(2_000);
    await stopped;
  };
  const happen = (sessionId: string, type: EventType = 'session.ended'): void => {
    const [startedAt, lastActivityAt, playsUntil] = [Date.now(), Date.now(), Date.now()];
    const instants = { startedAt, lastActivityAt, playsUntil };
    const record = { sessionId, streamId: 'film', ...instants, phase: 0, device: undefined, version: 1 };
    events.record(type, Date.now(), { userId: 'ana' }, record, undefined);
  };
  const pass = (ms: number) => jest.advanceTimersByTimeAsync(ms);
  const tried = (sessionId: string) => tries.filter((one) => one.sessionId === sessionId);

  beforeEach(() => {
    jest.useFakeTimers({ now: Date.UTC(2026, 0, 1) });
    jest.clearAllMocks();
    tries = [];
    answer = () => DELIVERED;
  });
  afterEach(async () => {
    await stop();
    jest.useRealTimers();
    jest.restoreAllMocks();
  });

  it('finds new events within a second, or at once if they are announced', async () => {
    start();
    await pass(0);
    happen('tv');
    await pass(1_000);
    expect(tries).toHaveLength(1);
    happen('phone');
    service.wake();
    await pass(5);
    expect(tries).toHaveLength(2);
    expect(await outbox.state()).toMatchObject({ waiting: 0, deadLetters: 0 });
  });

  it('is retried within 2 s, then at growing intervals, and given up after CALLBACK_MAX_TRIES', async () => {
    answer = () => FAILED;
    start();
    happen('tv');
    service.wake();
    await pass(0);
    await pass(2_000);
    expect(tries.length).toBeGreaterThanOrEqual(2);
    await pass(5 * 60 * MINUTE);
    expect(tries).toHaveLength(20);
    const gaps = tries.slice(1).map(({ at }, n) => at - tries[n]!.at);
    for (const [n, gap] of gaps.entries()) {
      const longest = Math.min(15 * MINUTE, 1_000 * 4 ** n);
      expect(gap).toBeGreaterThanOrEqual(Math.floor(longest / 2));
      expect(gap).toBeLessThanOrEqual(longest + 1);
    }
    expect(await outbox.state()).toMatchObject({ waiting: 0, deadLetters: 1 });
    expect(await outbox.deadLetters(9)).toMatchObject([
      { tries: 20, failure: 'the receiver answered 500', event: { sessionId: 'tv' } },
    ]);
    expect(said(log.error)).toContain('given up after 20 tries: see GET /internal/callbacks/dead-letters');
  });

  it('waits as long as the receiver asks, but at most 15 min', async () => {
    answer = () => ({ ...FAILED, retryAfterMs: 5 * MINUTE });
    start();
    happen('tv');
    await pass(1_000);
    await pass(5 * MINUTE - 1);
    expect(tries).toHaveLength(1);
    answer = () => ({ ...FAILED, retryAfterMs: 24 * 60 * MINUTE });
    await pass(1_000);
    expect(tries).toHaveLength(2);
    await pass(14 * MINUTE);
    expect(tries).toHaveLength(2);
    await pass(MINUTE);
    expect(tries).toHaveLength(3);
  });

  it('waits as long as the receiver asks, even if it accepts other events before', async () => {
    answer = ({ sessionId }) => (sessionId === 'tv' ? { ...FAILED, retryAfterMs: 15 * MINUTE } : FAILED);
    start();
    happen('tv');
    for (let n = 0; n < 12; n++) happen(`s-${n}`);
    await pass(10 * MINUTE);
    answer = () => DELIVERED;
    happen('probe');
    await pass(MINUTE);
    expect([tried('tv').length, await outbox.state()]).toMatchObject([1, { waiting: 1 }]);
    await pass(5 * MINUTE);
    expect((await outbox.state()).waiting).toBe(0);
  });

  it('pauses for a receiver that answers 429, then sends one event, and the others after it was accepted', async () => {
    answer = () => ({ ...BUSY, retryAfterMs: 2 * MINUTE });
    start({ CALLBACK_MAX_TRIES: '2' });
    happen('tv');
    await pass(1_500);
    for (let n = 0; n < 20; n++) happen(`s-${n}`);
    await pass(MINUTE);
    expect([tries.length, service.receiverView()]).toMatchObject([
      1,
      { state: 'resting', failure: 'the receiver answered 429' },
    ]);
    await pass(MINUTE + 1_000);
    expect(tries).toHaveLength(2);
    await pass(2 * MINUTE);
    expect(tries).toHaveLength(3);
    answer = () => DELIVERED;
    await pass(3 * MINUTE);
    expect(await outbox.state()).toMatchObject({ waiting: 0, deadLetters: 0 });
    expect(service.receiverView()).toEqual({ state: 'working', since: undefined, failure: undefined });
    expect(said(log.warn)).toEqual(['the receiver of callbacks asks for fewer requests: events wait']);
  });

  it('pauses longer and longer for a receiver that answers 429 without Retry-After', async () => {
    answer = () => BUSY;
    start();
    happen('tv');
    await pass(10 * MINUTE);
    const gaps = tries.slice(1).map(({ at }, n) => at - tries[n]!.at);
    expect(gaps.length).toBeGreaterThan(3);
    for (const [n, gap] of gaps.entries()) expect(gap).toBeGreaterThanOrEqual(500 * 4 ** n - 1);
  });

  it('gives up an event if the receiver answers 429 to this event only', async () => {
    answer = ({ sessionId }) => (sessionId === 'poison' ? { ...BUSY, retryAfterMs: 1_000 } : DELIVERED);
    start({ CALLBACK_MAX_TRIES: '2' });
    happen('poison');
    for (let n = 0; n < 10; n++) {
      happen(`s-${n}`);
      await pass(10_000);
    }
    expect(await outbox.state()).toMatchObject({ waiting: 0, deadLetters: 1 });
  });

  it('stops after a 410 until it is resumed, logs it once, and loses no event', async () => {
    answer = () => GONE;
    start({ CALLBACK_MAX_TRIES: '1' });
    const since = Date.now();
    happen('tv');
    happen('phone');
    await pass(1_500);
    const triedBefore = tries.length;
    happen('later');
    const progress = jest.spyOn(outbox, 'stillDelivering');
    await pass(5 * 60 * MINUTE);
    expect(tries).toHaveLength(triedBefore);
    // Without reports of progress, another instance takes over the events of this one.
    expect(progress).not.toHaveBeenCalled();
    expect(said(log.error)).toEqual([
      'deliveries of callbacks are stopped, events wait: see POST /internal/callbacks/resume',
    ]);
    expect(service.receiverView()).toMatchObject({ state: 'stopped', failure: 'the receiver answered 410' });
    expect(service.receiverView().since).toBeLessThan(since + 1_500);

    // The receiver still answers 410, which takes one try.
    expect(service.resume()).toBe(true);
    await pass(2_000);
    expect(tries).toHaveLength(triedBefore + 1);
    expect(service.receiverView().state).toBe('stopped');

    answer = () => DELIVERED;
    expect([service.resume(), service.resume()]).toEqual([true, false]);
    await pass(5_000);
    expect(await outbox.state()).toMatchObject({ waiting: 0, deadLetters: 0 });
    expect(service.receiverView().state).toBe('working');
  });

  it('retries all waiting events soon after a receiver that failed often works again', async () => {
    let sent = 0;
    answer = () => (++sent % 3 === 0 ? DELIVERED : FAILED);
    start();
    for (let n = 0; n < 300; n++) happen(`s-${n}`);
    await pass(5 * MINUTE);
    expect(said(log.error)).not.toContain(DOWN);
    const { waiting } = await outbox.state();
    expect(waiting).toBeGreaterThan(5);
    answer = () => DELIVERED;
    for (let n = 0; n < 25; n++) happen(`t-${n}`);
    await pass(5_000);
    expect((await outbox.state()).waiting).toBe(0);
  });

  it('keeps the tries of a refused event while others are delivered', async () => {
    answer = ({ sessionId }) => (sessionId === 'poison' ? FAILED : DELIVERED);
    start();
    happen('poison');
    for (let n = 0; n < 1_000; n++) {
      happen(`s-${n}`);
      if (n % 20 === 0) await pass(1_000);
    }
    await pass(10_000);
    // 5 tries by its own back-off within a minute, and 4 early retries.
    expect(tried('poison').length).toBeLessThanOrEqual(9);
    expect(await outbox.state()).toMatchObject({ waiting: 1, deadLetters: 0 });
  });

  it('counts the tries of other instances, and tries at least once', async () => {
    answer = () => FAILED;
    start({ CALLBACK_MAX_TRIES: '3' });
    const take = outbox.take.bind(outbox);
    jest.spyOn(outbox, 'take').mockImplementation(async (room) => {
      const before: Record<string, number> = { twice: 2, often: 30 };
      return (await take(room)).map(({ event }) => ({ event, tries: before[event.sessionId] ?? 0 }));
    });
    for (const session of ['never', 'twice', 'often']) happen(session);
    await pass(MINUTE);
    expect(['never', 'twice', 'often'].map((session) => tried(session).length)).toEqual([3, 1, 1]);
    expect((await outbox.deadLetters(9)).map((letter) => letter.tries)).toEqual([3, 3, 3]);
  });

  it('keeps the order within a session, and does not delay other sessions', async () => {
    const first = Promise.withResolvers<Sent>();
    answer = async ({ sessionId }) => (sessionId === 'tv' ? first.promise : DELIVERED);
    start();
    happen('tv', 'session.started');
    happen('tv', 'session.moved');
    await pass(5_000);
    happen('phone', 'session.started');
    await pass(5_000);
    const sent = () => tries.map(({ sessionId, type }) => `${sessionId} ${type}`);
    expect(sent()).toEqual(['tv session.started', 'phone session.started']);

    first.resolve(FAILED);
    await pass(100);
    expect(sent()).toHaveLength(2); // the first event is neither delivered nor given up
    answer = () => DELIVERED;
    await pass(1_000);
    expect(sent().slice(2)).toEqual(['tv session.started', 'tv session.moved']);
  });

  it('keeps the order if a new event arrives while the last one of the session is being sent', async () => {
    const underWay: ((sent: Sent) => void)[] = [];
    answer = async () => new Promise((resolve) => underWay.push(resolve));
    start();
    happen('tv', 'session.started');
    happen('tv', 'session.moved');
    await pass(1_000);
    underWay.shift()!(DELIVERED);
    await pass(1_000);
    happen('tv', 'session.ended');
    await pass(5_000);
    expect(tries.map(({ type }) => type)).toEqual(['session.started', 'session.moved']);
    underWay.shift()!(DELIVERED);
    await pass(0);
    expect(tries.map(({ type }) => type)).toEqual(['session.started', 'session.moved', 'session.ended']);
    underWay.shift()!(DELIVERED);
  });

  it('continues with the next event of a session after one was given up', async () => {
    answer = ({ type }) => (type === 'session.moved' ? DELIVERED : FAILED);
    start({ CALLBACK_MAX_TRIES: '2' });
    happen('tv', 'session.started');
    happen('tv', 'session.moved');
    await pass(3_000);
    expect(tries.map(({ type }) => type)).toEqual(['session.started', 'session.started', 'session.moved']);
    expect(await outbox.state()).toMatchObject({ waiting: 0, deadLetters: 1 });
  });

  it('sends at most 64 requests at once', async () => {
    let [underWay, most] = [0, 0];
    answer = async () => {
      most = Math.max(most, ++underWay);
      await new Promise((resolve) => setTimeout(resolve, 300));
      underWay--;
      return DELIVERED;
    };
    start();
    for (let n = 0; n < 100; n++) happen(`s-${n}`);
    await pass(2_000);
    expect([tries.length, most]).toEqual([100, 64]);
  });

  it('starts deliveries one by one, so that a backlog does not block the event loop', async () => {
    start();
    for (let n = 0; n < 400; n++) happen(`s-${n}`);
    await pass(2_000);
    const instants = Map.groupBy(tries, ({ at }) => at);
    expect([tries.length, Math.max(...[...instants.values()].map(({ length }) => length))]).toEqual([400, 1]);
  });

  it('takes only as many events from the store as it can deliver, and takes the others later', async () => {
    const dead = Promise.withResolvers<Sent>();
    answer = async () => dead.promise;
    start();
    const take = jest.spyOn(outbox, 'take');
    for (let n = 0; n < 1_500; n++) happen(`s-${n}`);
    await pass(10_000);
    const taken = await Promise.all(take.mock.results.map(({ value }) => value as Promise<unknown[]>));
    expect(taken.flat()).toHaveLength(512);
    expect((await outbox.state()).waiting).toBe(1_500);
    answer = () => DELIVERED;
    dead.resolve(DELIVERED);
    await pass(5_000);
    expect((await outbox.state()).waiting).toBe(0);
  });

  it('delivers new events while the receiver refuses thousands of others', async () => {
    answer = ({ sessionId }) => (sessionId.startsWith('poison') ? FAILED : DELIVERED);
    start();
    for (let n = 0; n < 4_000; n++) happen(`poison-${n}`);
    await pass(MINUTE);
    for (let n = 0; n < 50; n++) happen(`s-${n}`);
    // The receiver seemed to be down. After the first success all waiting events are retried once, before the new ones.
    await pass(15_000);
    expect(tries.filter(({ sessionId }) => sessionId.startsWith('s-'))).toHaveLength(50);
    expect((await outbox.state()).waiting).toBe(4_000);
  });

  it('keeps at most 4,096 failed events in memory', async () => {
    answer = ({ sessionId }) => (sessionId.startsWith('poison') ? FAILED : DELIVERED);
    start();
    const take = jest.spyOn(outbox, 'take');
    for (let n = 0; n < 6_000; n++) happen(n % 1_000 === 0 ? `s-${n}` : `poison-${n}`);
    await pass(2 * MINUTE);
    const taken = await Promise.all(take.mock.results.map(({ value }) => value as Promise<unknown[]>));
    const delivered = tries.filter(({ sessionId }) => sessionId.startsWith('s-')).length;
    expect(taken.flat().length - delivered).toBe(4_096);
  });

  it('sends a receiver that is down one new event per second', async () => {
    answer = () => FAILED;
    start();
    for (let n = 0; n < 12; n++) happen(`s-${n}`);
    await pass(2 * MINUTE);
    expect(said(log.error)).toEqual([DOWN]);
    const take = jest.spyOn(outbox, 'take');
    for (let n = 0; n < 100; n++) happen(`t-${n}`);
    await pass(10_000);
    const taken = await Promise.all(take.mock.results.map(({ value }) => value as Promise<unknown[]>));
    expect(taken.flat().length).toBeGreaterThanOrEqual(9);
    expect(taken.flat().length).toBeLessThanOrEqual(11);
  });

  it('retries all waiting events at once when a receiver that was down works again, and logs it once', async () => {
    answer = () => FAILED;
    start();
    for (let n = 0; n < 12; n++) happen(`s-${n}`);
    await pass(10 * MINUTE); // the next tries are minutes away
    answer = () => DELIVERED;
    happen('probe');
    await pass(1_100);
    expect((await outbox.state()).waiting).toBe(0);
    expect(said(log.error)).toEqual([DOWN]);
    expect(said(log.log)).toEqual(['the receiver of callbacks works again']);
  });

  it('does not treat a receiver as down after failures of a single event, or of a few seconds', async () => {
    answer = ({ sessionId }) => (sessionId === 'poison' ? FAILED : DELIVERED);
    start();
    happen('poison');
    for (let n = 0; n < 15; n++) {
      await pass(16 * MINUTE);
      happen(`s-${n}`);
    }
    expect(tried('poison').length).toBeGreaterThan(10);
    await pass(1_000);
    answer = () => FAILED;
    for (let n = 0; n < 20; n++) happen(`t-${n}`);
    await pass(20_000);
    answer = () => DELIVERED;
    await pass(5 * MINUTE);
    expect((await outbox.state()).waiting).toBe(0);
    expect(said(log.error)).not.toContain(DOWN);
  });

  it('does not treat a receiver as down if the only event fails repeatedly', async () => {
    answer = () => FAILED;
    start();
    happen('poison');
    await pass(150 * MINUTE);
    expect(tries.length).toBeGreaterThan(10);
    expect(said(log.error)).not.toContain(DOWN);
    happen('another');
    await pass(MINUTE);
    expect(said(log.error)).toContain(DOWN);
  });

  it('skips events that are not in CALLBACK_EVENTS', async () => {
    start({ CALLBACK_EVENTS: 'session.expired' });
    happen('tv', 'session.started');
    happen('tv', 'session.expired');
    await pass(1_000);
    expect(tries.map(({ type }) => type)).toEqual(['session.expired']);
    expect(await outbox.state()).toMatchObject({ waiting: 0, deadLetters: 0 });
  });

  it('is not repeated if the store was unavailable when it succeeded', async () => {
    start();
    jest.spyOn(outbox, 'settle').mockRejectedValueOnce(new StoreUnavailableError('away'));
    happen('tv');
    await pass(1_000);
    expect((await outbox.state()).waiting).toBe(1);
    await pass(10 * MINUTE);
    expect((await outbox.state()).waiting).toBe(0);
    expect(tries).toHaveLength(1);
  });

  it('continues when the outbox works again, and logs the failure and the recovery once', async () => {
    start();
    jest.spyOn(outbox, 'take').mockRejectedValue(new Error('WRONGTYPE'));
    happen('tv');
    await pass(10_000);
    expect([said(log.error), tries]).toEqual([
      ['the outbox failed; further failures are not logged until it works again'],
      [],
    ]);
    jest.restoreAllMocks();
    await pass(1_000);
    expect(tries).toHaveLength(1);
    expect(said(log.log)).toEqual(['the outbox works again']);
  });

  it('does not log that the store is unavailable, because the store logs it itself', async () => {
    start();
    const away = new StoreUnavailableError('away', { announced: true });
    jest.spyOn(outbox, 'take').mockRejectedValue(away);
    await pass(10_000);
    expect(said(log.error)).toEqual([]);
  });

  it('reports progress to the store, which would treat the instance as dead after 20 s', async () => {
    const dead = Promise.withResolvers<Sent>();
    answer = async () => dead.promise;
    start();
    const reports: number[] = [Date.now()];
    jest.spyOn(outbox, 'stillDelivering').mockImplementation(async () => {
      reports.push(Date.now());
    });
    happen('tv');
    await pass(MINUTE);
    reports.push(Date.now());
    expect(Math.max(...reports.slice(1).map((at, n) => at - reports[n]!))).toBeLessThan(10_000);
    dead.resolve(DELIVERED);
  });

  it('gives pending requests 2 s at shutdown, and returns waiting events to the store', async () => {
    const broken: string[] = [];
    answer = async ({ sessionId }, signal) => {
      if (sessionId === 'failing') return FAILED;
      if (sessionId === 'slow') await new Promise((resolve) => setTimeout(resolve, 1_500));
      else await new Promise((resolve) => signal.addEventListener('abort', resolve));
      if (signal.aborted) broken.push(sessionId);
      return signal.aborted ? FAILED : DELIVERED;
    };
    start();
    for (const session of ['slow', 'hanging', 'failing']) happen(session);
    service.wake();
    await pass(100); // the failing one waits for its next try
    const release = jest.spyOn(outbox, 'release');
    const settle = jest.spyOn(outbox, 'settle');
    const stopped = service.stop();
    await pass(1_999);
    expect([settle.mock.calls.map(([event]) => event.sessionId), broken]).toEqual([['slow'], []]);
    expect(release).not.toHaveBeenCalled();
    await pass(1);
    await stopped;
    expect(broken).toEqual(['hanging']);
    expect(release).toHaveBeenCalledTimes(1);
    expect(tried('failing')).toHaveLength(1);
    expect(await outbox.state()).toMatchObject({ waiting: 2, deadLetters: 0 });
    happen('later');
    await pass(10 * MINUTE);
    expect(tried('later')).toEqual([]);
  });

  it('makes no dead letters because of a shutdown', async () => {
    answer = async (_, signal) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      return FAILED;
    };
    start({ CALLBACK_MAX_TRIES: '1' });
    happen('tv');
    await pass(1_000);
    await stop();
    expect(await outbox.state()).toMatchObject({ waiting: 1, deadLetters: 0 });
  });

  it('does not delay a shutdown without pending requests', async () => {
    start();
    await pass(3_000);
    const stopped = service.stop().then(() => 'stopped');
    await pass(0);
    expect(await Promise.race([stopped, Promise.resolve().then(() => 'still running')])).toBe('stopped');
  });
});
