import {
  type Grant,
  type SessionRecord,
  confirm,
  expire,
  expiresAt,
  idleAt,
  withdraw,
} from '../../src/sessions/admission.js';
import { answer, decidedAt, same } from './answers.js';
import {
  type LossLine,
  type Reply,
  type ReplyBody,
  type RequestLine,
  type RunLine,
  type SessionBody,
} from './history.js';

/** `undecided`: the search was given up, so that the history may be right or wrong. */
export interface Verdict {
  readonly verdict: 'good' | 'violated' | 'undecided';
  /** If it is not good: the request that the search did not get past, with the answers of the service and of the rule. */
  readonly reason?: string;
  /** How many steps the search took. */
  readonly steps: number;
  /** How many sessions that a reply had promised were lost with a primary; of a good history. */
  readonly lost: number;
}

/** Something that takes effect at one instant between `lo` and `hi`. */
interface Window {
  readonly lo: number;
  readonly hi: number;
}

/** The loss of the primary of this user: after it, the user has an earlier state. */
interface Failover extends Window {
  readonly loss: LossLine;
}

/** One request as the search sees it. */
interface Request extends Window {
  readonly loss?: never;
  readonly line: RequestLine;
  /** The reply; undefined if it is unknown. Then the request may not have taken effect, unless its line says that it has. */
  readonly reply: Reply | undefined;
  /** Instants that other replies name, at which this request probably took effect. */
  readonly hints: readonly number[];
  /** Instants until which its session would play, by other replies, had it received some phases less. */
  readonly ends: readonly number[];
  /** How much a keepalive said is left to play. A paused player plays nothing, so that it was as much at the one before. */
  readonly rests: readonly number[];
  /** Instants at which a place must have begun to be free when a reply says so, or to be held just then. */
  readonly blocking: readonly number[];
}

type Operation = Request | Failover;

/** Whether it certainly took effect: a failover, a request with a reply, or one whose line says so. */
function isKnown(operation: Operation): boolean {
  return operation.loss !== undefined || isKnownRequest(operation);
}

function isKnownRequest(operation: Operation): operation is Request {
  if (operation.loss !== undefined) return false;
  return operation.reply !== undefined || operation.line.observed !== undefined;
}

/** An earlier state of a user that a replica may still have had when the primary was lost, and those before it. */
interface Past {
  readonly records: readonly SessionRecord[];
  readonly places: readonly OpenPlace[];
  readonly before: Past | undefined;
  /** Equal for equal pasts. */
  readonly id: number;
}

/** A place whose delivery may yet be confirmed or undone by the service, at an instant that no reply names. */
interface OpenPlace {
  readonly grant: Grant;
  /** A place whose reply the client received may not be withdrawn. */
  readonly settles: 'confirm' | 'withdraw' | 'either';
  /** When that is done: not before `from`, and not after `by`. */
  readonly from: number;
  readonly by: number;
}

interface State {
  readonly clock: number;
  readonly records: readonly SessionRecord[];
  readonly places: readonly OpenPlace[];
  /** Operations that may be next, by their index. All before `next` that are not here took effect. */
  readonly open: readonly number[];
  readonly next: number;
  /** How many of the operations that certainly took effect are explained. */
  readonly explained: number;
  /** How many failovers took effect. */
  readonly failovers: number;
  /** The states that the next failover may bring back; the current one is another possibility. */
  readonly past: Past | undefined;
  readonly lost: number;
  /** How unlikely the latest steps to it were. */
  readonly cost: number;
}

type Moved = Pick<State, 'clock' | 'records'> & Partial<State>;

/** A search is given up after so many steps. */
const MAX_STEPS = 200_000;

/**
 * How unlikely a step is, in explained replies: a search prefers a state that explains so many replies less to one that
 * was reached by such a step. The cost of a step is forgotten, one for each reply that is explained after it.
 */
