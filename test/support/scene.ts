import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import pLimit from 'p-limit';
import { Clock } from '../../src/clock.js';
import { EVENT_TYPES } from '../../src/sessions/session-events.js';
import { type Ledger } from '../../src/sessions/session.repository.js';
import { PARTITIONS, partitionKeys } from '../../src/sessions/redis/keys.js';
import { type RedisLink } from '../../src/sessions/redis/link.js';
import { CallbackReceiver, type Delivery } from './callback-receiver.js';
import { connectPatiently } from './redis-database.js';
import { type OwnRedisServer } from './redis-server.js';
import { type ServiceProcess, startServiceProcess } from './service-process.js';
import { readStoredRecords } from './stored-records.js';
import { POLICY, openRedisStore } from './stores.js';
import { until } from './until.js';
import { filmOf } from './windows.js';

/** The time within which another instance must deliver the events of a dead one. */
export const TAKEOVER_MS = 30_000;
export const [FILM, NEWS] = ['test-pattern', 'colour-bars'] as const;

/** Limits concurrent starts, because each takes a second of CPU and must finish within 20 s. */
const fewStarts = pLimit(2);

/** The resources of one test: a database, a receiver of callbacks, and the processes that the test starts. */
export class Scene {
  readonly receiver = new CallbackReceiver();
  readonly redis: Redis;
  /** The ports, on a connection of the test with a long time-out. */
  readonly store: ReturnType<typeof openRedisStore>;
  private readonly cleanUp = new AsyncDisposableStack();

  private readonly link: RedisLink;

  private constructor(readonly url: string) {
    this.redis = new Redis(url);
    this.redis.on('error', () => undefined);
    this.link = connectPatiently(url);
    this.store = openRedisStore(this.link, POLICY, new Clock());
  }

  /** Opens a scene on a database of a shared server, or on a server that it stops at its end. */
  static async open(redis: string | OwnRedisServer): Promise<Scene> {
    const scene = new Scene(typeof redis === 'string' ? redis : redis.url);
    if (typeof redis !== 'string') scene.atEnd(() => redis.stop());
    await scene.receiver.start();
    scene.atEnd(() => scene.receiver.stop());
    scene.atEnd(() => scene.redis.disconnect());
    scene.atEnd(() => scene.link.close());
    await scene.link.attempted();
    return scene;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cleanUp.disposeAsync();
  }

  /** Registers an action for the end of the scene. The actions run in reverse order. */
  atEnd(action: () => unknown): void {
    this.cleanUp.defer(async () => {
      await action();
    });
  }

  /** Starts an instance that delivers all events to the path `/name`. `folder` is that of another release. */
  async start(
    name: string,
    environment: Record<string, string> = {},
    folder?: string,
  ): Promise<ServiceProcess> {
    const service = await fewStarts(() =>
      startServiceProcess(
        {
          REDIS_URL: this.url,
          LOG_LEVEL: 'warn',
          CALLBACK_URL: `${this.receiver.url}/${name}`,
          CALLBACK_EVENTS: EVENT_TYPES.join(','),
          ...environment,
        },
        folder,
      ),
    );
    this.atEnd(() => service.end('SIGKILL'));
    return service;
  }

  /** Starts a session without a service. */
  async begin(userId: string): Promise<void> {
    const { sessions } = this.store;
    const session = {
      userId,
      sessionId: 'tv',
      streamId: FILM,
      phase: 0,
      window: filmOf(1),
      endSessionIds: [],
      quota: POLICY.quota,
    };
    const admission = await sessions.admit(session);
    if (admission.outcome === 'admitted') await sessions.confirm(admission.place);
  }

  /** The callbacks of these types that the receiver got so far. */
  deliveriesOf(...types: string[]): Delivery[] {
    return this.receiver.deliveries.filter(({ event }) => types.includes(event.type));
  }

  async allDelivered(withinMs?: number): Promise<void> {
    await until(async () => {
      await sleep(100); // this request is more expensive than that of other polls
      return (await this.store.outbox.state()).waiting === 0;
    }, withinMs);
  }

  /** The number of events that instances, including dead ones, have taken and not acknowledged. */
  async unacknowledged(): Promise<number> {
    return Number(await this.redis.call('EVAL', UNACKNOWLEDGED, 0));
  }

