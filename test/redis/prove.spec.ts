import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check, isGood } from '../prove/checker.js';
import { Dice } from '../prove/clients.js';
import { type Line, type Reply, type RequestLine, type RunLine, type SessionBody } from '../prove/history.js';
import { replay } from '../prove/replay.js';
import { type RunOptions, record } from '../prove/run.js';

/** A small version of `npm run prove`, and of what its checker finds. docs/proof.md explains it. */

// A start of the service takes minutes of a machine that runs much else.
jest.setTimeout(300_000);

const ROOT = process.cwd();
/** To find that no order explains a history takes longer than to find one: a search that is given up is not good either. */
const MAX_STEPS = 1_000;
const SMALL: Omit<RunOptions, 'write'> = {
  seed: 20,
  admissions: 800,
  users: 50,
  instances: 2,
  faults: false,
  cuts: true,
  folder: ROOT,
};

async function recorded(options: Partial<RunOptions> = {}): Promise<Line[]> {
  const lines: Line[] = [];
  await record({ ...SMALL, ...options, write: (line) => lines.push(line) });
  return lines;
}

describe('the history of two instances', () => {
  let lines: readonly Line[];
  let run: RunLine;
  /** The requests of the users of which every reply is known, by user. */
  let known: readonly RequestLine[][];
  const dice = new Dice(1);

  beforeAll(async () => {
    lines = await recorded();
    run = lines[0] as RunLine;
    const requests = lines.filter((line) => line.type === 'request');
    known = [...Map.groupBy(requests, ({ user }) => user).values()].filter((asked) =>
      asked.every(({ reply }) => reply !== undefined && reply.status !== 503),
    );
  });

  it('has a reply of the rule for each request, and never more places than the limit', () => {
    const report = check(lines);
    expect(report).toMatchObject({ violated: [], overfull: [], incomplete: [] });
    // Where the machine stalls, so many requests overlap that the search for an order is given up.
    expect(report.undecided.length).toBeLessThanOrEqual(2);
    expect(report.admissions).toBeGreaterThanOrEqual(SMALL.admissions);
    expect(report.unknown).toBeGreaterThan(5);
    expect(known.length).toBeGreaterThan(10);
  });

  it('is not whole without one of its lines', () => {
    for (const at of [1, Math.floor(lines.length / 2), lines.length - 1]) {
      const { incomplete } = check(lines.toSpliced(at, 1));
      expect(incomplete).toHaveLength(1);
    }
  });

  /** Changes a reply into another one, in so many places of the history; undefined where that is not possible. */
  type Plant = (line: RequestLine, asked: readonly RequestLine[]) => Reply | undefined;
  const FAULTS: Readonly<Record<string, Plant>> = {
    'a session is admitted beyond the limit': (line, asked) =>
      line.reply?.status === 409 ? admissionInsteadOf(line, asked) : undefined,
    'an admission is a refusal': (line) => (isAdmission(line) ? refusalInsteadOf(line) : undefined),
    'a session that continues began anew': (line) =>
      line.reply?.status === 200 && isAdmission(line) ? { ...line.reply, status: 201 } : undefined,
    'a session that was ended is not found': ({ reply, ask }) =>
      reply?.status === 410 && ask.do === 'keepalive'
        ? { status: 404, body: { code: 'session-not-found' } }
        : undefined,
    'an end found no session': ({ reply, ask }) =>
      reply?.status === 204 && ask.do === 'end' && ask.session !== undefined
        ? { status: 404, body: { code: 'session-not-found' } }
        : undefined,
    'the number of places is wrong': ({ reply }) => {
      const counted = reply?.body?.sessions;
      if (counted === undefined || 'length' in counted) return undefined;
      return { ...reply!, body: { ...reply!.body, sessions: { ...counted, live: counted.live + 1 } } };
    },
    'the phase is another one': (line) =>
      isAdmission(line)
        ? { ...line.reply!, body: { ...line.reply!.body, phase: line.reply!.body!.phase! + 1 } }
        : undefined,
    'two replies are swapped': (line, asked) =>
      isAdmission(line)
        ? asked.find((other) => isAdmission(other) && other.sent > line.received)?.reply
        : undefined,
    ...Object.fromEntries(
      (['started_at', 'last_activity_at', 'plays_until', 'idle_at', 'expires_at'] as const).map((field) => [
        `${field} is a millisecond off`,
        (line: RequestLine) => shifted(line, field),
      ]),
    ),
  };

  it.each(Object.entries(FAULTS))('is found to be wrong if %s', (_, plant) => {
    const missed: unknown[] = [];
    let planted = 0;
    for (const asked of known) {
      const places = asked.flatMap((line) => {
        const reply = plant(line, asked);
        return reply === undefined ? [] : [{ ...line, reply }];
      });
      if (places.length === 0) continue;
      const wrong = dice.of(places);
      const changed = asked.map((line) => (line.n === wrong.n ? wrong : line));
      if (replay(changed, run, MAX_STEPS).verdict === 'good') missed.push(wrong);
      if (++planted === 5) break;
    }
    expect(planted).toBe(5);
    // By chance a changed reply is right in another order of requests that overlap: then the history is good.
    expect(missed.slice(1)).toEqual([]);
  });
});

