import keySlot from 'cluster-key-slot';
import { type Device } from '../../src/sessions/device.js';
import {
  type FaultLine,
  type Line,
  type LossLine,
  type Reply,
  type RequestLine,
  type RunLine,
} from './history.js';
import { replay } from './replay.js';

/** After a reply, its place is confirmed within this time, or not at all. */
const CONFIRMED_WITHIN_MS = 10_000;

export interface Report {
  readonly requests: number;
  readonly users: number;
  /** Replies that gave or continued a place, and those of them that began a session. */
  readonly admissions: number;
  readonly created: number;
  readonly refused: number;
  /** Requests without a reply of the store, which may have taken effect or not. */
  readonly unknown: number;
  /** How many primaries were killed. */
  readonly failovers: number;
  /** Sessions that a reply had promised and that a new primary did not have. */
  readonly lost: number;
  /** Places held beyond the limit because of that, each by a session that was lost. */
  readonly overfullByLoss: number;
  /** Users for whom no order of their requests explains every reply. */
  readonly violated: readonly string[];
  /** Users for whom the search was given up. They are not good. */
  readonly undecided: readonly string[];
  /** Places held beyond the limit, by the instants in replies alone. */
  readonly overfull: readonly string[];
  /** Why the history is not whole. */
  readonly incomplete: readonly string[];
  /** Steps of all searches, and of the longest one. */
  readonly steps: number;
  readonly longest: number;
}

/** Whether a report has nothing that contradicts the rule, and nothing that was left undecided. */
export function isGood({ violated, undecided, overfull, incomplete }: Report): boolean {
  return [violated, undecided, overfull, incomplete].every((faults) => faults.length === 0);
}

/** Checks a whole history: that no line is missing, and each user by the rule and by the interval check. Pure. */
export function check(lines: Iterable<Line>, maxSteps?: number): Report {
  const [run, ...rest] = lines;
  if (run?.type !== 'run' || run.format !== 1)
    throw new Error('The history does not begin with a run of format 1');
  const requests = rest.filter((line) => line.type === 'request');
  const ends = rest.flatMap((line) => (line.type === 'end' ? [line.requests] : []));
  const users = Map.groupBy(requests, ({ user }) => user);
  const faults = rest.filter((line) => line.type === 'fault');
  const losses = rest.filter((line) => line.type === 'loss').toSorted((a, b) => a.at - b.at);
  const verdicts = [...users].map(([user, asked]) => replay(asked, run, maxSteps, lossesOf(user, losses)));
  const overfull = (ignoresLosses: boolean): string[] =>
    [...users].flatMap(([user, asked]) =>
      placesBeyondLimit(asked, run, { faults, losses: lossesOf(user, losses) }, ignoresLosses),
    );
  const reasons = (wanted: string): string[] =>
    verdicts.filter(({ verdict }) => verdict === wanted).map(({ reason }) => reason ?? '');
  const statuses = (...wanted: number[]): number =>
    requests.filter(({ ask, reply }) => ask.do === 'phase' && wanted.includes(reply?.status ?? 0)).length;
  const numbers = new Set(requests.map(({ n }) => n));
  return {
    requests: requests.length,
    users: users.size,
    admissions: statuses(200, 201),
    created: statuses(201),
    refused: statuses(409),
    unknown: requests.filter(({ reply }) => answered(reply) === undefined).length,
    failovers: losses.length,
    lost: verdicts.reduce((sum, { lost }) => sum + lost, 0),
    overfullByLoss: overfull(true).length - overfull(false).length,
    violated: reasons('violated'),
    undecided: reasons('undecided'),
    overfull: overfull(false),
    incomplete:
      ends.length === 1 && ends[0] === requests.length && numbers.size === requests.length
        ? []
        : [`the history says ${ends.join()} requests at its end, and has ${numbers.size}`],
    steps: verdicts.reduce((sum, { steps }) => sum + steps, 0),
    longest: Math.max(0, ...verdicts.map(({ steps }) => steps)),
  };
}

/** The losses of the primary that holds this user. */
function lossesOf(user: string, losses: readonly LossLine[]): LossLine[] {
  // All keys of a user are in the first slot of a partition, which has 64 slots (src/sessions/redis/keys.ts).
  const slot = keySlot(user) - (keySlot(user) % 64);
  return losses.filter(({ slots: [from, to] = [0, Infinity] }) => from <= slot && slot <= to);
}

/** A place that a reply promised to a session. */
interface Promised {
  readonly session: string;
  readonly at: number;
  readonly until: number;
  readonly device: Device | undefined;
  /** From this instant on it does not count, because it may have been lost with a primary. */
  readonly lostFrom: number;
}

/** From `from` on, some request may have freed the places of these sessions that were promised by `to`. */
interface Release {
  readonly from: number;
  readonly to: number;
  readonly frees: (promised: Promised) => boolean;
}

/** What broke during a run, as far as it concerns one user. */
interface Broken {
  readonly faults: readonly FaultLine[];
  readonly losses: readonly LossLine[];
}