  /** When all partitions had been swept for the last time, in Unix milliseconds; 0 if not yet. */
  async lastSweep(): Promise<number> {
    const keys = Array.from({ length: PARTITIONS }, (_, at) => partitionKeys(at).state);
    const swept = await Promise.all(keys.map((state) => this.redis.hget(state, 'swept')));
    return Math.min(...swept.map(Number));
  }

  /** The ledger and the number of live sessions by the records, at one instant, because one script reads both. */
  async snapshot(): Promise<Snapshot> {
    const [counts, values] = (await this.redis.callBuffer('EVAL', SNAPSHOT, 0)) as [Buffer[], Buffer[]];
    const [admitted, expired, ended, undone] = counts.map(Number) as [number, number, number, number];
    const live = values.flatMap(readStoredRecords).filter(({ status }) => status !== 'ended').length;
    return { ledger: { admitted, expired, ended, undone, unreadable: 0 }, live };
  }

  async expectToBalanceUntil(over: () => boolean): Promise<void> {
    while (!over()) {
      const { ledger, live } = await this.snapshot();
      expect({ ...ledger, admitted: ledger.admitted - liveByLedger(ledger) + live }).toEqual(ledger);
      await sleep(100);
    }
  }
}

interface Snapshot {
  readonly ledger: Ledger;
  readonly live: number;
}

const UNACKNOWLEDGED = `
local given = 0
for _, outbox in ipairs(redis.call('KEYS', 'sg:*:o')) do
  given = given + (redis.pcall('XPENDING', outbox, 'callbacks')[1] or 0)
end
return given`;

const SNAPSHOT = `
local counts, values = { 0, 0, 0, 0 }, {}
for _, state in ipairs(redis.call('KEYS', 'sg:*:s')) do
  for i, n in ipairs(redis.call('HMGET', state, 'started', 'expired', 'ended', 'undone')) do
    counts[i] = counts[i] + (n or 0)
  end
end
for _, records in ipairs(redis.call('KEYS', 'sg:*:u:*')) do
  for _, value in ipairs(redis.call('HVALS', records)) do values[#values + 1] = value end
end
for i = 1, 4 do counts[i] = tostring(counts[i]) end
return { counts, values }`;

function liveByLedger({ admitted, expired, ended, undone }: Ledger): number {
  return admitted - expired - ended - undone;
}

/** Viewers who send all kinds of requests to random instances, and ignore failures. */
export class Load {
  over = false;
  readonly statuses: Record<string, number> = {};
  private readonly lives = new Map<ServiceProcess, Set<string>>();

  /** The list of services may change while the load runs. */
  constructor(private readonly services: readonly ServiceProcess[]) {}

  async run(viewers: number): Promise<void> {
    await Promise.all(
      Array.from({ length: viewers }, async () => {
        while (!this.over) {
          await this.act().catch(() => this.count('broken'));
          await sleep(Math.random() * 50);
        }
      }),
    );
  }

  /** The lives of sessions that this service admitted, by the replies that arrived. */
  livesOf(service: ServiceProcess): string[] {
    return [...(this.lives.get(service) ?? [])];
  }

  private async act(): Promise<void> {
    const service = randomOf(this.services);
    const user_id = `user-${Math.floor(Math.random() * 50)}`;
    const session_id = randomOf(SESSIONS);
    const own = `${service.url}/v1/users/${user_id}/sessions/${session_id}`;
    const watch = async (stream_id: string, more: object = {}): Promise<void> => {
      const { status, body } = await service.ask({ user_id, session_id, stream_id, ...more });
      this.count(status);
      if (status >= 300) return;
      const { started_at } = (body as { session: { started_at: string } }).session;
      const lives = this.lives.get(service) ?? new Set();
      this.lives.set(service, lives.add([user_id, session_id, started_at].join(' ')));
    };
    switch (
      weightedChoice([60, 'ask'], [10, 'move'], [8, 'replace'], [8, 'end'], [4, 'keep alive'], [10, 'leave'])
    ) {
      case 'ask':
        return watch(FILM);
      case 'move':
        return watch(NEWS);
      case 'replace':
        return watch(FILM, { end_session_ids: [randomOf(SESSIONS), randomOf(SESSIONS)] });
      case 'leave':
        return leave(service, { user_id, session_id, stream_id: randomOf([FILM, NEWS]) });
      case 'end':
        return void (await fetch(own, { method: 'DELETE' }));
      case 'keep alive':
        return void (await fetch(`${own}/keepalive`, { method: 'POST' }));
    }
  }

