import { setTimeout as sleep } from 'node:timers/promises';
import { type Delivery } from '../support/callback-receiver.js';
import { type OwnRedisServer, startOwnRedis } from '../support/redis-server.js';
import { ReplyValve } from '../support/reply-valve.js';
import {
  FILM,
  TAKEOVER_MS,
  Load,
  NEWS,
  Scene,
  answerMostly,
  ask,
  expectEachLifeEndedOnce,
  idsOf,
  lifeOf,
  names,
  post,
} from '../support/scene.js';
import { type ServiceProcess, endServiceProcesses } from '../support/service-process.js';
import { until } from '../support/until.js';

// Real processes in real time: if the machine stalls for a second, Redis is unavailable for them, as in production.
// Jest prints a failure before it tries again.
jest.retryTimes(2, { logErrorsBeforeRetry: true });

/**
 * Service processes or Redis die at the worst moment: no event is lost, and none is delivered with two ids. The tests
 * use real time, because the contract is about time. They run concurrently, each with its own database.
 */

const TEST_MS = 300_000;
/** No session expires within a test, however slow the machine is. */
const LONG_PHASES = { PHASE_SECONDS: '60' };

let server: OwnRedisServer;
let databases = 0;
beforeAll(async () => {
  server = await startOwnRedis();
});
afterAll(async () => {
  await endServiceProcesses();
  await server.stop();
});

