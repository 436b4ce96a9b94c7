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

/** Within what the contract has another instance deliver what a dead one left. */
export const HEIR_MS = 30_000;
export const [FILM, NEWS] = ['test-pattern', 'colour-bars'] as const;

/** A start takes a second of CPU, and has 20 s. */
const fewStarts = pLimit(2);

/** What one test has to itself: a database, a receiver of callbacks, and the processes that it starts. */
export class Scene {
  readonly receiver = new CallbackReceiver();
  readonly redis: Redis;
  /** The ports, on a connection of the test's own that waits for Redis as long as it takes. */
  readonly store: ReturnType<typeof openRedisStore>;
  private readonly cleanUp = new AsyncDisposableStack();

  private readonly link: RedisLink;

  private constructor(readonly url: string) {
    this.redis = new Redis(url);
    this.redis.on('error', () => undefined);
    this.link = connectPatiently(url);
    this.store = openRedisStore(this.link, POLICY, new Clock());
  }

  /** On a database of a server that others use as well, or on a server of its own, which ends with it. */
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

  /** The last thing first. */
  atEnd(action: () => unknown): void {
    this.cleanUp.defer(async () => {
      await action();
    });
  }

  /** Starts an instance that delivers all events, to a path of its own name. `folder`: of another release. */
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

  /** Has a session begin without a service. */
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

  told(...types: string[]): Delivery[] {
    return this.receiver.deliveries.filter(({ event }) => types.includes(event.type));
  }

  async allDelivered(withinMs?: number): Promise<void> {
    await until(async () => {
      await sleep(100); // to ask costs more than other polls
      return (await this.store.outbox.state()).waiting === 0;
    }, withinMs);
  }

  /** How many events instances have been given, dead ones as well. */
  async given(): Promise<number> {
    return Number(await this.redis.call('EVAL', GIVEN, 0));
  }

  /** When Redis was swept as a whole for the last time, in Unix milliseconds; 0 for not yet. */
  async lastSweep(): Promise<number> {
    const keys = Array.from({ length: PARTITIONS }, (_, at) => partitionKeys(at).state);
    const swept = await Promise.all(keys.map((state) => this.redis.hget(state, 'swept')));
    return Math.min(...swept.map(Number));
  }

  /** The ledger beside the sessions that there are by the records, at one instant: nothing runs while a script does. */
  async snapshot(): Promise<Snapshot> {
    const [counts, values] = (await this.redis.callBuffer('EVAL', SNAPSHOT, 0)) as [Buffer[], Buffer[]];
    const [admitted, expired, ended, undone] = counts.map(Number) as [number, number, number, number];
    const live = values.flatMap(readStoredRecords).filter(({ status }) => status !== 'ended').length;
    return { ledger: { admitted, expired, ended, undone, unreadable: 0 }, live };
  }

  async expectToBalanceUntil(over: () => boolean): Promise<void> {
    while (!over()) {
      const { ledger, live } = await this.snapshot();
      expect({ ...ledger, admitted: ledger.admitted - livingBy(ledger) + live }).toEqual(ledger);
      await sleep(100);
    }
  }
}

interface Snapshot {
  readonly ledger: Ledger;
  readonly live: number;
}

const GIVEN = `
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

function livingBy({ admitted, expired, ended, undone }: Ledger): number {
  return admitted - expired - ended - undone;
}

/** Viewers of all sorts, who ask whichever instance is there and do not mind how it answers. */
export class Load {
  over = false;
  readonly statuses: Record<string, number> = {};
  private readonly lives = new Map<ServiceProcess, Set<string>>();

  /** May change while it runs. */
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

  /** The lives that this one granted in replies that arrived. */
  livesOf(service: ServiceProcess): string[] {
    return [...(this.lives.get(service) ?? [])];
  }

  private async act(): Promise<void> {
    const service = any(this.services);
    const user_id = `user-${Math.floor(Math.random() * 50)}`;
    const session_id = any(SESSIONS);
    const own = `${service.url}/v1/users/${user_id}/sessions/${session_id}`;
    const watch = async (stream_id: string, more: object = {}): Promise<void> => {
      const { status, body } = await service.ask({ user_id, session_id, stream_id, ...more });
      this.count(status);
      if (status >= 300) return;
      const { started_at } = (body as { session: { started_at: string } }).session;
      const lives = this.lives.get(service) ?? new Set();
      this.lives.set(service, lives.add([user_id, session_id, started_at].join(' ')));
    };
    switch (pick([60, 'ask'], [10, 'move'], [8, 'replace'], [8, 'end'], [4, 'keep alive'], [10, 'leave'])) {
      case 'ask':
        return watch(FILM);
      case 'move':
        return watch(NEWS);
      case 'replace':
        return watch(FILM, { end_session_ids: [any(SESSIONS), any(SESSIONS)] });
      case 'leave':
        return leave(service, { user_id, session_id, stream_id: any([FILM, NEWS]) });
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

/** Asks for a phase, and is gone before it comes, if only just. */
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

/** The first delivery of each event of a session came after that of each older one. */
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

/** When everything is over: nothing was lost, nothing told under two names, and the ledger says the same. */
export async function expectEachLifeEndedOnce(scene: Scene): Promise<void> {
  const { store, receiver } = scene;
  await until(async () => (await scene.snapshot()).live === 0);
  await scene.allDelivered(HEIR_MS);
  const ledger = await store.sessions.ledger();
  const ends = Map.groupBy(scene.told('session.expired', 'session.ended'), lifeOf);
  expect([...ends].filter(([, deliveries]) => idsOf(deliveries).size !== 1)).toEqual([]);
  expect({
    admitted: ends.size + ledger.undone,
    expired: idsOf(scene.told('session.expired')).size,
    ended: idsOf(scene.told('session.ended')).size,
    undone: ledger.undone,
    unreadable: 0,
  }).toEqual(ledger);
  const begun = scene.told('session.started').map(lifeOf);
  expect(begun.filter((life) => !ends.has(life))).toEqual([]);
  expectInOrder(receiver.deliveries);
  expect(await store.outbox.state()).toMatchObject({ lost: 0, deadLetters: 0 });
  expect(Math.min(ledger.admitted, ledger.expired, ledger.ended, ledger.undone)).toBeGreaterThan(0); // the load was one
}

export function idsOf(deliveries: readonly Delivery[]): Set<string> {
  return new Set(deliveries.map(({ id }) => id));
}

/** A receiver that fails now and then. */
export function answerMostly(): 200 | 503 | 'hang up' {
  return pick<200 | 503 | 'hang up'>([95, 200], [3, 503], [2, 'hang up']);
}

/** One life of a session. */
export function lifeOf({ event: { data } }: Delivery): string {
  return [data.user_id, data.session_id, data.started_at].join(' ');
}

/** Asks for a phase until there is an answer: a machine under load may keep Redis from giving one in time. */
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

/** Likewise. */
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

function any<T>(choices: readonly T[]): T {
  return choices[Math.floor(Math.random() * choices.length)]!;
}

/** One of these, as often as it weighs. */
function pick<T>(...choices: readonly [weight: number, choice: T][]): T {
  return any(choices.flatMap(([weight, choice]) => Array.from({ length: weight }, () => choice)));
}
