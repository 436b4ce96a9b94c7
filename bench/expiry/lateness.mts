import { setTimeout as sleep } from 'node:timers/promises';
import { type Figure, quantile, show } from '../figures.mts';
import { CALLBACK_SECRET, type Callback, startReceiver } from '../receiver.mts';
import { type RedisUnderTest } from '../redis.mts';
import { ENVIRONMENT, startServer } from '../servers.mts';
import {
  DELIVERED,
  POLICY,
  WINDOW,
  type Store,
  type Viewer,
  load,
  openStore,
  scaled,
  viewers,
} from '../store.mts';

/** Sessions that stay live: each is renewed every X, as a player does. */
const LIVE = scaled(100_000);
const EXPIRING = scaled(6_000);
/** The time over which the expiries are spread; each run is a part of it. */
const WINDOW_MS = 24_000;
const RUNS = 4;
/** The time from the first sweep to the first expiry. It is longer than the grace after the time without sweeps. */
const HEAD_START_MS = 20_000;
/** A callback that has not arrived by then is lost. */
const PATIENCE_MS = 30_000;

/** Measures the time from the instant at which a session is due to the arrival of its callback. */
export async function measureLateness({ url }: RedisUnderTest): Promise<void> {
  await using resources = new AsyncDisposableStack();
  const store = resources.use(await openStore(url, DELIVERED));
  const watching = [...viewers(LIVE)];
  await load(store, watching.values());
  const renewals = resources.use(keepRenewing(store, watching));
  const receiver = resources.use(await startReceiver());
  // A backdated session that is not confirmed yet has lapsed already, so that no sweep may run in between.
  await store.sessions.pauseExpiry({ by: 'the benchmark', until: undefined });
  resources.use(
    await startServer('../dist/main.js', {
      ...ENVIRONMENT,
      REDIS_URL: url,
      LOG_LEVEL: 'warn',
      CALLBACK_URL: receiver.url,
      CALLBACK_SECRET,
    }),
  );
  const dueAt = await startSilentSessions(store);
  await store.sessions.resumeExpiry();
  const lastDue = Math.max(...dueAt.values());
  while ((await receiver.count()) < dueAt.size && Date.now() < lastDue + PATIENCE_MS) await sleep(100);
  await renewals.stop();
  await checkLedger(store);
  show(
    `Lateness of a reported expiry: ${dueAt.size.toLocaleString('en')} expiries in ${WINDOW_MS / 1_000} s, ` +
      `${watching.length.toLocaleString('en')} sessions live and renewed every 10 s`,
    figuresOf(latenessByRun(await receiver.read(), dueAt)),
  );
}

/** Makes abandoned sessions. Their last request is backdated so that they are due within the window. */
async function startSilentSessions(store: Store): Promise<Map<string, number>> {
  const silent = [...viewers(EXPIRING)];
  const from = Date.now() + HEAD_START_MS;
  const dueAt = new Map(
    silent.map(({ sessionId }) => [sessionId, from + Math.floor(Math.random() * WINDOW_MS)]),
  );
  await load(store, silent.values(), ({ sessionId }) => dueAt.get(sessionId)! - POLICY.expireAfterMs);
  return dueAt;
}

/** Asks for the next phase of every session once per X, evenly, as other instances of the service would. */
function keepRenewing(
  { sessions }: Store,
  watching: readonly Viewer[],
): Disposable & { stop(): Promise<void> } {
  const started = performance.now();
  const underWay = new Set<Promise<void>>();
  const faults: unknown[] = [];
  const renew = async (viewer: Viewer): Promise<void> => {
    const asked = { ...viewer, phase: undefined, window: WINDOW, endSessionIds: [], quota: POLICY.quota };
    const admission = await sessions.admit(asked);
    if (admission.outcome !== 'admitted' || admission.created) faults.push(admission);
  };
  let asked = 0;
  const timer = setInterval(() => {
    const due = ((performance.now() - started) / POLICY.idleAfterMs) * watching.length;
    for (; asked < due; asked++) {
      const renewal = renew(watching[asked % watching.length]!)
        .catch((error: unknown) => void faults.push(error))
        .finally(() => underWay.delete(renewal));
      underWay.add(renewal);
    }
  }, 5);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(underWay);
      if (faults.length > 0) throw new Error('a live session was not renewed', { cause: faults[0] });
    },
    [Symbol.dispose]() {
      clearInterval(timer);
    },
  };
}

async function checkLedger({ sessions }: Store): Promise<void> {
  const { admitted, expired, ended, undone } = await sessions.ledger();
  if (admitted !== LIVE + EXPIRING || expired !== EXPIRING || ended + undone > 0)
    throw new Error(`the ledger is wrong: ${JSON.stringify({ admitted, expired, ended, undone })}`);
}

function latenessByRun(callbacks: readonly Callback[], dueAt: ReadonlyMap<string, number>): number[][] {
  const first = Math.min(...dueAt.values());
  const runs: number[][] = Array.from({ length: RUNS }, () => []);
  const reported = new Set<string>();
  for (const callback of callbacks) {
    const due = dueOf(callback, dueAt);
    // Delivery is at-least-once. A repeated callback is not late.
    if (reported.has(callback.data.session_id)) continue;
    reported.add(callback.data.session_id);
    runs[Math.min(RUNS - 1, Math.floor(((due - first) / WINDOW_MS) * RUNS))]!.push(callback.arrivedAt - due);
  }
  if (reported.size !== dueAt.size)
    throw new Error(`${reported.size} of ${dueAt.size} expiries were reported`);
  return runs;
}

function dueOf({ type, data, arrivedAt }: Callback, dueAt: ReadonlyMap<string, number>): number {
  const due = dueAt.get(data.session_id);
  if (type !== 'session.expired' || data.state !== 'expired' || due === undefined)
    throw new Error(`a callback for an event that did not happen: ${type} ${JSON.stringify(data)}`);
  if (Date.parse(data.expires_at) !== due || arrivedAt < due)
    throw new Error(
      `${data.session_id} was due at ${due}, reported at ${arrivedAt}: ${JSON.stringify(data)}`,
    );
  return due;
}

function figuresOf(runs: readonly number[][]): Figure[] {
  const seconds = (of: (run: readonly number[]) => number): number[] => runs.map((run) => of(run) / 1_000);
  const inSeconds = { unit: 's', digits: 2 };
  return [
    { name: 'median', ...inSeconds, values: seconds((run) => quantile(run, 0.5)) },
    {
      name: 'p99',
      ...inSeconds,
      values: seconds((run) => quantile(run, 0.99)),
      aim: { below: 2, by: 'median' },
    },
    {
      name: 'longest',
      ...inSeconds,
      values: seconds((run) => Math.max(...run)),
      aim: { below: 5, by: 'worst' },
    },
  ];
}
