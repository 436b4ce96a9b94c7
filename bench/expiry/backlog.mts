import { randomUUID } from 'node:crypto';
import { constants, setPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Figure, quantile, show } from '../figures.mts';
import { type Asked, ask, checkRenewal } from '../load.mts';
import { pace } from '../pace.mts';
import { CALLBACK_SECRET, type Callback, startReceiver } from '../receiver.mts';
import { type Calls, type RedisUnderTest, ignoreCalls, infoOf, takeCalls, watchCalls } from '../redis.mts';
import { median } from '../report.mts';
import { ENVIRONMENT, type Server, startServer } from '../servers.mts';
import { EXPIRE_SCRIPTS, type Store, openStore, scaled, viewers } from '../store.mts';
import { SESSIONS, loadAndWeigh } from './memory.mts';

const VIEWERS = 400;
const REQUESTS_PER_SECOND = 300;
/** How often, and for how long, latency is measured: in turn while the backlog drains and while sweeps are paused. */
const ROUNDS = scaled(5);
const SLICE_SECONDS = scaled(5);
/** The number of phases of the sample stream. */
const PHASES = 7;
/** Longer than the time between two sweeps, and than a sweep takes. */
const SWEEP_MS = 1_500;

interface Slice {
  readonly millis: readonly number[];
  readonly calls: Calls;
  /** How many sessions were claimed during the slice. */
  readonly expired: number;
}

/** Observes a service at work: the store reports the claims, and Redis how long each call blocked it. */
interface Watch {
  readonly redis: RedisUnderTest['redis'];
  readonly store: Store;
  readonly asked: readonly Asked[];
}

/** In production Redis has a machine of its own. Here another process could preempt it in the middle of a call. */
async function goFirst({ redis }: RedisUnderTest): Promise<void> {
  try {
    setPriority(Number(await infoOf(redis, 'server', 'process_id')), constants.priority.PRIORITY_HIGHEST);
  } catch {
    console.log(
      '\nRedis may not go first here (root may do that): the longest calls are the machine’s as well.',
    );
  }
}

/** Starts a million sessions, pauses the sweeps until all are due, and drains them while viewers ask for phases. */
export async function measureBacklog(server: RedisUnderTest): Promise<void> {
  showMemory(await loadAndWeigh(server, viewers(SESSIONS)));
  await goFirst(server);

  using store = await openStore(server.url);
  await store.sessions.pauseExpiry({ by: 'the benchmark', until: undefined });
  await watchCalls(server.redis);
  const watch = { redis: server.redis, store, asked: whatViewersAsk() };
  await drainWithCallbacks(server.url, watch);
  await drainWithout(server.url, watch);
  await checkLedger(store);
}

function showMemory(bytes: number): void {
  show(`Memory of ${SESSIONS.toLocaleString('en')} sessions, 1 to 3 a user`, [
    {
      name: 'bytes a session, 2 a user on average',
      unit: '',
      digits: 1,
      values: [bytes],
      aim: { below: 200, by: 'worst' },
    },
  ]);
}

function whatViewersAsk(): Asked[] {
  return Array.from({ length: VIEWERS }, (_, viewer) => ({
    user_id: randomUUID(),
    session_id: randomUUID(),
    stream_id: 'test-pattern',
    phase: viewer % PHASES,
  }));
}

