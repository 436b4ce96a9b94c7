import { fork } from 'node:child_process';
import { once } from 'node:events';
import { constants, setPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';
import { ASKED, CONNECTIONS, type Asked, type Load, ask, checkRenewal, renewals } from './load.mts';
import { startRedisForBench } from './redis.mts';
import { ratioTable, table } from './report.mts';
import { runRounds, variantOf } from './rounds.mts';
import { ENVIRONMENT, startServer } from './servers.mts';

/**
 * Measures what refused clients of an account do to the sessions of the same account, and what a refusal costs beside a
 * renewal. Three sessions of a user renew once in X. Meanwhile one, four or twenty connections ask for a fourth session as
 * fast as they can. At the end the user ends a session. README.md explains the figures. Exits 1 if a renewal was refused,
 * a session was lost or the end was refused, never because of a figure.
 */
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const PHASE_SECONDS = [2, 10];
const LOOPING_CONNECTIONS = [1, 4, 20];
/** How often each session renews in a case. */
const RENEWALS = 5;
const STREAM = 'test-pattern';
const SESSIONS = ['tv', 'phone', 'tablet'];

/** Runs in a process of its own with low priority. It does not read `Retry-After`. Sends the number of replies by status. */
async function loopOn(target: { url: string; user: string; connections: number; seconds: number }) {
  const { statusCodeStats = {} } = await autocannon({
    url: `${target.url}/v1/phases`,
    connections: target.connections,
    duration: target.seconds,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user_id: target.user, session_id: 'fourth', stream_id: STREAM }),
  });
  process.send!(
    Object.fromEntries(Object.entries(statusCodeStats).map(([status, { count }]) => [status, count])),
  );
}

interface Outcome {
  readonly statuses: readonly number[];
  readonly live: readonly string[];
  readonly ended: number;
  readonly endMillis: number;
  readonly looped: Readonly<Record<string, number>>;
}

async function storm(url: string, phaseSeconds: number, connections: number): Promise<Outcome> {
  const user = `x${phaseSeconds}-c${connections}`;
  const renew = (session_id: string, phase: number) =>
    ask(url, { user_id: user, session_id, stream_id: STREAM, phase } satisfies Asked);
  for (const session of SESSIONS) {
    const { status } = await renew(session, 0);
    if (status !== 201) throw new Error(`a first session got ${status}`);
  }
  const seconds = RENEWALS * phaseSeconds + 2;
  const child = fork(fileURLToPath(import.meta.url), [JSON.stringify({ url, user, connections, seconds })], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  setPriority(child.pid!, constants.priority.PRIORITY_LOW);
  const looped = once(child, 'message') as Promise<[Record<string, number>]>;
  const statuses: number[] = [];
  for (let round = 1; round <= RENEWALS; round++) {
    await sleep(phaseSeconds * 1_000);
    const replies = await Promise.all(SESSIONS.map((session) => renew(session, round)));
    statuses.push(...replies.map(({ status }) => status));
  }
  const held = (await (await fetch(`${url}/v1/users/${user}/sessions`)).json()) as {
    sessions?: { session_id: string }[];
  };
  const begun = performance.now();
  const { status } = await fetch(`${url}/v1/users/${user}/sessions/tablet`, { method: 'DELETE' });
  return {
    statuses,
    live: (held.sessions ?? []).map(({ session_id }) => session_id),
    ended: status,
    endMillis: performance.now() - begun,
    looped: (await looped)[0],
  };
}

/** Every connection asks for other sessions of users who hold three already. */
function refusals(): Load {
  const exchange = (connection: number, at: number) => ({
    request: {
      method: 'POST' as const,
      path: '/v1/phases',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user_id: `full-${connection}`, session_id: `other-${at}`, stream_id: STREAM }),
    },
    check: (status: number) => (status === 409 ? undefined : `status ${status}`),
  });
  return {
    status: 409,
    exchanges: Array.from({ length: CONNECTIONS }, (_, connection) =>
      Array.from({ length: 10 }, (__, at) => exchange(connection, at)),
    ),
  };
}

async function main(): Promise<void> {
  await using redis = await startRedisForBench();
  const start = (database: number, more: Record<string, string>) =>
    startServer('../dist/main.js', {
      ...ENVIRONMENT,
      LOG_LEVEL: 'warn',
      REDIS_URL: `${redis.url}/${database}`,
      ...more,
    });

  console.log('| X | looping connections | renewals refused | DELETE | answered to the loop a second |');
  console.log('| --- | --- | --- | --- | --- |');
  for (const [at, phaseSeconds] of PHASE_SECONDS.entries()) {
    // All requests come from the one address of this machine, so that the limit per address must be off.
    await using server = await start(1 + at, {
      PHASE_SECONDS: String(phaseSeconds),
      RATE_LIMIT_PER_USER: '50',
      RATE_LIMIT_PER_ADDRESS: '0',
    });
    for (const connections of LOOPING_CONNECTIONS) {
      const outcome = await storm(server.url, phaseSeconds, connections);
      const { statuses, live, ended, endMillis, looped } = outcome;
      const refused = statuses.filter((status) => status !== 200).length;
      const seconds = RENEWALS * phaseSeconds + 2;
      const perSecond = Object.entries(looped).map(
        ([status, count]) => `${(count / seconds).toFixed(0)} × ${status}`,
      );
      console.log(
        `| ${phaseSeconds} s | ${connections} | ${refused} of ${statuses.length} | ${ended} in ` +
          `${endMillis.toFixed(1)} ms | ${perSecond.join(', ')} |`,
      );
      if (refused > 0 || ended !== 204 || SESSIONS.some((session) => !live.includes(session)))
        throw new Error(`the loop took something from the user: ${JSON.stringify(outcome)}`);
    }
  }

  await using server = await start(4, { RATE_LIMIT_PER_USER: '0', RATE_LIMIT_PER_ADDRESS: '0' });
  for (let connection = 0; connection < CONNECTIONS; connection++)
    for (const session_id of SESSIONS)
      await ask(server.url, { user_id: `full-${connection}`, session_id, stream_id: STREAM, phase: 0 });
  const renewal = variantOf('renewal', server, renewals(checkRenewal));
  const refusal = variantOf('refusal', server, refusals());
  for (const asked of ASKED.flat().filter(({ phase }) => phase === 0)) await ask(server.url, asked);
  await runRounds([renewal, refusal], ROUNDS, redis.redis);
  console.log(`\n${table([renewal, refusal])}\n\n${ratioTable([renewal, refusal], renewal)}`);
}

const [, , target] = process.argv;
await (target === undefined ? main() : loopOn(JSON.parse(target) as Parameters<typeof loopOn>[0]));