const COSTS = [0, 6, 9, 12] as const;
/** 0: a reply is explained, or a delivered place confirmed. 1 and above: everything else, at ever more instants. */
type Tier = 0 | 1 | 2 | 3;

/**
 * Searches an order of all requests of one user, and instants within the requests, for which the pure rule gives each
 * recorded reply (linearizability). Between requests the service may confirm or undo places and sweep, as the rule says.
 * A reply that names its instant was decided then. `lines` are the requests of the user, in any order.
 *
 * `losses` are those of the user's primary. With each the user goes back to a state that it had at `kept` or later. With
 * ADMIT_DURABILITY=replicated it does not go back behind a reply that gave a place to a new session.
 */
export function replay(
  lines: readonly RequestLine[],
  run: RunLine,
  maxSteps = MAX_STEPS,
  losses: readonly LossLine[] = [],
): Verdict {
  const requests = lines
    .filter((line) => !hadNoEffect(line, losses))
    .map((line) => requestOf(line, lines, run));
  for (const { line, lo } of requests)
    if (!(line.sent <= lo && lo <= line.received)) {
      const reason = `${name(line)} names an instant outside of it: ${lo}`;
      return { verdict: 'violated', steps: 0, lost: 0, reason };
    }
  const failovers = losses.map((loss): Failover => ({ loss, lo: loss.at, hi: loss.gone }));
  const operations = [...requests, ...failovers].toSorted((a, b) => a.lo - b.lo);
  return new Search(operations, run, losses, promisedBy(lines)).search(maxSteps);
}

/** Whether the request was refused with 503 while no server wrote. */
function hadNoEffect({ sent, received, reply }: RequestLine, losses: readonly LossLine[]): boolean {
  return reply?.status === 503 && losses.some(({ gone, promoted }) => gone < sent && received < promoted);
}

/** The lives of sessions that a reply promised. */
function promisedBy(lines: readonly RequestLine[]): ReadonlySet<string> {
  const sessions = lines.flatMap(({ reply }) => reply?.body?.session ?? []);
  return new Set(sessions.map(({ session_id, started_at }) => lifeOf(session_id, Date.parse(started_at))));
}

function lifeOf(sessionId: string, startedAt: number): string {
  return `${sessionId} ${startedAt}`;
}

/** A best-first search over states. */
class Search {
  private readonly known: number;
  private readonly seen = new Set<string>();
  /** States to go on from, by their worth. */
  private readonly waiting = new Map<number, { readonly state: State; readonly tier: Tier }[]>();
  private best = 0;
  private count = 0;
  private readonly pasts = new Map<string, number>();

  constructor(
    private readonly operations: readonly Operation[],
    private readonly run: RunLine,
    private readonly losses: readonly LossLine[],
    /** The lives of sessions that a reply promised. */
    private readonly promised: ReadonlySet<string>,
  ) {
    this.known = operations.filter(isKnown).length;
  }

  search(maxSteps: number): Verdict {
    let furthest: State = {
      clock: -Infinity,
      records: [],
      places: [],
      open: [],
      next: 0,
      explained: 0,
      failovers: 0,
      past: undefined,
      lost: 0,
      cost: 0,
    };
    this.wait(furthest, 0);
    for (let steps = 0; steps <= maxSteps; steps++) {
      const next = this.take();
      if (next === undefined) return { verdict: 'violated', steps, lost: 0, reason: this.reason(furthest) };
      const { state, tier } = next;
      if (state.explained === this.known) return { verdict: 'good', steps, lost: state.lost };
      if (state.explained > furthest.explained) furthest = state;
      if (tier === 0) {
        const key = keyOf(state);
        if (this.seen.has(key)) continue;
        this.seen.add(key);
      }
      const opened = this.opened(state);
      if (opened.deadline < state.clock) continue;
      if (tier < 3) this.wait(state, (tier + 1) as Tier);
      const after = [...this.following(opened.state, opened.deadline, tier)];
      for (const child of after.toReversed()) this.wait({ ...child, cost: child.cost + COSTS[tier] }, 0);
    }
    return { verdict: 'undecided', steps: maxSteps, lost: 0, reason: this.reason(furthest) };
  }