async function drainWithCallbacks(url: string, watch: Watch): Promise<void> {
  await using receiver = await startReceiver();
  await using server = await startServer('../dist/main.js', {
    ...ENVIRONMENT,
    REDIS_URL: url,
    LOG_LEVEL: 'warn',
    CALLBACK_URL: receiver.url,
    CALLBACK_SECRET,
  });
  await warmUp(server, watch);
  await drain(watch);
  const cold = [await slice(server, watch)];
  await pause(watch);
  // A paused service still delivers the events in the outbox.
  for (let before = -1; before !== (before = await receiver.count());) await slice(server, watch);
  const [quiet, draining]: [Slice[], Slice[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) quiet.push(await slice(server, watch));
  const from = await receiver.count();
  const started = performance.now();
  await drain(watch);
  for (let round = 0; round < ROUNDS; round++) draining.push(await slice(server, watch));
  const perSecond = (((await receiver.count()) - from) / (performance.now() - started)) * 1_000;
  await pause(watch);
  checkCallbacks(await receiver.read());
  show(
    `A backlog of ${SESSIONS.toLocaleString('en')}, callbacks delivered to a receiver that answers at once`,
    [
      ...latencies(quiet, draining),
      p99('p99 when the process has never yet delivered', cold),
      ...longestCalls(quiet, draining),
      { name: 'callbacks a second', unit: '', values: [perSecond] },
    ],
  );
}

async function drainWithout(url: string, watch: Watch): Promise<void> {
  await using server = await startServer('../dist/main.js', {
    ...ENVIRONMENT,
    REDIS_URL: url,
    LOG_LEVEL: 'warn',
  });
  await warmUp(server, watch);
  const [quiet, draining]: [Slice[], Slice[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    quiet.push(await slice(server, watch));
    await drain(watch);
    draining.push(await slice(server, watch));
    await pause(watch);
  }
  await ignoreCalls(watch.redis);
  await watch.store.sessions.resumeExpiry();
  const [fast] = await Promise.all([slice(server, watch), drainAtOnce(server)]);
  const after = [await slice(server, watch), await slice(server, watch)];
  show(`What is left of it, without callbacks`, [
    ...latencies(quiet, draining),
    ...longestCalls(quiet, draining),
    p99('p99 while it is drained with one POST after the other', [fast]),
    p99('p99 when it is gone', after),
  ]);
}

/** Starts all viewers, and runs the service until its hot code is compiled. */
async function warmUp(server: Server, watch: Watch): Promise<void> {
  const replies = await Promise.all(watch.asked.map((asked) => ask(server.url, asked)));
  if (replies.some(({ status }) => status !== 201 && status !== 200))
    throw new Error(`the viewers were not admitted: ${JSON.stringify(replies[0])}`);
  for (let burst = 0; burst < 2; burst++) await slice(server, watch);
}

async function drain({ store }: Watch): Promise<void> {
  await store.sessions.resumeExpiry();
  await sleep(SWEEP_MS);
}

async function pause({ store }: Watch): Promise<void> {
  await store.sessions.pauseExpiry({ by: 'the benchmark', until: undefined });
  await sleep(SWEEP_MS);
}

async function slice(server: Server, { redis, store, asked }: Watch): Promise<Slice> {
  const { expired: before } = await store.sessions.ledger();
  await takeCalls(redis, EXPIRE_SCRIPTS);
  const millis = await pace(server.url, asked, REQUESTS_PER_SECOND, SLICE_SECONDS, checkRenewal);
  const calls = await takeCalls(redis, EXPIRE_SCRIPTS);
  const { expired } = await store.sessions.ledger();
  return { millis, calls, expired: expired - before };
}

/** Starts a sweep by request, as an operator would. */
async function drainAtOnce(server: Server): Promise<void> {
  for (let more = true; more;) {
    const reply = await fetch(`${server.url}/internal/expire-idle-sessions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ENVIRONMENT.INTERNAL_API_TOKEN}` },
    });
    if (reply.status !== 200) throw new Error(`a sweep answered ${reply.status}`);
    ({ more } = (await reply.json()) as { more: boolean });
  }
}

function latencies(quiet: readonly Slice[], draining: readonly Slice[]): Figure[] {
  const idle = quiet.some(({ expired }) => expired > 0) || draining.some(({ expired }) => expired === 0);
  if (idle) throw new Error('the sweeps ran when they were paused, or did not when they were not');
  const without = median(quiet.map(({ millis }) => quantile(millis, 0.99)));
  return [
    { name: 'expiries a second', unit: '', values: draining.map(({ expired }) => expired / SLICE_SECONDS) },
    p99('p99 of renewals without sweeps', quiet),
    p99('p99 of renewals while it is drained', draining),
    {
      name: 'the one over the other',
      unit: '',
      digits: 2,
      values: draining.map(({ millis }) => quantile(millis, 0.99) / without),
      aim: { below: 2, by: 'median' },
    },
  ];
}

function p99(name: string, slices: readonly Slice[]): Figure {
  return { name, unit: 'ms', digits: 2, values: slices.map(({ millis }) => quantile(millis, 0.99)) };
}

function longestCalls(quiet: readonly Slice[], draining: readonly Slice[]): Figure[] {
  const ofSweeps = draining.map(({ calls }) => calls.ofScript.map((micros) => micros / 1_000));
  // Not Math.max(...each): there are more values than a call can have arguments.
  const longest = (calls: readonly (readonly number[])[]): number[] => calls.map((each) => quantile(each, 1));
  const longestOther = (slices: readonly Slice[]): number[] =>
    longest(slices.map(({ calls }) => calls.others)).map((micros) => micros / 1_000);
  const inMillis = { unit: 'ms', digits: 2 };
  return [
    {
      name: 'longest call of a sweep',
      ...inMillis,
      values: longest(ofSweeps),
      aim: { below: 2, by: 'median' },
    },
    { name: 'median call of a sweep', ...inMillis, values: ofSweeps.map((calls) => median(calls)) },
    {
      name: 'calls of a sweep that took over 1 ms',
      unit: '‰',
      digits: 2,
      values: ofSweeps.map((calls) => (calls.filter((took) => took > 1).length / calls.length) * 1_000),
    },
    { name: 'longest other call meanwhile', ...inMillis, values: longestOther(draining) },
    { name: 'longest other call without sweeps', ...inMillis, values: longestOther(quiet) },
  ];
}

function checkCallbacks(callbacks: readonly Callback[]): void {
  const sessions = new Set(callbacks.map(({ data }) => data.session_id));
  const wrong = callbacks.find(({ type, data }) => type !== 'session.expired' || data.state !== 'expired');
  if (wrong || sessions.size !== callbacks.length)
    throw new Error(`${callbacks.length} callbacks of ${sessions.size} sessions: ${JSON.stringify(wrong)}`);
}

/** Checks that each session of the backlog expired exactly once, and no viewer's session did. */
async function checkLedger({ sessions }: Store): Promise<void> {
  const { admitted, expired, ended, undone } = await sessions.ledger();
  if (expired !== SESSIONS || admitted !== SESSIONS + VIEWERS || ended + undone > 0)
    throw new Error(`the ledger is wrong: ${JSON.stringify({ admitted, expired, ended, undone })}`);
}
