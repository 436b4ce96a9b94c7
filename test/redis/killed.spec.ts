import { setTimeout as sleep } from 'node:timers/promises';
import { type Delivery } from '../support/callback-receiver.js';
import { type OwnRedisServer, startOwnRedis } from '../support/redis-server.js';
import { ReplyValve } from '../support/reply-valve.js';
import {
  FILM,
  HEIR_MS,
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

// Real processes in real time: a machine that stalls for a second has Redis away for them, as it would in production. What
// failed is printed before it is tried again.
jest.retryTimes(2, { logErrorsBeforeRetry: true });

/**
 * Service processes that die at the worst moment, and a Redis that does: no expiry is lost, none is told under two
 * names. The time is real, because the promises are about time; so the tests run at once, each in a database of its own.
 */

const TEST_MS = 90_000;

let server: OwnRedisServer;
let databases = 0;
beforeAll(async () => {
  server = await startOwnRedis();
});
afterAll(async () => {
  await endServiceProcesses();
  await server.stop();
});

describe('nothing is lost, or told under two names', () => {
  it.concurrent(
    'an expiry is told, though the instance that claimed it died before it heard of its own claim',
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
      await until(() => scene.told('session.started').length === users.length);
      await scene.allDelivered();
      await sleep(1_000); // from here on, all of them are overdue

      valve.shut();
      await store.sessions.resumeExpiry();
      // Each claims in a few partitions and waits for an answer that does not come: sweeps that broke off half-way.
      const sweep = () => fetch(`${doomed.url}/internal/expire-idle-sessions`, { method: 'POST' });
      const sweeps = Array.from({ length: 16 }, sweep);
      await until(async () => (await scene.snapshot()).ledger.expired > 0);
      await until(async () => (await scene.given()) > 0); // some of the events were handed to it, to no avail
      await doomed.end('SIGKILL');
      await Promise.allSettled(sweeps);
      expect((await store.sessions.ledger()).expired).toBeLessThan(users.length);
      expect(scene.told('session.expired').map(lifeOf)).toEqual([]);

      await scene.start('heir', X);
      await until(() => new Set(scene.told('session.expired').map(lifeOf)).size === users.length, HEIR_MS);
      await scene.allDelivered();
      const expiries = scene.told('session.expired');
      expect(idsOf(expiries).size).toBe(users.length);
      expect(await scene.snapshot()).toEqual({
        ledger: { admitted: users.length, expired: users.length, ended: 0, undone: 0, unreadable: 0 },
        live: 0,
      });
    },
    TEST_MS,
  );

  it.concurrent(
    'what a dead instance could not acknowledge is delivered again, under the same name and before anything newer',
    async () => {
      await using scene = await Scene.open(`${server.url}/${databases++}`);
      const { receiver } = scene;
      receiver.answer = ({ path }) => (path === '/doomed' ? 'hold' : 200);
      const doomed = await scene.start('doomed');
      const users = names('user', 8);
      const askAll = (service: ServiceProcess, stream: string) =>
        Promise.all(users.map((user) => ask(service, user, stream)));
      await askAll(doomed, FILM);
      await until(() => receiver.holding === users.length);
      const heir = await scene.start('heir');
      await askAll(doomed, NEWS);
      await askAll(heir, FILM);
      await Promise.all(
        users.map((user) => fetch(`${heir.url}/v1/users/${user}/sessions/tv`, { method: 'DELETE' })),
      );
      await sleep(2_500); // by now, the other has looked for something to deliver twice

      // Delivered and accepted, but it never gets to read so.
      await until(() => receiver.holding === users.length);
      doomed.process.kill('SIGSTOP');
      receiver.letGo(200);
      await doomed.end('SIGKILL');
      const before = receiver.deliveries.splice(0);
      const types = new Set(before.map(({ path, event }) => `${path} ${event.type}`));
      expect(types).toEqual(new Set(['/doomed session.started']));

      await until(() => receiver.deliveries.length >= 4 * users.length, HEIR_MS);
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
    'each life of a session comes to exactly one end, whatever instances are asked and whichever die meanwhile',
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
      await sleep(3_500); // for a backlog
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
      const known = new Set(scene.told('session.expired', 'session.ended').map(lifeOf));
      expect(load.livesOf(survivor).filter((life) => !known.has(life))).toEqual([]);
    },
    TEST_MS,
  );

  it.concurrent(
    'each life of a session comes to exactly one end, though Redis hangs and drops connections again and again',
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
    'no event is lost on its way to an instance whose connection breaks while it takes them',
    async () => {
      await using scene = await Scene.open(`${server.url}/${databases++}`);
      const valve = await ReplyValve.open(scene.url);
      scene.atEnd(() => valve.close());
      await scene.start('service', { REDIS_URL: valve.url, PHASE_SECONDS: '60' });
      valve.breakAfter('started ');
      const users = names('user', 64);
      await Promise.all(users.map((user) => scene.begin(user)));
      const begun = (): Set<string> => new Set(scene.told('session.started').map(lifeOf));
      await until(() => begun().size === users.length, HEIR_MS);
      await scene.allDelivered();
      expect(await scene.given()).toBe(0);
    },
    TEST_MS,
  );
});