/**
 * The interval check. It uses neither the rule nor the search, only the instants in replies: when a reply says that a
 * session began, at most `limit` places are held that replies promised until later, this one included. Places that a
 * request may have freed do not count, nor those that a failover may lose; with `ignoresLosses` these count. Between these
 * instants the number of places only falls.
 */
function placesBeyondLimit(
  lines: readonly RequestLine[],
  run: RunLine,
  broken: Broken,
  ignoresLosses = false,
): string[] {
  const promises: Promised[] = [];
  const releases: Release[] = [];
  const begun: { readonly at: number; readonly limit: number; readonly n: number }[] = [];
  for (const line of lines) {
    const { ask, n } = line;
    const reply = answered(line.reply);
    const session = reply?.status === 200 || reply?.status === 201 ? reply.body?.session : undefined;
    const at = Date.parse(session?.last_activity_at ?? '');
    const promised: Promised | undefined = session && {
      session: session.session_id,
      at,
      until: untilOf(line, at, Date.parse(session.expires_at), run, broken),
      device: session.device,
      lostFrom: ignoresLosses ? Infinity : lostFrom(line, at, lines, run, broken),
    };
    if (promised) promises.push(promised);
    if (ask.do === 'phase' && reply?.status === 201) begun.push({ at, limit: ask.limit, n });
    releases.push(...releasesOf(line, promised, run));
  }
  const bySession = Map.groupBy(
    // A keepalive before the confirmation promises less than the phase of the same instant.
    promises.toSorted((a, b) => a.at - b.at || a.until - b.until),
    ({ session }) => session,
  );
  return [...Map.groupBy(begun, ({ at }) => at)].flatMap(([at, begins]) => {
    const held = [...bySession.values()].filter((ofSession) => {
      const last = ofSession.findLast((promised) => promised.at <= at && at < promised.lostFrom);
      if (last === undefined || at >= last.until) return false;
      return !releases.some(({ from, to, frees }) => from <= at && last.at <= to && frees(last));
    });
    const limit = Math.max(...begins.map((begin) => begin.limit));
    if (held.length <= limit) return [];
    const { user } = lines[0]!;
    return [`${user} holds ${held.length} places of ${limit} at ${at}, after request ${begins[0]!.n}`];
  });
}

/**
 * Until when this reply promised a place. A place whose confirmation may have been lost, with its instance or with a
 * primary, is held for a lease only.
 */
function untilOf(
  { sent, received, instance }: RequestLine,
  at: number,
  until: number,
  { policy: { leaseMs } }: RunLine,
  { faults, losses }: Broken,
): number {
  const settled = received + CONFIRMED_WITHIN_MS;
  const isLost =
    faults.some(
      (fault) =>
        fault.what === 'instance killed' && fault.instance === instance && isIn(fault.at, sent, settled),
    ) || losses.some((loss) => loss.kept <= settled && sent <= loss.gone);
  return isLost ? Math.min(until, at + leaseMs) : until;
}

/**
 * From when on a promise may be lost: it was decided after the last instant that the replica certainly had. With
 * ADMIT_DURABILITY=replicated, what a reply says of a new session is on the replica, and so is all before it.
 */
function lostFrom(
  { ask }: RequestLine,
  at: number,
  lines: readonly RequestLine[],
  { durability }: RunLine,
  { losses }: Broken,
): number {
  const loss = losses.find(({ kept, gone }) => isIn(at, kept, gone));
  if (loss === undefined) return Infinity;
  const isKept = ({ ask: { do: verb }, reply }: RequestLine): boolean => {
    const begunAt = Date.parse(reply?.body?.session?.last_activity_at ?? '');
    return verb === 'phase' && reply?.status === 201 && at <= begunAt && begunAt <= loss.gone;
  };
  return durability === 'replicated' && ask.do === 'phase' && lines.some(isKept) ? Infinity : loss.at;
}

function isIn(instant: number, from: number, to: number): boolean {
  return from <= instant && instant <= to;
}

function releasesOf(
  { ask, sent, received, reply }: RequestLine,
  promised: Promised | undefined,
  run: RunLine,
): Release[] {
  const known = answered(reply);
  const window = { from: sent, to: known ? received : received + run.lateMs };
  if (ask.do === 'end')
    return known?.status === 404
      ? []
      : [{ ...window, frees: ({ session }) => ask.session === undefined || session === ask.session }];
  if (ask.do !== 'phase' || (known && !promised)) return [];
  const named = ask.endSessions ?? [];
  const takesOver = (other: Device | undefined, device: Device | undefined): boolean =>
    device !== undefined && device.shared !== true && other?.id === device.id && other.shared !== true;
  // What a reply names is exact. A session that only continues takes over no device.
  const exact = promised && { from: promised.at, to: promised.at };
  const device = known?.status === 200 ? undefined : ask.device;
  const frees = (other: Promised): boolean =>
    other.session !== ask.session && (named.includes(other.session) || takesOver(other.device, device));
  return [{ ...(exact ?? window), frees }];
}

/** The reply of the store; 503 is none. */
function answered(reply: Reply | undefined): Reply | undefined {
  return reply?.status === 503 ? undefined : reply;
}