describe('no event is lost or gets two ids', () => {
  it.concurrent(
    'if the instance that claimed an expiry dies before the reply of Redis arrives',
    async () => {
      await using scene = await Scene.open(`${server.url}/${databases++}`);
      const { store } = scene;
      const valve = await ReplyValve.open(scene.url);
      scene.atEnd(() => valve.close());
      const X = { PHASE_SECONDS: '0.5', IDLE_PHASES: '2' };
      const doomed = await scene.start('doomed', { ...X, REDIS_URL: valve.url });
      await store.sessions.pauseExpiry({ by: undefined, until: undefined });
      const users = names('user', 120);
      await Promise.all(users.map((user) => ask(doomed, user, FILM)));
      await until(() => scene.deliveriesOf('session.started').length === users.length);
      await scene.allDelivered();
      await sleep(1_000); // now all sessions are overdue

      valve.shut();
      await store.sessions.resumeExpiry();
      // Each sweep claims in a few partitions and waits for a reply that does not come: it is interrupted half-way.
      const sweep = () => fetch(`${doomed.url}/internal/expire-idle-sessions`, { method: 'POST' });
      const sweeps = Array.from({ length: 16 }, sweep);
      await until(async () => (await scene.snapshot()).ledger.expired > 0);
      // The instance has taken some of the events, but the replies were lost.
      await until(async () => (await scene.unacknowledged()) > 0);
      await doomed.end('SIGKILL');
      await Promise.allSettled(sweeps);
      expect((await store.sessions.ledger()).expired).toBeLessThan(users.length);
      expect(scene.deliveriesOf('session.expired').map(lifeOf)).toEqual([]);

      await scene.start('successor', X);
      await until(
        () => new Set(scene.deliveriesOf('session.expired').map(lifeOf)).size === users.length,
        TAKEOVER_MS,
      );
      await scene.allDelivered();
      const expiries = scene.deliveriesOf('session.expired');
      expect(idsOf(expiries).size).toBe(users.length);
      expect(await scene.snapshot()).toEqual({
        ledger: { admitted: users.length, expired: users.length, ended: 0, undone: 0, unreadable: 0 },
        live: 0,
      });
    },
    TEST_MS,
  );

  it.concurrent(
    'if an instance dies before it acknowledges delivered events, which are delivered again before newer ones',
    async () => {
      await using scene = await Scene.open(`${server.url}/${databases++}`);
      const { receiver } = scene;
      receiver.answer = ({ path }) => (path === '/doomed' ? 'hold' : 200);
      const doomed = await scene.start('doomed', LONG_PHASES);
      const users = names('user', 8);
      const askAll = (service: ServiceProcess, stream: string) =>
        Promise.all(users.map((user) => ask(service, user, stream)));
      await askAll(doomed, FILM);
      await until(() => receiver.holding === users.length);
      const successor = await scene.start('successor', LONG_PHASES);
      await askAll(doomed, NEWS);
      await askAll(successor, FILM);
      await Promise.all(
        users.map((user) => fetch(`${successor.url}/v1/users/${user}/sessions/tv`, { method: 'DELETE' })),
      );
      await sleep(2_500); // now the other instance would have taken events that it must not deliver

      // The receiver accepts the events, but the instance dies before it reads the replies.
      await until(() => receiver.holding === users.length);
      doomed.process.kill('SIGSTOP');
      receiver.letGo(200);
      await doomed.end('SIGKILL');
      const before = receiver.deliveries.splice(0);
      const types = new Set(before.map(({ path, event }) => `${path} ${event.type}`));
      expect(types).toEqual(new Set(['/doomed session.started']));

      await until(() => receiver.deliveries.length >= 4 * users.length, TAKEOVER_MS);
      await scene.allDelivered();
      for (const user of users) {
        const after = receiver.of(user);
        const accepted = before.find(({ event }) => event.data.user_id === user)!;
        expect(after.map(({ event }) => [event.type, event.data.stream_id])).toEqual([
          ['session.started', FILM],
          ['session.moved', NEWS],
          ['session.moved', FILM],
          ['session.ended', FILM],
        ]);
        expect([after[0]!.id, after[0]!.body]).toEqual([accepted.id, accepted.body]);
        expect(idsOf(after).size).toBe(4);
      }
    },
    TEST_MS,
  );

  it.concurrent(
    'and each session ends exactly once, while instances are killed and replaced under load',
    async () => {
      await using scene = await Scene.open(`${server.url}/${databases++}`);
      const { receiver, store } = scene;
      receiver.answer = answerMostly;
      const X = { PHASE_SECONDS: '0.5', IDLE_PHASES: '4' };
      const start = (name: string) => scene.start(name, X);
      const services = await Promise.all(['one', 'two', 'three'].map(start));
      const survivor = services[2]!;
      const replace = async (at: number, name: string): Promise<void> => {
        services[at] = await start(name);
      };
      const load = new Load(services);
      const running = Promise.all([load.run(12), scene.expectToBalanceUntil(() => load.over)]);

      await sleep(1_500);
      await services[0]!.end('SIGKILL');
      await replace(0, 'four');
      await post(survivor, '/internal/expiry/pause');
      await sleep(3_500); // builds up a backlog
      const { expired } = await store.sessions.ledger();
      await post(survivor, '/internal/expiry/resume');
      await until(async () => (await scene.snapshot()).ledger.expired > expired);
      await Promise.all([services[0]!.end('SIGKILL'), services[1]!.end('SIGKILL')]);
      await Promise.all([replace(0, 'five'), replace(1, 'six')]);
      await sleep(1_500);
      load.over = true;
      scene.receiver.answer = () => 200;
      await running;
      await expectEachLifeEndedOnce(scene);
      const known = new Set(scene.deliveriesOf('session.expired', 'session.ended').map(lifeOf));
      expect(load.livesOf(survivor).filter((life) => !known.has(life))).toEqual([]);
    },
    TEST_MS,
  );

  it.concurrent(
    'and each session ends exactly once, while Redis repeatedly hangs and closes connections',
    async () => {
      const own = await startOwnRedis();
      await using scene = await Scene.open(own);
      scene.receiver.answer = answerMostly;
      const start = (name: string) => scene.start(name, { PHASE_SECONDS: '0.5', IDLE_PHASES: '4' });
      const load = new Load(await Promise.all([start('one'), start('two')]));
      const running = load.run(6);
      for (let n = 0; n < 3; n++) {
        await sleep(1_000 + Math.random() * 1_000);
        own.pause();
        await sleep(1_500);
        own.resume();
        await sleep(1_000 + Math.random() * 1_000);
        await scene.redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      }
      load.over = true;
      scene.receiver.answer = () => 200;
      await running;
      expect(load.statuses[503]).toBeGreaterThan(0);
      await expectEachLifeEndedOnce(scene);
    },
    TEST_MS,
  );

  it.concurrent(
    'if the connection of an instance breaks while it takes events',
    async () => {
      await using scene = await Scene.open(`${server.url}/${databases++}`);
      const valve = await ReplyValve.open(scene.url);
      scene.atEnd(() => valve.close());
      await scene.start('service', { REDIS_URL: valve.url, ...LONG_PHASES });
      valve.breakAfter('started ');
      const users = names('user', 64);
      await Promise.all(users.map((user) => scene.begin(user)));
      const begun = (): Set<string> => new Set(scene.deliveriesOf('session.started').map(lifeOf));
      await until(() => begun().size === users.length, TAKEOVER_MS);
      await scene.allDelivered();
      expect(await scene.unacknowledged()).toBe(0);
    },
    TEST_MS,
  );
});