  private count(what: number | string): void {
    this.statuses[what] = (this.statuses[what] ?? 0) + 1;
  }
}

const SESSIONS = ['a', 'b', 'c', 'd', 'e'];

/** Requests a phase, and disconnects at about the time of the reply. */
async function leave({ url }: ServiceProcess, body: object): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname).on('error', () => undefined);
  await once(socket, 'connect');
  const json = JSON.stringify(body);
  const head = `POST /v1/phases HTTP/1.1\r\nhost: ${hostname}\r\ncontent-type: application/json\r\n`;
  socket.write(`${head}content-length: ${json.length}\r\n\r\n${json}`);
  await sleep(Math.random() * 4);
  socket.destroy();
}

/** Expects that the events of each session were first delivered in order. */
function expectInOrder(deliveries: readonly Delivery[]): void {
  const firsts = [...new Map(deliveries.toReversed().map((delivery) => [delivery.id, delivery])).values()];
  const bySession = Map.groupBy(
    firsts.toSorted((a, b) => a.arrivedAt - b.arrivedAt),
    ({ event }) => `${String(event.data.user_id)} ${String(event.data.session_id)}`,
  );
  for (const events of bySession.values()) {
    const instants = events.map(({ event }) => event.timestamp);
    expect(instants).toEqual(instants.toSorted());
  }
}

/** Waits for all deliveries, then expects that no event was lost or had two ids, and that the ledger agrees. */
export async function expectEachLifeEndedOnce(scene: Scene): Promise<void> {
  const { store, receiver } = scene;
  await until(async () => (await scene.snapshot()).live === 0);
  await scene.allDelivered(TAKEOVER_MS);
  const ledger = await store.sessions.ledger();
  const ends = Map.groupBy(scene.deliveriesOf('session.expired', 'session.ended'), lifeOf);
  expect([...ends].filter(([, deliveries]) => idsOf(deliveries).size !== 1)).toEqual([]);
  expect({
    admitted: ends.size + ledger.undone,
    expired: idsOf(scene.deliveriesOf('session.expired')).size,
    ended: idsOf(scene.deliveriesOf('session.ended')).size,
    undone: ledger.undone,
    unreadable: 0,
  }).toEqual(ledger);
  const begun = scene.deliveriesOf('session.started').map(lifeOf);
  expect(begun.filter((life) => !ends.has(life))).toEqual([]);
  expectInOrder(receiver.deliveries);
  expect(await store.outbox.state()).toMatchObject({ lost: 0, deadLetters: 0 });
  // The load must have caused all outcomes.
  expect(Math.min(ledger.admitted, ledger.expired, ledger.ended, ledger.undone)).toBeGreaterThan(0);
}

export function idsOf(deliveries: readonly Delivery[]): Set<string> {
  return new Set(deliveries.map(({ id }) => id));
}

/** A receiver that fails now and then. */
export function answerMostly(): 200 | 503 | 'hang up' {
  return weightedChoice<200 | 503 | 'hang up'>([95, 200], [3, 503], [2, 'hang up']);
}

/** Identifies one life of a session id, from its start to its end. The same id may start again later. */
export function lifeOf({ event: { data } }: Delivery): string {
  return [data.user_id, data.session_id, data.started_at].join(' ');
}

/** Requests a phase until the answer is not 503, which may occur if the machine is busy. */
export async function ask(
  service: ServiceProcess,
  user_id: string,
  stream_id: string,
  more: object = {},
): Promise<'admitted' | 409> {
  for (;;) {
    const { status } = await service.ask({ user_id, session_id: 'tv', stream_id, ...more });
    if (status < 300) return 'admitted';
    if (status === 409) return status;
    if (status !== 503) throw new Error(`a phase was refused with ${status}`);
    await sleep(100);
  }
}

/** Posts until the answer is not 503. */
export async function post(service: ServiceProcess, path: string, body: object = {}): Promise<unknown> {
  for (;;) {
    const reply = await fetch(service.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (reply.status !== 503) return reply.json();
    await sleep(100);
  }
}

export function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${prefix}-${n}`);
}

function randomOf<T>(choices: readonly T[]): T {
  return choices[Math.floor(Math.random() * choices.length)]!;
}

/** A random choice, with the given weights. */
function weightedChoice<T>(...choices: readonly [weight: number, choice: T][]): T {
  return randomOf(choices.flatMap(([weight, choice]) => Array.from({ length: weight }, () => choice)));
}
