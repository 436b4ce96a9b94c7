import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command } from 'commander';
import { type Context } from './context.js';
import { viewerToken } from './local.js';
import { wholeNumber } from './operate.js';
import { SimulatedUser, type WatchedStream } from './simulated-user.js';
import { SimulationApi } from './simulation-api.js';
import { SimulationReport, resultText } from './simulation-report.js';
import { CliError, EXIT } from './terminal.js';

/** Users come within this share of the time, so that not all start in the same second. */
const RAMP_SHARE = 0.2;
const LONGEST_RAMP_MS = 30_000;
/** Tokens outlive the simulation by this, for the places that are given back at its end. */
const TOKEN_SPARE_SECONDS = 600;

interface SimulateOptions {
  readonly users: number;
  readonly minutes: number;
  readonly screens?: number;
  readonly stream?: readonly string[];
}

export function addSimulate(program: Command, context: Context): void {
  program
    .command('simulate')
    .description(
      'watch as many users, and judge each answer: starts, renewals, pauses, seeks, zaps, aborted requests and silence',
    )
    .option('--users <number>', 'how many users', wholeNumber, 100)
    .option('--minutes <number>', 'for how long; fractions are allowed', minutes, 1)
    .option(
      '--screens <number>',
      'how many screens each user opens; default: mostly one, up to five',
      wholeNumber,
    )
    .option('--stream <ids...>', 'the streams to watch; default: all that the service lists')
    .action(async (options: SimulateOptions) => {
      const result = await simulate(context, options);
      context.printer().print(result, () => resultText(result));
      if (result.wrong > 0 || result.failures > 0) context.exitCode = EXIT.failed;
    });
}

function minutes(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
  if (!(value > 0 && value <= 1_440)) throw new CliError('--minutes must be a number above 0, up to 1440.');
  return value;
}

async function simulate(
  context: Context,
  options: SimulateOptions,
): Promise<ReturnType<SimulationReport['result']>> {
  const { clock, interrupted } = context.terminal;
  const { url } = context.target();
  const durationMs = options.minutes * 60_000;
  const tokenFor = tokens(context, durationMs);
  const run = `sim-${randomBytes(4).toString('hex')}`;
  const api = new SimulationApi(url);
  const report = new SimulationReport();
  const startedAt = clock.monotonic();
  const ended = new AbortController();
  const signal = AbortSignal.any([ended.signal, interrupted]);
  try {
    const first = `${run}-0`;
    await checkToken(api, first, await tokenFor(first));
    const streams = await findStreams(api, url, options.stream);
    const users = await Promise.all(
      Array.from({ length: options.users }, async (_, at) => {
        const userId = `${run}-${at}`;
        const token = await tokenFor(userId);
        const { screens } = options;
        return new SimulatedUser({
          userId,
          screens,
          token,
          streams,
          api,
          report,
          clock,
          random: Math.random,
        });
      }),
    );
    const rampMs = Math.min(RAMP_SHARE * durationMs, LONGEST_RAMP_MS);
    const showing = showProgress(context, report, users.length, durationMs, signal);
    const watching = users.map(async (user) => user.watch(Math.random() * rampMs, signal));
    await sleep(durationMs, undefined, { signal: interrupted }).catch(() => undefined);
    ended.abort();
    const seconds = (clock.monotonic() - startedAt) / 1_000;
    await Promise.all([...watching, showing]);
    return report.result(users.length, seconds);
  } finally {
    ended.abort();
    await api.close();
  }
}

/** Tokens of viewers, if the variables of this environment can sign them; otherwise the service must run with AUTH_MODE=none. */
function tokens(context: Context, durationMs: number): (userId: string) => Promise<string | undefined> {
  const config = context.config();
  if (config.AUTH_MODE === 'none') return async () => undefined;
  const expiresAt = Math.ceil((context.terminal.clock.now() + durationMs) / 1_000) + TOKEN_SPARE_SECONDS;
  return async (userId) => viewerToken(config, userId, expiresAt);
}

async function checkToken(api: SimulationApi, userId: string, token: string | undefined): Promise<void> {
  const reply = await api.send('GET', `/v1/users/${userId}/sessions`, token);
  if (typeof reply !== 'string' && reply.status === 401)
    throw new CliError(
      'The service wants tokens of viewers: set AUTH_MODE=jwt, AUTH_JWT_SECRET, AUTH_ISSUER and AUTH_AUDIENCE as ' +
        'it has them, or simulate where AUTH_MODE is none.',
    );
}

interface StreamJson {
  readonly stream_id: string;
  readonly phase_seconds: number;
  readonly phases?: number;
}

async function findStreams(
  api: SimulationApi,
  url: string,
  ids: readonly string[] | undefined,
): Promise<readonly WatchedStream[]> {
  const paths = ids?.map((id) => `/v1/streams/${encodeURIComponent(id)}`) ?? ['/v1/streams'];
  const replies = await Promise.all(
    paths.map(async (path) => {
      const reply = await api.send('GET', path, undefined);
      if (typeof reply === 'string') throw new CliError(`${url} cannot be reached (${reply}).`);
      if (reply.status !== 200) throw new CliError(`${path} answered ${reply.status} ${reply.code ?? ''}.`);
      return reply as unknown as StreamJson & { readonly streams?: readonly StreamJson[] };
    }),
  );
  const streams = replies.flatMap((reply) => reply.streams ?? [reply]);
  if (streams.length === 0) throw new CliError('The service lists no stream: name some with --stream.');
  return streams.map((one) => ({
    streamId: one.stream_id,
    phaseSeconds: one.phase_seconds,
    phases: one.phases,
  }));
}

/** One line a second for a person, one in ten seconds for a log. */
async function showProgress(
  { terminal }: Context,
  report: SimulationReport,
  users: number,
  durationMs: number,
  signal: AbortSignal,
): Promise<void> {
  const { err, isInteractive, clock } = terminal;
  const startedAt = clock.monotonic();
  const everyMs = isInteractive ? 1_000 : 10_000;
  for (let before = 0; !signal.aborted; before = report.requests) {
    await sleep(everyMs, undefined, { signal }).catch(() => undefined);
    const seconds = Math.round((clock.monotonic() - startedAt) / 1_000);
    const rate = signal.aborted
      ? ''
      : `, ${Math.round(((report.requests - before) * 1_000) / everyMs)} requests/s`;
    const line = `${seconds} of ${Math.round(durationMs / 1_000)} s: ${users} users${rate}, ${report.failures} failures, ${report.wrongs} wrong`;
    err.write(isInteractive ? `\r${line.padEnd(78)}` : `${line}\n`);
  }
  if (isInteractive) err.write('\n');
}