  private wait(state: State, tier: Tier): void {
    const worth = state.explained - state.cost - COSTS[tier];
    const equal = this.waiting.get(worth);
    if (equal === undefined) this.waiting.set(worth, [{ state, tier }]);
    else equal.push({ state, tier });
    this.best = Math.max(this.best, worth);
    this.count++;
  }

  /** The state of the greatest worth; of equal ones the latest. Undefined if none is left. */
  private take(): { readonly state: State; readonly tier: Tier } | undefined {
    if (this.count === 0) return undefined;
    this.count--;
    for (; ; this.best--) {
      const found = this.waiting.get(this.best)?.pop();
      if (found !== undefined) return found;
    }
  }

  /** The next states of this tier, the likely ones first. */
  private *following(state: State, deadline: number, tier: Tier): Generator<State, undefined> {
    const sure = state.places.find(({ settles, from }) => settles !== 'either' && from <= deadline);
    if (tier === 0 && sure !== undefined) {
      // Usually a delivered place is confirmed at once.
      yield* this.settled(state, sure, sure.settles === 'confirm' ? confirm : withdraw);
      return;
    }
    if (tier === 0 || (tier === 1 && sure !== undefined)) {
      yield* this.failedOver(state);
      yield* this.explained(state, deadline);
    }
    if (tier === 0) return;
    if (tier === 1) yield* this.failedOver(state, true);
    yield* this.unknown(state, deadline, tier);
    if (tier > 1) return;
    for (const place of state.places) {
      if (place === sure || place.from > deadline) continue;
      if (place.settles !== 'withdraw') yield* this.settled(state, place, confirm);
      if (place.settles !== 'confirm') yield* this.settled(state, place, withdraw);
    }
    yield* this.swept(state, deadline);
  }

  /** Explains one reply, or one request that certainly took effect. */
  private *explained(state: State, deadline: number): Generator<State, undefined> {
    const likely = ({ hints, lo }: Request): number => hints[0] ?? lo;
    const next = state.open
      .flatMap((at) => {
        const operation = this.operations[at]!;
        return isKnownRequest(operation) ? [{ at, operation }] : [];
      })
      .toSorted((a, b) => likely(a.operation) - likely(b.operation));
    for (const { at, operation } of next) {
      const { line, reply } = operation;
      for (const now of this.instants(operation, state, deadline, 0)) {
        const right = answer(line.ask, line.user, state.records, this.run, now);
        if (reply !== undefined && !same(right.reply, reply)) continue;
        const [explained, cost] = [state.explained + 1, Math.max(0, state.cost - 1)];
        const { records } = right;
        const after = this.without(state, at, right.grant, line, {
          clock: now,
          records,
          explained,
          cost,
        });
        yield this.isReplicated(operation, records) ? { ...after, past: undefined } : after;
      }
    }
  }

  /** Whether a replica had what the reply says before the client got it, and so all that was before it. */
  private isReplicated({ line, reply }: Request, records: readonly SessionRecord[]): boolean {
    if (this.run.durability !== 'replicated' || line.ask.do !== 'phase') return false;
    const { session } = line.ask;
    return (
      reply?.status === 201 ||
      (reply?.status === 200 &&
        records.some(({ sessionId, status }) => sessionId === session && status === 'reserved'))
    );
  }