describe('a service whose script', () => {
  it.each([
    ['admits one session beyond the limit', 'admit', 'staying >= limit', 'staying > limit'],
    ['ends no session', 'end', 'if closed > 0 then', 'if closed > 99 then'],
  ])('%s is found', async (_, script, right, wrong) => {
    const folder = await mkdtemp(join(tmpdir(), 'streamgate-planted-'));
    try {
      await cp(join(ROOT, 'dist'), join(folder, 'dist'), { recursive: true });
      await cp(join(ROOT, 'package.json'), join(folder, 'package.json'));
      await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
      const file = join(folder, `dist/sessions/redis/scripts/${script}.lua`);
      const lua = await readFile(file, 'utf8');
      expect(lua.split(right)).toHaveLength(2);
      await writeFile(file, lua.replace(right, wrong));
      const lines = await recorded({ folder, instances: 1, users: 20, admissions: 200, cuts: false });
      const report = check(lines, MAX_STEPS);
      expect(report.violated.length).toBeGreaterThan(0);
      expect(isGood(report)).toBe(false);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

function isAdmission({ ask, reply }: RequestLine): boolean {
  return ask.do === 'phase' && (reply?.status === 200 || reply?.status === 201);
}

/** The reply that a service without a limit would have given, decided at the same instant. */
function admissionInsteadOf(
  { user, ask, reply }: RequestLine,
  asked: readonly RequestLine[],
): Reply | undefined {
  if (ask.do !== 'phase') return undefined;
  const before = asked.find((other) => other.reply?.status === 201)?.reply?.body?.session;
  const { sessions = [], retry_after_seconds: seconds = 0 } = reply!.body!;
  if (before === undefined || !('length' in sessions)) return undefined;
  const free = sessions.map(({ expires_at }) => Date.parse(expires_at)).toSorted((a, b) => a - b);
  const now = free[sessions.length - ask.limit]! - Math.round(seconds * 1_000);
  const later = (ms: number): string => new Date(now + ms).toISOString();
  const session: SessionBody = {
    session_id: ask.session,
    user_id: user,
    stream_id: ask.stream,
    state: 'active',
    started_at: later(0),
    last_activity_at: later(0),
    plays_until: later(500),
    idle_at: later(500),
    expires_at: later(2_000),
    phase: ask.phase ?? 0,
    ...(ask.device === undefined ? {} : { device: ask.device }),
  };
  const body = { session, sessions: { live: sessions.length + 1, limit: ask.limit }, phase: session.phase };
  return { status: 201, body };
}

/** A refusal that was decided at the instant of this admission. */
function refusalInsteadOf({ ask: { limit }, reply }: RequestLine): Reply {
  const session = reply!.body!.session!;
  const sessions = Array.from({ length: limit }, () => session);
  const seconds = (Date.parse(session.expires_at) - Date.parse(session.last_activity_at)) / 1_000;
  const body = { code: 'session-limit-reached', limit, sessions, retry_after_seconds: seconds };
  return { status: 409, body };
}

type Instant = 'started_at' | 'last_activity_at' | 'plays_until' | 'idle_at' | 'expires_at';

function shifted(line: RequestLine, field: Instant): Reply | undefined {
  const session = line.reply?.body?.session;
  if (!isAdmission(line) || session === undefined) return undefined;
  // That of a renewal with something left to play only dates the decision: a millisecond later the rest is the same.
  if (field === 'last_activity_at' && session.started_at !== session.last_activity_at) return undefined;
  const moved = new Date(Date.parse(session[field]) + 1).toISOString();
  return { ...line.reply!, body: { ...line.reply!.body, session: { ...session, [field]: moved } } };
}

describe('the loss of a primary', () => {
  const START = Date.parse('2026-11-30T12:00:00.000Z');
  const run: RunLine = {
    type: 'run',
    format: 1,
    seed: 0,
    instances: 1,
    policy: {
      quota: { maxSessions: 2 },
      idleAfterMs: 1_000,
      expireAfterMs: 20_000,
      leaseMs: 5_000,
      maxPauseMs: 5_000,
      maxAheadMs: 5_000,
      pacedAheadMs: 3_000,
    },
    streams: { film: { oldest: 0, end: 9, start: 0, live: false, phaseMs: 1_000, lastPhaseMs: 1_000 } },
    lateMs: 1_000,
  };

  /** A request that began a session of `ana`, so many milliseconds after the start. */
  function begins(n: number, session: string, after: number, live: number): RequestLine {
    const later = (ms: number): string => new Date(START + after + ms).toISOString();
    const body: SessionBody = {
      session_id: session,
      user_id: 'ana',
      stream_id: 'film',
      state: 'active',
      started_at: later(0),
      last_activity_at: later(0),
      plays_until: later(1_000),
      idle_at: later(1_000),
      expires_at: later(20_000),
      phase: 0,
    };
    return {
      type: 'request',
      n,
      user: 'ana',
      instance: 0,
      sent: START + after - 5,
      received: START + after + 5,
      ask: { do: 'phase', session, stream: 'film', limit: 2 },
      reply: { status: 201, body: { session: body, sessions: { live, limit: 2 }, phase: 0 } },
    };
  }

  /** Two sessions hold both places, the primary is lost, and the new one admits a third. */
  const requests = [begins(0, 'a', 0, 1), begins(1, 'b', 1_000, 2), begins(2, 'c', 4_500, 2)];
  const loss = { type: 'loss', kept: START + 500, at: START + 2_000, gone: START + 2_050 } as const;
  function reportOf(
    changes: { durability?: 'replicated'; kept?: number; slots?: readonly [number, number] } = {},
  ) {
    const { durability, ...changed } = changes;
    const lost = { ...loss, promoted: START + 4_000, ...changed };
    const lines = [...requests, lost, { type: 'end', requests: requests.length } as const];
    return check([durability === undefined ? run : { ...run, durability }, ...lines]);
  }

  it('explains that a session is gone which the replica may have lacked, and counts it', () => {
    const report = reportOf();
    expect([isGood(report), report.failovers, report.lost, report.overfullByLoss]).toEqual([true, 1, 1, 1]);
  });

  it('explains nothing that the replica had, or that another primary held', () => {
    for (const report of [reportOf({ kept: START + 1_500 }), reportOf({ slots: [0, 10] })]) {
      expect(report.violated).toHaveLength(1);
      expect(report.overfull).toHaveLength(1);
    }
  });

  it('explains no lost session with ADMIT_DURABILITY=replicated', () => {
    const report = reportOf({ durability: 'replicated' });
    expect([report.violated.length, report.overfull.length]).toEqual([1, 1]);
  });
});

it('a run with failovers has no reply that the rule and the losses do not explain', async () => {
  const lines: Line[] = [];
  const over = new AbortController();
  const options = { ...SMALL, admissions: Infinity, faults: true, losses: 1, signal: over.signal };
  await record({
    ...options,
    deployment: 'failover',
    durability: 'replicated',
    write(line) {
      lines.push(line);
      if (line.type === 'loss') over.abort();
    },
  });
  const report = check(lines);
  expect(report).toMatchObject({ failovers: 1, lost: 0, violated: [], overfull: [], incomplete: [] });
  expect(report.admissions).toBeGreaterThan(20);
});
