import { type Device } from '../../src/sessions/device.js';
import { type Line, type Reply, type RequestLine, type RunLine } from './history.js';
import { replay } from './replay.js';

export interface Report {
  readonly requests: number;
  readonly users: number;
  /** Replies that gave or continued a place, and those of them that began a session. */
  readonly admissions: number;
  readonly created: number;
  readonly refused: number;
  /** Requests without a reply of the store, which may have taken effect or not. */
  readonly unknown: number;
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
  const verdicts = [...users.values()].map((asked) => ({ ...replay(asked, run, maxSteps), asked }));
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
    violated: reasons('violated'),
    undecided: reasons('undecided'),
    overfull: [...users.values()].flatMap((asked) => placesBeyondLimit(asked, run)),
    incomplete:
      ends.length === 1 && ends[0] === requests.length && numbers.size === requests.length
        ? []
        : [`the history says ${ends.join()} requests at its end, and has ${numbers.size}`],
    steps: verdicts.reduce((sum, { steps }) => sum + steps, 0),
    longest: Math.max(0, ...verdicts.map(({ steps }) => steps)),
  };
}

/** A place that a reply promised to a session. */
interface Promised {
  readonly session: string;
  readonly at: number;
  readonly until: number;
  readonly device: Device | undefined;
}

/** From `from` on, some request may have freed the places of these sessions that were promised by `to`. */
interface Release {
  readonly from: number;
  readonly to: number;
  readonly frees: (promised: Promised) => boolean;
}

/**
 * The interval check. It uses neither the rule nor the search, only the instants in replies: when a reply says that a
 * session began, at most `limit` places are held that replies promised until later, this one included. Places that a
 * request may have freed do not count. Between these instants the number of places only falls.
 */
function placesBeyondLimit(lines: readonly RequestLine[], run: RunLine): string[] {
  const promises: Promised[] = [];
  const releases: Release[] = [];
  const begun: { readonly at: number; readonly limit: number; readonly n: number }[] = [];
  for (const line of lines) {
    const { ask, n } = line;
    const reply = answered(line.reply);
    const session = reply?.status === 200 || reply?.status === 201 ? reply.body?.session : undefined;
    const promised: Promised | undefined = session && {
      session: session.session_id,
      at: Date.parse(session.last_activity_at),
      until: Date.parse(session.expires_at),
      device: session.device,
    };
    if (promised) promises.push(promised);
    if (ask.do === 'phase' && reply?.status === 201) begun.push({ at: promised!.at, limit: ask.limit, n });
    releases.push(...releasesOf(line, promised, run));
  }
  const bySession = Map.groupBy(
    promises.toSorted((a, b) => a.at - b.at),
    ({ session }) => session,
  );
  return [...Map.groupBy(begun, ({ at }) => at)].flatMap(([at, begins]) => {
    const held = [...bySession.values()].filter((ofSession) => {
      const last = ofSession.findLast((promised) => promised.at <= at);
      if (last === undefined || at >= last.until) return false;
      return !releases.some(({ from, to, frees }) => from <= at && last.at <= to && frees(last));
    });
    const limit = Math.max(...begins.map((begin) => begin.limit));
    if (held.length <= limit) return [];
    const { user } = lines[0]!;
    return [`${user} holds ${held.length} places of ${limit} at ${at}, after request ${begins[0]!.n}`];
  });
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