  /** The primary is lost: with nothing that the replica lacked, or with an earlier state, the latest ones first. */
  private *failedOver(state: State, loses = false): Generator<State, undefined> {
    const at = state.open.find((one) => this.operations[one]!.loss !== undefined);
    if (at === undefined) return;
    const { lo } = this.operations[at]!;
    const after = {
      clock: Math.max(state.clock, lo),
      open: state.open.filter((other) => other !== at),
      explained: state.explained + 1,
      failovers: state.failovers + 1,
    };
    if (!loses) {
      yield { ...this.moved(state, { ...after, records: state.records }), past: undefined };
      return;
    }
    for (let past = state.past; past !== undefined; past = past.before) {
      const { records } = past;
      const lost = state.records.filter(
        (record) =>
          record.status !== 'ended' &&
          after.clock < this.dueAt(record) &&
          this.promised.has(lifeOf(record.sessionId, record.startedAt)) &&
          !records.some(
            (other) =>
              other.sessionId === record.sessionId &&
              other.status !== 'ended' &&
              other.startedAt === record.startedAt,
          ),
      );
      // A confirmation or an undo that the replica lacked may be repeated.
      const places = [...state.places, ...past.places.filter((place) => !state.places.includes(place))];
      const back = this.moved(state, { ...after, records, places, lost: state.lost + lost.length });
      yield { ...back, past: undefined };
    }
  }

  /** The past of a state that follows this one at `clock`, if a failover is still to come. */
  private pastAfter({ records, places, past, failovers }: State, clock: number): Past | undefined {
    const next = this.losses[failovers];
    if (next === undefined || clock < next.kept) return undefined;
    const text = JSON.stringify([past?.id, records, places]);
    const id = this.pasts.get(text) ?? this.pasts.size;
    this.pasts.set(text, id);
    return { records, places, before: past, id };
  }

  /** A request without a reply takes effect. */
  private *unknown(state: State, deadline: number, tier: Tier): Generator<State, undefined> {
    for (const at of state.open) {
      const operation = this.operations[at]!;
      if (operation.loss !== undefined || operation.reply !== undefined) continue;
      const { line } = operation;
      if (line.observed) continue;
      for (const now of this.instants(operation, state, deadline, tier)) {
        const { records, grant } = answer(line.ask, line.user, state.records, this.run, now);
        if (records !== state.records) yield this.without(state, at, grant, line, { clock: now, records });
      }
    }
  }

  private *swept(state: State, deadline: number): Generator<State, undefined> {
    const overdue = state.records.map((record) => Math.max(state.clock, this.dueAt(record)));
    for (const now of new Set(overdue.filter((due) => due <= deadline).toSorted((a, b) => a - b))) {
      const { records } = expire(state.records, this.run.policy, now);
      if (records.length < state.records.length) yield this.moved(state, { clock: now, records });
    }
  }

  /**
   * The state with all operations that may be next, and the instant until which one of them must take effect, or a place
   * must be settled.
   */
  private opened(state: State): { state: State; deadline: number } {
    const open = state.open.filter((at) => {
      const operation = this.operations[at]!;
      return isKnown(operation) || operation.hi >= state.clock;
    });
    let { next } = state;
    let deadline = Math.min(Infinity, ...state.places.map(({ by }) => by));
    for (const at of open)
      if (isKnown(this.operations[at]!)) deadline = Math.min(deadline, this.operations[at]!.hi);
    for (; next < this.operations.length && this.operations[next]!.lo <= deadline; next++) {
      open.push(next);
      if (isKnown(this.operations[next]!)) deadline = Math.min(deadline, this.operations[next]!.hi);
    }
    return { state: { ...state, open, next }, deadline };
  }

  private *settled(state: State, place: OpenPlace, verb: typeof confirm): Generator<State, undefined> {
    const { records } = verb(state.records, place.grant);
    const places = state.places.filter((other) => other !== place);
    if (records !== state.records)
      yield this.moved(state, { clock: Math.max(state.clock, place.from), records, places });
  }