describe('the service', () => {
  it.concurrent(
    'hands over undelivered events at once when an instance stops, even if the receiver fails',
    async () => {
      await using scene = await Scene.open(`${server.url}/${databases++}`);
      const { receiver } = scene;
      receiver.answer = ({ path, event }) =>
        path === '/successor' ? 200 : String(event.data.user_id).endsWith('1') ? 'hold' : 503;
      const leaving = await scene.start('leaving', LONG_PHASES);
      const users = names('user', 40);
      await Promise.all(users.map((user) => ask(leaving, user, FILM)));
      await until(() => new Set(receiver.deliveries.map(lifeOf)).size === users.length);
      const successor = await scene.start('successor', LONG_PHASES);
      await sleep(2_500); // now the other instance would have taken events that it must not deliver
      const bySuccessor = (): Delivery[] => receiver.deliveries.filter(({ path }) => path === '/successor');
      expect(bySuccessor().map(lifeOf)).toEqual([]);

      expect(await leaving.end('SIGTERM')).toBe(0);
      await until(() => new Set(bySuccessor().map(lifeOf)).size === users.length, 8_000);
      expect(idsOf(receiver.deliveries).size).toBe(users.length);
      await scene.allDelivered();
      await ask(successor, 'user-1', NEWS);
      await until(() => scene.deliveriesOf('session.moved').length === 1);
    },
    TEST_MS,
  );

  it.concurrent(
    'delivers the events that it holds and new ones after Redis has lost all its data',
    async () => {
      const own = await startOwnRedis();
      await using scene = await Scene.open(own);
      const { receiver } = scene;
      receiver.answer = () => 'hold';
      const service = await scene.start('service');
      const users = names('user', 20);
      const begin = (session: string) =>
        Promise.all(users.map((user) => ask(service, user, FILM, { session_id: session })));
      const works = async (): Promise<boolean> => (await fetch(`${service.url}/health/ready`)).ok;
      await begin('before');
      await until(() => new Set(receiver.deliveries.map(lifeOf)).size === users.length);
      await own.kill();
      await until(async () => !(await works()));
      await own.restart();
      await until(works);
      await begin('after');

      const refused = receiver.deliveries.length;
      const accepted = (): Set<string> => new Set(receiver.deliveries.slice(refused).map(lifeOf));
      receiver.answer = () => 200;
      receiver.letGo(503);
      await until(() => accepted().size === 2 * users.length);
      await scene.allDelivered();
      expect(idsOf(receiver.deliveries).size).toBe(2 * users.length);
    },
    TEST_MS,
  );

  it.concurrent(
    'delivers events although Redis is full',
    async () => {
      const own = await startOwnRedis();
      await using scene = await Scene.open(own);
      const service = await scene.start('service', { PHASE_SECONDS: '0.5', IDLE_PHASES: '4' });
      await ask(service, 'ana', FILM);
      await until(() => scene.deliveriesOf('session.started').length === 1);
      await scene.redis.config('SET', 'maxmemory', '1');
      await until(() => scene.deliveriesOf('session.expired').length > 0);
      await scene.allDelivered();
      expect(scene.deliveriesOf('session.expired')).toHaveLength(1);
    },
    TEST_MS,
  );

  it.concurrent(
    'pauses the sweeps of all instances, also of those that start later, and then reports each expiry once',
    async () => {
      await using scene = await Scene.open(`${server.url}/${databases++}`);
      const { store } = scene;
      const start = (name: string) => scene.start(name, { PHASE_SECONDS: '0.5', IDLE_PHASES: '2' });
      const first = await Promise.all([start('one'), start('two')]);
      expect(await post(first[0], '/internal/expiry/pause', { by: 'ops' })).toMatchObject({ paused: true });
      const users = names('user', 30);
      await Promise.all(users.map((user, n) => ask(first[n % 2]!, user, FILM)));
      await until(() => scene.deliveriesOf('session.started').length === users.length);
      await sleep(2_500); // longer than n·X and the interval of the sweeps
      const sweep = { expired: 0, more: true };
      for (const service of first)
        expect(await post(service, '/internal/expire-idle-sessions')).toMatchObject(sweep);
      await Promise.all(first.map((service) => service.end('SIGKILL')));

      const second = await Promise.all([start('three'), start('four')]);
      await sleep(2_000);
      for (const service of second) {
        expect(await post(service, '/internal/expire-idle-sessions')).toMatchObject(sweep);
        const status = await fetch(`${service.url}/internal/expiry`);
        expect(await status.json()).toMatchObject({ paused: true, by: 'ops' });
      }
      expect(scene.deliveriesOf('session.expired').map(lifeOf)).toEqual([]);
      expect(await scene.snapshot()).toMatchObject({ ledger: { expired: 0 }, live: users.length });

      // Overdue sessions hold no place. Only a session that was removed for a new one is reported.
      const asked = await Promise.all(
        ['a', 'b', 'c', 'd', 'e', 'f'].map((session_id, n) =>
          ask(second[n % 2]!, users[0]!, FILM, { session_id }),
        ),
      );
      expect(asked.toSorted()).toEqual([409, 409, 409, 'admitted', 'admitted', 'admitted']);
      await until(() => scene.deliveriesOf('session.expired').length === 1);
      expect(scene.deliveriesOf('session.expired')[0]!.event.data).toMatchObject({
        user_id: users[0],
        session_id: 'tv',
      });

      await post(second[1], '/internal/expiry/resume');
      await until(async () => (await scene.snapshot()).live === 0);
      await scene.allDelivered();
      const total = users.length + 3;
      expect(
        scene
          .deliveriesOf('session.expired')
          .map(({ event }) => event.data.session_id)
          .filter((id) => id === 'tv'),
      ).toHaveLength(users.length);
      expect(idsOf(scene.deliveriesOf('session.expired')).size).toBe(total);
      expect(await store.sessions.ledger()).toEqual({
        admitted: total,
        expired: total,
        ended: 0,
        undone: 0,
        unreadable: 0,
      });
    },
    TEST_MS,
  );

  it.concurrent(
    'continues sessions that return within X after an outage of all instances, and reports the others as expired',
    async () => {
      await using scene = await Scene.open(`${server.url}/${databases++}`);
      const { receiver } = scene;
      const start = (name: string) => scene.start(name, { PHASE_SECONDS: '4', IDLE_PHASES: '1' });
      const first = await Promise.all([start('one'), start('two')]);
      await until(async () => (await scene.lastSweep()) > 0);
      const [returning, silent] = [names('returning', 20), names('silent', 20)];
      const askAll = (service: ServiceProcess, users: readonly string[]) =>
        Promise.all(users.map((user) => ask(service, user, FILM, { phase: 0 })));
      await askAll(first[0], returning);
      await askAll(first[1], silent);
      await until(() => scene.deliveriesOf('session.started').length === 40);
      await scene.allDelivered();
      await Promise.all(first.map((service) => service.end('SIGKILL')));
      expect(scene.deliveriesOf('session.expired').map(lifeOf)).toEqual([]);
      const died = Date.now();
      await sleep(6_000);

      const second = [start('three'), start('four')];
      const service = await Promise.race(second);
      await until(async () => (await scene.lastSweep()) > died);
      await askAll(service, returning);
      const expired = (): string[] =>
        scene.deliveriesOf('session.expired').map(({ event }) => String(event.data.user_id));
      await until(async () => {
        await sleep(500);
        await askAll(service, returning);
        return expired().length >= silent.length;
      });
      expect(expired().toSorted()).toEqual(silent.toSorted());
      await Promise.all(second);
      await until(() => expired().length >= 40);
      await scene.allDelivered();
      // Each session ended once, and those that returned were continued.
      expect(expired().toSorted()).toEqual([...returning, ...silent].toSorted());
      expect(new Set(receiver.deliveries.map(lifeOf)).size).toBe(40);
    },
    TEST_MS,
  );
});