describe('instances recover, and act together', () => {
  it.concurrent(
    'an instance that is told to stop hands over at once what it holds, however the receiver fails',
    async () => {
      await using scene = await Scene.open(`${server.url}/${databases++}`);
      const { receiver } = scene;
      receiver.answer = ({ path, event }) =>
        path === '/heir' ? 200 : String(event.data.user_id).endsWith('1') ? 'hold' : 503;
      const leaving = await scene.start('leaving');
      const users = names('user', 40);
      await Promise.all(users.map((user) => ask(leaving, user, FILM)));
      await until(() => new Set(receiver.deliveries.map(lifeOf)).size === users.length);
      const heir = await scene.start('heir');
      await sleep(2_500); // by now, the other has looked for something to deliver twice
      const byHeir = (): Delivery[] => receiver.deliveries.filter(({ path }) => path === '/heir');
      expect(byHeir().map(lifeOf)).toEqual([]);

      expect(await leaving.end('SIGTERM')).toBe(0);
      await until(() => new Set(byHeir().map(lifeOf)).size === users.length, 8_000);
      expect(idsOf(receiver.deliveries).size).toBe(users.length);
      await scene.allDelivered();
      await ask(heir, 'user-1', NEWS);
      await until(() => scene.told('session.moved').length === 1);
    },
    TEST_MS,
  );

  it.concurrent(
    'an instance delivers what it holds and what comes, though Redis died and came back empty',
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
    'what is told is delivered though Redis is full',
    async () => {
      const own = await startOwnRedis();
      await using scene = await Scene.open(own);
      const service = await scene.start('service', { PHASE_SECONDS: '0.5', IDLE_PHASES: '4' });
      await ask(service, 'ana', FILM);
      await until(() => scene.told('session.started').length === 1);
      await scene.redis.config('SET', 'maxmemory', '1');
      await until(() => scene.told('session.expired').length > 0);
      await scene.allDelivered();
      expect(scene.told('session.expired')).toHaveLength(1);
    },
    TEST_MS,
  );

  it.concurrent(
    'a pause holds for all instances, also those that start later, and what piled up is then reported once',
    async () => {
      await using scene = await Scene.open(`${server.url}/${databases++}`);
      const { store } = scene;
      const start = (name: string) => scene.start(name, { PHASE_SECONDS: '0.5', IDLE_PHASES: '2' });
      const first = await Promise.all([start('one'), start('two')]);
      expect(await post(first[0], '/internal/expiry/pause', { by: 'ops' })).toMatchObject({ paused: true });
      const users = names('user', 30);
      await Promise.all(users.map((user, n) => ask(first[n % 2]!, user, FILM)));
      await until(() => scene.told('session.started').length === users.length);
      await sleep(2_500); // more than n·X and a sweep of each
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
      expect(scene.told('session.expired').map(lifeOf)).toEqual([]);
      expect(await scene.snapshot()).toMatchObject({ ledger: { expired: 0 }, live: users.length });

      // Overdue, a session holds no place; what can no longer come back is the only one that is reported.
      const asked = await Promise.all(
        ['a', 'b', 'c', 'd', 'e', 'f'].map((session_id, n) =>
          ask(second[n % 2]!, users[0]!, FILM, { session_id }),
        ),
      );
      expect(asked.toSorted()).toEqual([409, 409, 409, 'admitted', 'admitted', 'admitted']);
      await until(() => scene.told('session.expired').length === 1);
      expect(scene.told('session.expired')[0]!.event.data).toMatchObject({
        user_id: users[0],
        session_id: 'tv',
      });

      await post(second[1], '/internal/expiry/resume');
      await until(async () => (await scene.snapshot()).live === 0);
      await scene.allDelivered();
      const total = users.length + 3;
      expect(
        scene
          .told('session.expired')
          .map(({ event }) => event.data.session_id)
          .filter((id) => id === 'tv'),
      ).toHaveLength(users.length);
      expect(idsOf(scene.told('session.expired')).size).toBe(total);
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
    'when all instances were dead, who comes back within one X goes on, and who does not is reported',
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
      await until(() => scene.told('session.started').length === 40);
      await scene.allDelivered();
      await Promise.all(first.map((service) => service.end('SIGKILL')));
      expect(scene.told('session.expired').map(lifeOf)).toEqual([]);
      const died = Date.now();
      await sleep(6_000);

      const second = [start('three'), start('four')];
      const service = await Promise.race(second);
      await until(async () => (await scene.lastSweep()) > died);
      await askAll(service, returning);
      const expired = (): string[] =>
        scene.told('session.expired').map(({ event }) => String(event.data.user_id));
      await until(async () => {
        await sleep(500);
        await askAll(service, returning);
        return expired().length >= silent.length;
      });
      expect(expired().toSorted()).toEqual(silent.toSorted());
      await Promise.all(second);
      await until(() => expired().length >= 40);
      await scene.allDelivered();
      // Each life that began ended once; nobody who came back was given a new one.
      expect(expired().toSorted()).toEqual([...returning, ...silent].toSorted());
      expect(new Set(receiver.deliveries.map(lifeOf)).size).toBe(40);
    },
    TEST_MS,
  );
});