  private without(
    state: State,
    done: number,
    grant: Grant | undefined,
    { observed, reply }: RequestLine,
    moved: Moved,
  ): State {
    const open = state.open.filter((at) => at !== done);
    const isReceived = reply !== undefined && reply.status !== 503;
    const settles: OpenPlace['settles'] | 'never' = observed?.settles ?? (isReceived ? 'confirm' : 'either');
    const { from = -Infinity, by = Infinity } = observed ?? {};
    const places =
      grant === undefined || settles === 'never'
        ? state.places
        : [...state.places, { grant, settles, from, by }];
    return this.moved(state, { ...moved, open, places });
  }

  /** Drops what can have no effect any more, so that equal situations are equal states. */
  private moved(state: State, moved: Moved): State {
    const after = { ...state, ...moved };
    const past = after.records === state.records ? state.past : this.pastAfter(state, after.clock);
    const records = after.records.filter(
      (record) => record.status !== 'ended' || after.clock < this.dueAt(record),
    );
    const places = after.places.filter(({ grant, settles }) =>
      records.some(
        (record) =>
          record.sessionId === grant.sessionId &&
          record.status !== 'ended' &&
          record.startedAt === grant.startedAt &&
          ((record.status === 'reserved' && settles !== 'withdraw') ||
            (settles !== 'confirm' && record.version === grant.version)),
      ),
    );
    return { ...after, records, places, past };
  }

  /**
   * The instants at which this operation is tried. Between two of the instants at which a record changes by itself, a
   * reply does not change. A request without a reply may leave its instant in the records, so that more are tried for it.
   */
  private instants(
    { line, lo, hi, reply, hints, ends, rests, blocking }: Request,
    state: State,
    deadline: number,
    tier: Tier,
  ): Set<number> {
    const from = Math.max(lo, state.clock);
    const to = Math.min(hi, deadline);
    const found = [...hints, from];
    if (reply !== undefined || tier === 3) {
      for (const record of state.records)
        found.push(
          this.dueAt(record),
          record.status === 'ended' ? record.endedAt + 1 : idleAt(record, this.run.policy),
        );
      found.push(to);
    }
    if (reply?.status === 429) {
      const { retryAt = NaN } = answer(line.ask, line.user, state.records, this.run, from);
      found.unshift(retryAt - Math.round((reply.body?.retry_after_seconds ?? NaN) * 1_000));
    }
    if (tier === 2) found.push(...this.endsAsTimes(line, ends, rests, state));
    if (tier === 3) found.push(...blocking);
    return new Set(found.filter((now) => now >= from && now <= to));
  }

  /** When a phase that plays until one of these instants was handed out, or when a keepalive was that moved the end there. */
  private endsAsTimes(
    { ask }: RequestLine,
    ends: readonly number[],
    rests: readonly number[],
    { records }: State,
  ): readonly number[] {
    if (ask.do !== 'keepalive') return ends;
    const own = records.find(({ sessionId }) => sessionId === ask.session);
    if (own === undefined || own.status === 'ended') return [];
    return [
      ...ends,
      ...ends.map((end) => end - (own.playsUntil - own.lastActivityAt)),
      ...rests.map((rest) => own.playsUntil - rest),
    ];
  }

  private dueAt(record: SessionRecord): number {
    const { policy } = this.run;
    if (record.status === 'ended') return record.endedAt + policy.expireAfterMs;
    return record.status === 'reserved' ? record.lastActivityAt + policy.leaseMs : expiresAt(record, policy);
  }

  private reason(furthest: State): string {
    const { state } = this.opened(furthest);
    const [first] = state.open
      .flatMap((at) => {
        const operation = this.operations[at]!;
        return isKnownRequest(operation) ? [operation] : [];
      })
      .toSorted((a, b) => a.hi - b.hi);
    const [place] = state.places.filter(({ by }) => by < Infinity);
    if (first === undefined)
      return place === undefined
        ? 'no reply is left'
        : `the place of ${place.grant.sessionId} was not settled, or not as its reply was delivered, by ${place.by}`;
    const now = Math.max(first.lo, state.clock);
    const right = answer(first.line.ask, first.line.user, state.records, this.run, now);
    return (
      `${name(first.line)} got ${JSON.stringify(first.reply)}, but the rule gives at ${now} ` +
      JSON.stringify(right.reply)
    );
  }
}

