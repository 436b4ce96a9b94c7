import { setImmediate as nextTurn } from 'node:timers/promises';
import { type AddressInfo, type Socket, connect, createServer } from 'node:net';
import { Redis } from 'ioredis';
import { Availability } from '../../src/sessions/redis/availability.js';
import { RIGHTS } from '../../src/sessions/redis/faults.js';
import { type RedisLink, connectRedis } from '../../src/sessions/redis/link.js';
import { type RedisStore } from '../../src/sessions/redis/redis-store.js';
import { type Admission, type Admitted } from '../../src/sessions/session.js';
import { ManualClock } from '../support/manual-clock.js';
import { QUIET } from '../support/redis-database.js';
import { type OwnRedisServer, startOwnRedis } from '../support/redis-server.js';
import { ReplyValve } from '../support/reply-valve.js';
import { endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { POLICY, openRedisStore } from '../support/stores.js';
import { until } from '../support/until.js';
import { filmOf } from '../support/windows.js';

/** ADMIT_DURABILITY=replicated: a new session is acknowledged only if a replica has it. */

/** The patience of the tests' links: long enough for a busy machine. A wait for a replica takes half of it. */
const PATIENCE_MS = 4_000;

/** Runs after each test, the latest first. */
const atEnd: (() => unknown)[] = [];
afterEach(async () => {
  await endServiceProcesses();
  for (const end of atEnd.splice(0).toReversed()) await end();
});

async function start(options: readonly string[] = []): Promise<{ server: OwnRedisServer; admin: Redis }> {
  const server = await startOwnRedis(['--repl-diskless-sync-delay', '0', ...options]);
  atEnd.push(() => server.stop());
  const admin = new Redis(server.url, { retryStrategy: () => 200 });
  admin.on('error', () => undefined);
  atEnd.push(() => admin.disconnect());
  return { server, admin };
}

/** A primary and its replica, which follows through a valve. */
async function startPair() {
  const primary = await start();
  const valve = await ReplyValve.open(primary.server.url);
  atEnd.push(() => valve.close());
  const { port } = new URL(valve.url);
  const replica = await start(['--replicaof', '127.0.0.1', port]);
  await until(async () => (await primary.admin.info('replication')).includes('state=online'));
  return { primary, replica, valve };
}

async function open(
  url: string,
  settings = {},
  availability = QUIET,
): Promise<{ link: RedisLink } & RedisStore> {
  const link = connectRedis({ url, awaitsReplica: true, ...settings }, availability, PATIENCE_MS);
  atEnd.push(() => link.close());
  await link.attempted();
  // The clock stands still, so that no lease ends on a busy machine.
  return { link, ...openRedisStore(link, POLICY, new ManualClock()) };
}

async function admit(
  { sessions }: RedisStore,
  userId: string,
  sessionId = 'tv',
  endSessionIds: readonly string[] = [],
): Promise<Admission> {
  return sessions.admit({
    userId,
    sessionId,
    streamId: 'film',
    phase: undefined,
    window: filmOf(1_000),
    quota: POLICY.quota,
    endSessionIds,
  });
}

async function begin(store: RedisStore, userId: string): Promise<Admitted> {
  const admission = (await admit(store, userId)) as Admitted;
  await store.sessions.confirm(admission.place);
  return admission;
}

const liveOf = async ({ sessions }: RedisStore, userId: string): Promise<string[]> =>
  (await sessions.list(userId)).sessions.map(({ sessionId }) => sessionId);

/** Kills the primary under admissions, whose replica had received nothing for a while. Returns the lost ones. */
async function loseInFailover(awaitsReplica: boolean): Promise<{ acknowledged: number; lost: number }> {
  const { primary, replica, valve } = await startPair();
  const store = await open(primary.server.url, { awaitsReplica });
  const acknowledged: string[] = [];
  let failed = 0;
  const over = new AbortController();
  const lane = async (number: number): Promise<void> => {
    for (let n = 0; !over.signal.aborted; n++) {
      const user = `user-${number}-${n}`;
      await admit(store, user).then(
        () => acknowledged.push(user),
        () => failed++,
      );
      await nextTurn();
    }
  };
  const lanes = Array.from({ length: 8 }, (_, number) => lane(number));
  try {
    await until(() => acknowledged.length >= 50);
    valve.shut();
    const before = acknowledged.length;
    await until(() => failed >= 8 || acknowledged.length >= before + 50);
    await primary.server.kill();
  } finally {
    over.abort();
  }
  await Promise.all(lanes);
  await replica.admin.replicaof('NO', 'ONE');
  const successor = await open(replica.server.url, { awaitsReplica: false });
  const held = await Promise.all(acknowledged.map((user) => liveOf(successor, user)));
  return { acknowledged: acknowledged.length, lost: held.filter((live) => live.length === 0).length };
}

describe('the loss of the primary', () => {
  it('loses no session that was acknowledged after a replica had it', async () => {
    const { acknowledged, lost } = await loseInFailover(true);
    expect([acknowledged >= 50, lost]).toEqual([true, 0]);
  });

  it('loses acknowledged sessions if only the primary had them', async () => {
    expect((await loseInFailover(false)).lost).toBeGreaterThan(0);
  });

  it('loses no session whose confirmation no replica had: the confirmation fails, and is repeated', async () => {
    const { primary, replica, valve } = await startPair();
    const store = await open(primary.server.url);
    const { place } = (await admit(store, 'ana')) as Admitted;
    valve.shut();
    await expect(store.sessions.confirm(place)).rejects.toThrow('NOTREPLICATED');
    await primary.server.kill();
    await replica.admin.replicaof('NO', 'ONE');
    const successor = await open(replica.server.url, { awaitsReplica: false });
    await successor.sessions.confirm(place);
    expect((await admit(successor, 'ana')) as Admitted).toMatchObject({ place: { reserved: false } });
  });
});

describe('while no replica follows', () => {
  it('a new session is undone and rejected, and renewals go on without a wait', async () => {
    const { primary, valve } = await startPair();
    const store = await open(primary.server.url);
    await begin(store, 'ana');
    valve.shut();
    let isSettled = false;
    const refusal = admit(store, 'ana', 'phone')
      .catch((error: unknown) => error)
      .finally(() => (isSettled = true));
    await until(async () => /flags=b\S* .*cmd=wait/.test(String(await primary.admin.client('LIST'))));
    for (let n = 0; n < 4; n++) expect(await admit(store, 'ana')).toMatchObject({ created: false });
    expect(isSettled).toBe(false);
    expect(await refusal).toMatchObject({
      message: expect.stringContaining('NOTREPLICATED'),
      away: false,
      announced: true,
    });
    expect(await liveOf(store, 'ana')).toEqual(['tv']);
    expect(await store.sessions.ledger()).toMatchObject({ admitted: 2, undone: 1 });
  });

  it('a second request for a new session is not answered before the first one', async () => {
    const { primary, valve } = await startPair();
    const store = await open(primary.server.url);
    valve.shut();
    const both = await Promise.allSettled([admit(store, 'ana'), admit(store, 'ana')]);
    expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  });

  it('a request that ends another session ends nothing', async () => {
    const { primary, valve } = await startPair();
    const store = await open(primary.server.url);
    await begin(store, 'ana');
    valve.shut();
    await expect(admit(store, 'ana', 'phone', ['tv'])).rejects.toThrow('replica');
    expect(await liveOf(store, 'ana')).toEqual(['tv']);
  });

  it('a session that expired is not readmitted, and is due as before', async () => {
    const { primary, valve } = await startPair();
    const link = connectRedis({ url: primary.server.url, awaitsReplica: true }, QUIET, PATIENCE_MS);
    atEnd.push(() => link.close());
    await link.attempted();
    const clock = new ManualClock();
    const store = openRedisStore(link, POLICY, clock);
    await begin(store, 'ana');
    clock.advance(POLICY.expireAfterMs + 1);
    valve.shut();
    await expect(admit(store, 'ana')).rejects.toThrow('NOTREPLICATED');
    expect(await liveOf(store, 'ana')).toEqual([]);
    expect(await store.sessions.expireIdle({ maxSessions: 10 })).toMatchObject({ expired: 1 });
  });

  it('readiness is ok as long as a replica follows, however often it is asked', async () => {
    const { primary } = await startPair();
    const store = await open(primary.server.url);
    for (let n = 0; n < 20; n++) expect(await store.sessions.check()).toBe('ok');
  });

  it('readiness is degraded, the log says so once, and all is well when a replica is back', async () => {
    const lines: string[] = [];
    const log = (line: string) => lines.push(line);
    const { server, admin } = await start();
    const store = await open(server.url, {}, new Availability({ log, warn: log, error: log }, 0, 100));
    expect([await store.sessions.check(), await store.sessions.check()]).toEqual(['degraded', 'degraded']);
    await expect(admit(store, 'ana')).rejects.toThrow('NOTREPLICATED');
    expect(lines).toEqual([
      expect.stringMatching(/\(NOTREPLICATED .*ADMIT_DURABILITY=replicated.*no replica/),
    ]);
    await start(['--replicaof', '127.0.0.1', new URL(server.url).port]);
    await until(async () => (await admin.info('replication')).includes('state=online'));
    await begin(store, 'ana');
    await until(async () => (await store.sessions.check()) === 'ok');
    expect(lines).toHaveLength(1);
  });

  it('a client gets 503 with Retry-After for a new session', async () => {
    const { server } = await start();
    const service = await startServiceProcess({ REDIS_URL: server.url, ADMIT_DURABILITY: 'replicated' });
    const { status, headers, body } = await service.ask({ user_id: 'ana', stream_id: 'test-pattern' });
    expect([status, body.code, Number(headers.get('retry-after')) > 0]).toEqual([
      503,
      'store-unavailable',
      true,
    ]);
    const ready = await fetch(`${service.url}/health/ready`);
    expect([ready.status, await ready.json()]).toEqual([200, { status: 'degraded' }]);
    const { sessions } = (await (await fetch(`${service.url}/v1/users/ana/sessions`)).json()) as {
      sessions: unknown[];
    };
    expect(sessions).toEqual([]);
  });
});

it('does not believe another server than the one that has the session', async () => {
  const [former, successor] = [await start(), await start()];
  await start(['--replicaof', '127.0.0.1', new URL(successor.server.url).port]);
  await until(async () => (await successor.admin.info('replication')).includes('state=online'));
  // As an address does that leads to another primary after a failover.
  let target = Number(new URL(former.server.url).port);
  const sockets: Socket[] = [];
  const front = createServer((client) => {
    const server = connect(target, '127.0.0.1');
    client.pipe(server).pipe(client);
    for (const socket of [client, server]) sockets.push(socket.on('error', () => undefined));
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  atEnd.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => front.close(resolve));
  });
  const store = await open(`redis://127.0.0.1:${(front.address() as AddressInfo).port}`);
  // The admission reaches the former server. Its WAIT ends with the connection, whose successor leads elsewhere.
  await expect(admit(store, 'ana')).rejects.toThrow('NOTREPLICATED');
  target = Number(new URL(successor.server.url).port);
  const clients = String(await former.admin.client('LIST'));
  const [, id] = /^id=(\d+) .*name=streamgate .*cmd=wait/m.exec(clients)!;
  await former.admin.call('CLIENT', 'KILL', 'ID', id!);
  await until(async () => String(await successor.admin.client('LIST')).includes('name=streamgate'));
  await expect(admit(store, 'ben')).rejects.toThrow('NOTREPLICATED');
  expect([await liveOf(store, 'ben'), (await former.admin.dbsize()) > 0]).toEqual([[], true]);
});

describe('the rights of the ACL user', () => {
  it.each(['wait', 'info'])('include %s only where new sessions await a replica', async (command) => {
    const { primary } = await startPair();
    await primary.admin.call('ACL', 'SETUSER', 'app', 'on', 'nopass', ...RIGHTS.split(' '), `-${command}`);
    const warn = jest.spyOn(console, 'warn').mockReturnValue(); // of ioredis, about the right to INFO
    atEnd.push(() => warn.mockRestore());
    const account = { username: 'app', password: 'any' };
    const plain = await open(primary.server.url, { ...account, awaitsReplica: false });
    expect(await plain.sessions.check()).toBe('ok');
    const store = await open(primary.server.url, account);
    await expect(store.sessions.check()).rejects.toThrow(/NOPERM.*(wait|info)/);
    await primary.admin.call('ACL', 'SETUSER', 'app', ...RIGHTS.split(' '));
    await primary.admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await until(async () => (await store.sessions.check().catch(() => undefined)) === 'ok');
  });
});