function requestOf(line: RequestLine, lines: readonly RequestLine[], run: RunLine): Request {
  const { ask, sent, received } = line;
  // Without an answer of the store, the request may have taken effect or not.
  const reply = line.reply?.status === 503 ? undefined : line.reply;
  const at = reply && decidedAt(ask, reply);
  if (at !== undefined) return { line, lo: at, hi: at, reply, hints: [], ends: [], rests: [], blocking: [] };
  const lateMs = line.reply === undefined ? run.lateMs : (run.lateAfter503Ms ?? run.lateMs);
  const hi = reply === undefined ? received + lateMs : received;
  const within = (instants: Iterable<number>): number[] => [
    ...new Set([...instants].filter((instant) => instant >= sent && instant <= hi)),
  ];
  const operation = { line, lo: sent, hi, reply, hints: [], ends: [], rests: [], blocking: [] };
  if (ask.do === 'keepalive' && reply !== undefined)
    return { ...operation, hints: within([Date.parse(reply.body?.session?.last_activity_at ?? '')]) };
  const bodies = lines.flatMap((other) => other.reply?.body ?? []);
  const ended = within(bodies.map(({ ended_at = '' }) => Date.parse(ended_at)));
  if (ask.do === 'end') return { ...operation, hints: ended };
  if (ask.do === 'list' || reply !== undefined) return operation;

  // An unknown request for a phase, or an unknown keepalive: later replies about its session tell when it was.
  const named = bodies.flatMap(sessionsOf).filter(({ session_id }) => session_id === ask.session);
  const ends = [...new Set(named.map(({ plays_until }) => plays_until))].flatMap((end) =>
    endsWithFewerPhases(Date.parse(end), ask.do === 'phase' ? ask.stream : undefined, run),
  );
  const activity = named.flatMap(({ started_at, last_activity_at }) => [started_at, last_activity_at]);
  const hints = within([...activity.map((text) => Date.parse(text)), ...ended]);
  if (ask.do === 'keepalive') {
    const rests = named.map(
      ({ plays_until, last_activity_at }) => Date.parse(plays_until) - Date.parse(last_activity_at),
    );
    return { ...operation, hints, ends, rests };
  }
  // A place that no reply names may have kept another session from one: until just then, or until just before.
  const { leaseMs, expireAfterMs } = run.policy;
  const blocking = lines.flatMap((other) => {
    const decided = (other.reply && decidedAt(other.ask, other.reply)) ?? NaN;
    return [leaseMs, expireAfterMs].flatMap((held) => [decided - held, decided - held + 1]);
  });
  return { ...operation, hints, ends: within(ends), blocking: within(blocking) };
}

/** An instant until which a session plays, less the durations of phases that it may have received at last. */
function endsWithFewerPhases(
  end: number,
  stream: string | undefined,
  { policy, streams }: RunLine,
): number[] {
  const window = stream === undefined ? undefined : streams[stream];
  const last = [0, window === undefined || window === null ? 0 : window.lastPhaseMs];
  const count = 2 + Math.ceil(policy.maxAheadMs / policy.idleAfterMs);
  return last.flatMap((ms) =>
    Array.from({ length: count }, (_, fewer) => end - fewer * policy.idleAfterMs - ms),
  );
}

function sessionsOf({ session, sessions = [] }: ReplyBody): readonly SessionBody[] {
  return [...(session === undefined ? [] : [session]), ...('length' in sessions ? sessions : [])];
}

/** Equal for states that have the same future. */
function keyOf({ clock, records, places, open, next, past }: State): string {
  return JSON.stringify([clock, next, open, places, records, past?.id]);
}

function name({ n, user, ask }: RequestLine): string {
  return `request ${n} of ${user}, ${JSON.stringify(ask)},`;
}
