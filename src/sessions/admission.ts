/**
 * The rule that decides which requests are admitted. It is the executable specification of every store.
 *
 * Pure functions over the records of one user, without libraries, clocks or I/O. The embedded store calls them directly.
 * The Lua scripts of the Redis store implement the same rule again, and the model test compares the two.
 *
 * Instants are Unix milliseconds and durations are milliseconds. Records are never mutated: each function returns the new
 * records.
 */

import { type Device } from './device.js';
import { type Quota } from './quota.js';

export interface Policy {
  /** The quota of a user without one in a token or a ticket. */
  readonly quota: Quota;
  /** X: a session without a request for this long is idle. */
  readonly idleAfterMs: number;
  /** n·X: a session without a request for this long is expired, and its place is free. */
  readonly expireAfterMs: number;
  /** The lease: how long a new session holds its place until its first phase is confirmed as delivered; at most n·X. */
  readonly leaseMs: number;
  /** How long after its last phase a paused player can keep its place by keepalives. */
  readonly maxPauseMs: number;
  /** A session with more than this left to play gets no further phase. */
  readonly maxAheadMs: number;
  /** The same, for the next phase in a row of a paced player. It is lower, so that a seek stays below `maxAheadMs`. */
  readonly pacedAheadMs: number;
}

/** `left`: its own player quit. Only such a session may start again at once, because no other party ended it. */
export type EndReason = 'user' | 'operator' | 'replaced' | 'left';

/** The session that took the place of another one. */
export interface Replacement {
  readonly sessionId: string;
  readonly device: Device | undefined;
}

/** A session that holds a place. It is `reserved` until its first phase is delivered, and `permanent` from then on. */
export interface HeldRecord {
  readonly status: 'reserved' | 'permanent';
  readonly sessionId: string;
  readonly streamId: string;
  /** When it was admitted. It distinguishes this life of a session id from earlier ones. */
  readonly startedAt: number;
  readonly lastActivityAt: number;
  /** Index of the phase that the session requested last, of its current stream. */
  readonly phase: number;
  /**
   * When everything that the session received would have been played at normal speed. A paused player plays nothing,
   * so a keepalive moves this instant by the time since the keepalive before it.
   */
  readonly playsUntil: number;
  /** How many phases after `phase` the session has received already. It is above 0 while a player refetches phases. */
  readonly ahead: number;
  /** How many consecutive phases the session has received, up to `phase + ahead`; 0 before the first. */
  readonly run: number;
  /** The user's quota when the session was last admitted. */
  readonly quota: Quota;
  /** Fixed for the life of the session, except for its name. */
  readonly device: Device | undefined;
  /** Identifies a player without a device, by its network address and program. Opaque. */
  readonly client: string | undefined;
  /** Counts the changes of this life of the session. An undo acts only if it has not changed since. */
  readonly version: number;
  /** How long keepalives have kept the session since its last phase; 0 before the first keepalive. */
  readonly pausedMs: number;
}

/** A session that was ended on purpose. The record is kept for n·X, so that its client gets the reason. */
interface EndedRecord {
  readonly status: 'ended';
  readonly sessionId: string;
  readonly endedAt: number;
  readonly reason: EndReason;
  /** If the reason is `replaced`: the session that took the place. */
  readonly replacedBy: Replacement | undefined;
}

export type SessionRecord = HeldRecord | EndedRecord;

/**
 * A change of a session, for counters and events. Each life of a session is `admitted` once, and then has exactly one
 * end: `expired`, `ended`, or `undone` because its first phase was not delivered.
 */
export interface Change {
  /** `started`: its first phase was delivered. `moved`: it plays another stream. */
  readonly type: 'admitted' | 'started' | 'moved' | 'ended' | 'expired' | 'undone';
  readonly record: HeldRecord;
  readonly reason?: EndReason;
  readonly replacedBy?: Replacement;
}

/** The phases of a stream that are available now: phase k exists when oldest <= k < end. */
export interface PhaseWindow {
  readonly oldest: number;
  readonly end: number;
  /** The phase that a new session starts with. */
  readonly start: number;
  /** Whether the window moves. A session that fell behind the window of a live stream continues inside it. */
  readonly live: boolean;
  /** The duration of a phase, and of the last phase of the window, in milliseconds. */
  readonly phaseMs: number;
  readonly lastPhaseMs: number;
}

export interface Ask {
  readonly sessionId: string;
  readonly streamId: string;
  /** The requested phase; undefined for the next one, `same` for the current one of the session. */
  readonly phase: number | 'same' | undefined;
  /** The available phases; undefined if there are none: then the answer is always a refusal. */
  readonly window: PhaseWindow | undefined;
  /** Sessions of the same user that are ended if, and only if, this one is admitted. */
  readonly endSessionIds: readonly string[];
  /** The quota of the user. */
  readonly quota: Quota;
  readonly device?: Device | undefined;
  readonly client?: string | undefined;
  /** True for a player that fetches ahead by itself; its reply can be held until the session may have the phase. */
  readonly paced?: boolean | undefined;
}

export type Decision =
  | {
      readonly outcome: 'admitted';
      readonly record: HeldRecord;
      /** True if the session held no place before: it is new, or it had expired. */
      readonly created: boolean;
      /** The record before this request, if the session continues. An undo restores it. */
      readonly former: HeldRecord | undefined;
      /** How many places the user holds now, including this one. */
      readonly live: number;
      /** Changes of this session, of the sessions that it ended, and of overdue sessions that were claimed to make room. */
      readonly changes: readonly Change[];
      readonly records: readonly SessionRecord[];
    }
  | SessionEnded
  /** `retryAt`: when a place becomes free if the holders send no requests. */
  | { readonly outcome: 'limit-reached'; readonly holders: readonly HeldRecord[]; readonly retryAt: number }
  /** `retryAt`: when the session has played enough to get the phase. */
  | { readonly outcome: 'too-far-ahead'; readonly retryAt: number }
  | { readonly outcome: 'phase-not-found' };

/** The session was ended on purpose within the last n·X. */
export interface SessionEnded {
  readonly outcome: 'session-ended';
  readonly endedAt: number;
  readonly reason: EndReason;
  readonly replacedBy: Replacement | undefined;
}

/** How many ended sessions of one user are kept. Without a bound one user could fill the store. */
export const MAX_ENDED_RECORDS = 100;

/** The argument of `end` for all sessions of the user. */
export const ALL_SESSIONS = 'all';

/** The longest run of phases that a record counts. Beyond it, a phase that is fetched again may count as a new one. */
const MAX_RUN = 15;

type ActivityTimes = Pick<HeldRecord, 'lastActivityAt' | 'playsUntil'>;

/** When a session becomes idle if it sends no request: it was silent for X, and has nothing left to play. */
export function idleAt({ lastActivityAt, playsUntil }: ActivityTimes, policy: Policy): number {
  return Math.max(lastActivityAt + policy.idleAfterMs, playsUntil);
}

/** When a session loses its place if it sends no request. At this instant the place is already free. */
export function expiresAt(record: ActivityTimes, policy: Policy): number {
  return idleAt(record, policy) + policy.expireAfterMs - policy.idleAfterMs;
}

/** Until when a session holds its place if nothing changes it: until its reservation lapses, or until it expires. */
export function heldUntil(record: ActivityTimes & Pick<HeldRecord, 'status'>, policy: Policy): number {
  return record.status === 'reserved' ? record.lastActivityAt + policy.leaseMs : expiresAt(record, policy);
}

/** When a record is due: a session loses its place, or the record of an ended session is removed. */
function dueAt(record: SessionRecord, policy: Policy): number {
  return record.status === 'ended' ? record.endedAt + policy.expireAfterMs : heldUntil(record, policy);
}

function holdsPlace(record: SessionRecord, policy: Policy, now: number): record is HeldRecord {
  return record.status !== 'ended' && now < dueAt(record, policy);
}

/** The sessions of a user that hold a place, oldest first. */
export function live(records: readonly SessionRecord[], policy: Policy, now: number): HeldRecord[] {
  return records.filter((record) => holdsPlace(record, policy, now)).toSorted(oldestFirst);
}

/**
 * The quota at which the latest phase of these sessions was admitted; of two equally late ones, the greater. Undefined
 * if there are no sessions.
 */
export function latestQuota(records: readonly HeldRecord[]): Quota | undefined {
  const phaseAt = (record: HeldRecord): number => record.lastActivityAt - record.pausedMs;
  return records.toSorted((a, b) => phaseAt(b) - phaseAt(a) || b.quota.maxSessions - a.quota.maxSessions)[0]
    ?.quota;
}

export function oldestFirst(
  a: Pick<HeldRecord, 'startedAt' | 'sessionId'>,
  b: Pick<HeldRecord, 'startedAt' | 'sessionId'>,
): number {
  return a.startedAt - b.startedAt || compare(a.sessionId, b.sessionId);
}

/**
 * Decides whether this session gets the requested phase. Expiry is judged here, so that no answer depends on a sweep. If
 * several refusals apply, the order is: ended, limit reached, phase not found, too far ahead.
 */
export function admit(records: readonly SessionRecord[], ask: Ask, policy: Policy, now: number): Decision {
  const limit = ask.quota.maxSessions;
  const own = records.find((record) => record.sessionId === ask.sessionId);
  if (own?.status === 'ended' && now < dueAt(own, policy) && !mayComeBack(own, now)) return sessionEnded(own);

  const holdsOwn = own !== undefined && holdsPlace(own, policy, now);
  const holders = live(records, policy, now).filter((record) => record !== own);
  const ending = holdsOwn ? endedByAsk(holders, ask) : makeRoom(holders, ask, policy, now);
  const staying = holders.filter((record) => !ending.includes(record));
  if (!holdsOwn && staying.length >= limit) {
    const expiries = holders.map((record) => expiresAt(record, policy)).toSorted((a, b) => a - b);
    return { outcome: 'limit-reached', holders, retryAt: expiries[holders.length - limit]! };
  }

  // An expired session whose expiry was not claimed yet continues. A lapsed reservation does not, since it never started.
  const former = own?.status === 'permanent' || (own?.status === 'reserved' && holdsOwn) ? own : undefined;
  const { window } = ask;
  if (window === undefined) return { outcome: 'phase-not-found' };
  const playing = former?.streamId === ask.streamId ? former : undefined;
  const phase = wantedPhase(ask.phase, window, playing);
  if (phase < window.oldest || phase >= window.end) return { outcome: 'phase-not-found' };
  const handedOut =
    ask.phase === 'same'
      ? handOutNothing(former, playing, phase, now)
      : handOut(former, playing, phase, ask, window, policy, now);
  if ('retryAt' in handedOut) return { outcome: 'too-far-ahead', retryAt: handedOut.retryAt };

  const record: HeldRecord = {
    status: former?.status ?? 'reserved',
    sessionId: ask.sessionId,
    streamId: ask.streamId,
    startedAt: former?.startedAt ?? now,
    lastActivityAt: now,
    phase,
    ...handedOut,
    quota: ask.quota,
    device: former ? renamed(former.device, ask.device) : ask.device,
    client: former ? former.client : ask.client,
    version: former ? nextVersion(former.version) : 1,
    pausedMs: 0,
  };

  // An admission leaves at most `limit` records that hold a place or can resume one. Therefore it claims just enough
  // overdue records, those with the oldest activity first. A late confirm or resume can then never exceed the limit.
  const overdue = records
    .filter(
      (other): other is HeldRecord => other !== own && other.status !== 'ended' && !holders.includes(other),
    )
    .toSorted((a, b) => a.lastActivityAt - b.lastActivityAt || compare(a.sessionId, b.sessionId));
  const surplus = staying.length + overdue.length + 1 - limit;
  const claimed = overdue.slice(0, Math.max(0, surplus));

  const replacedBy = { sessionId: record.sessionId, device: record.device };
  const others = records
    .filter((other) => other !== own && !claimed.includes(other as HeldRecord))
    .map((other) =>
      ending.includes(other as HeldRecord) ? endedRecord(other, 'replaced', now, replacedBy) : other,
    );
  const lapsed = own?.status === 'reserved' && !former ? [own] : [];
  return {
    outcome: 'admitted',
    record,
    created: !holdsOwn,
    former,
    live: staying.length + 1,
    changes: [
      ...[...claimed, ...lapsed].map(claim),
      ...ending.map((other): Change => ({ type: 'ended', record: other, reason: 'replaced', replacedBy })),
      ...(former === undefined ? [{ type: 'admitted', record } as const] : moved(former.streamId, record)),
    ],
    records: forgetOldestEnded([...others, record]),
  };
}

/** A player that quit may start again, as after a reload. Its new life must begin later than the former one ended. */
function mayComeBack({ reason, endedAt }: EndedRecord, now: number): boolean {
  return reason === 'left' && now > endedAt;
}

function endedByAsk(holders: readonly HeldRecord[], { endSessionIds }: Ask): HeldRecord[] {
  return holders.filter(({ sessionId }) => endSessionIds.includes(sessionId));
}

/**
 * The sessions whose places a new session takes. First, the sessions that the request ends. Second, the sessions of the
 * same device, which plays one stream at a time. Third, if no place is free, just enough idle sessions of the same client,
 * those with the oldest activity first. A session that still plays keeps its place.
 */
function makeRoom(holders: readonly HeldRecord[], ask: Ask, policy: Policy, now: number): HeldRecord[] {
  const { device, client, quota } = ask;
  const named = new Set(endedByAsk(holders, ask));
  if (device && device.shared !== true)
    for (const holder of holders)
      if (holder.device?.id === device.id && holder.device.shared !== true) named.add(holder);
  const missing = holders.length - named.size + 1 - quota.maxSessions;
  if (client === undefined || missing <= 0) return [...named];
  const idle = holders
    .filter((holder) => !named.has(holder) && holder.client === client && idleAt(holder, policy) <= now)
    .toSorted((a, b) => a.lastActivityAt - b.lastActivityAt || compare(a.sessionId, b.sessionId));
  return idle.length < missing ? [...named] : [...named, ...idle.slice(0, missing)];
}

/** A request can rename its device. All other properties of the device stay. */
function renamed(device: Device | undefined, given: Device | undefined): Device | undefined {
  if (device === undefined || given?.name === undefined || given.id !== device.id) return device;
  return { ...device, name: given.name };
}

/**
 * The phase that a request is for. A requested number is returned unchanged, even if the phase does not exist.
 * Otherwise it is the next phase, or the current one for `same`. In a live stream, a session behind the window
 * continues at the start phase. A session at the end of the window gets the newest phase again, which may have grown.
 */
function wantedPhase(wanted: Ask['phase'], window: PhaseWindow, playing: HeldRecord | undefined): number {
  if (typeof wanted === 'number') return wanted;
  if (playing === undefined) return window.start;
  const following = wanted === 'same' || playing.run === 0 ? playing.phase : playing.phase + 1;
  if (window.live && following < window.oldest) return window.start;
  return window.live || wanted === 'same' ? Math.min(following, window.end - 1) : following;
}

type HandedOut = Pick<HeldRecord, 'playsUntil' | 'ahead' | 'run'>;

/** For a request of a playlist or a key, which is no phase: it adds nothing to what is left to play. */
function handOutNothing(
  former: HeldRecord | undefined,
  playing: HeldRecord | undefined,
  phase: number,
  now: number,
): HandedOut {
  const playsUntil = now + leftToPlay(former, now);
  // If the live window has moved past the session, the phases of its run have left the window.
  return playing?.phase === phase
    ? { playsUntil, ahead: playing.ahead, run: playing.run }
    : { playsUntil, ahead: 0, run: 0 };
}

/**
 * A phase that the session has and fetches again (a retry, or another quality) adds nothing to what is left to play. Any
 * other phase, the next one or one after a seek or a move, adds its duration.
 */
function handOut(
  former: HeldRecord | undefined,
  playing: HeldRecord | undefined,
  phase: number,
  { paced = false }: Ask,
  window: PhaseWindow,
  policy: Policy,
  now: number,
): HandedOut | { readonly retryAt: number } {
  const left = leftToPlay(former, now);
  const { ahead = 0, run = 0, phase: last = phase } = playing ?? {};
  const furthest = last + ahead;
  const unplayed = Math.min(run, Math.ceil(left / window.phaseMs));
  if (run > 0 && (phase === last || (phase <= furthest && phase > furthest - unplayed)))
    return { playsUntil: now + left, ahead: Math.min(MAX_RUN, furthest - phase), run };
  const inRow = run > 0 && phase === furthest + 1;
  // A player that paused, played and paused again has played more than its keepalives tell, but at most all of the time
  // since its last phase. Its reply is not held for longer than necessary by up to X of that.
  const played = Math.min(former?.pausedMs ?? 0, policy.idleAfterMs);
  const mostLeft = paced && inRow ? policy.pacedAheadMs + played : policy.maxAheadMs;
  if (left > mostLeft) return { retryAt: now + left - mostLeft };
  const duration = phase === window.end - 1 ? window.lastPhaseMs : window.phaseMs;
  return { playsUntil: now + left + duration, ahead: 0, run: inRow ? Math.min(MAX_RUN, run + 1) : 1 };
}

/** How many milliseconds the session has left to play. If the clock was set back, the result does not grow. */
function leftToPlay(record: HeldRecord | undefined, now: number): number {
  if (record === undefined) return 0;
  return Math.max(0, record.playsUntil - Math.max(now, record.lastActivityAt));
}

function sessionEnded({ endedAt, reason, replacedBy }: EndedRecord): SessionEnded {
  return { outcome: 'session-ended', endedAt, reason, replacedBy };
}

/** Identifies an admission, to be confirmed or withdrawn when it is known whether the phase was delivered. */
export interface Grant {
  readonly sessionId: string;
  readonly startedAt: number;
  readonly version: number;
  readonly former: Undone | undefined;
}

/** The part of a record that an undo restores. */
export type Undone = Pick<
  HeldRecord,
  'lastActivityAt' | 'streamId' | 'phase' | 'playsUntil' | 'ahead' | 'run' | 'pausedMs'
>;

export interface Outcome {
  readonly changes: readonly Change[];
  readonly records: readonly SessionRecord[];
}

/** The first phase was delivered: makes the session permanent. Nothing changes if it has lost its place since. */
export function confirm(records: readonly SessionRecord[], grant: Grant): Outcome {
  const own = records.find((record) => record.sessionId === grant.sessionId);
  if (own?.status !== 'reserved' || own.startedAt !== grant.startedAt) return { changes: [], records };
  const record: HeldRecord = { ...own, status: 'permanent' };
  return { changes: [{ type: 'started', record }], records: replace(records, own, record) };
}

/** The phase was not delivered: undoes the admission, unless the session has changed since. */
export function withdraw(records: readonly SessionRecord[], grant: Grant): Outcome {
  const own = records.find((record) => record.sessionId === grant.sessionId);
  const untouched = { changes: [], records };
  if (own === undefined || own.status === 'ended') return untouched;
  if (own.startedAt !== grant.startedAt || own.version !== grant.version) return untouched;
  if (grant.former) {
    const record: HeldRecord = { ...own, ...undone(grant.former), version: nextVersion(own.version) };
    return { changes: moved(own.streamId, record), records: replace(records, own, record) };
  }
  if (own.status !== 'reserved') return untouched;
  return { changes: [claim(own)], records: records.filter((record) => record !== own) };
}

/** Selects the part of a record that an undo restores. */
export function undone(record: Undone): Undone {
  const { lastActivityAt, streamId, phase, playsUntil, ahead, run, pausedMs } = record;
  return { lastActivityAt, streamId, phase, playsUntil, ahead, run, pausedMs };
}

export type Keeping =
  | { readonly outcome: 'kept'; readonly record: HeldRecord; readonly records: readonly SessionRecord[] }
  | SessionEnded
  | { readonly outcome: 'session-not-found' };

/**
 * A keepalive of a paused player: the last activity moves, without a phase. It does not move when `maxPauseMs` have passed
 * since the last phase. The player counts as playing until its first keepalive after a phase, and as paused from there to
 * its latest one.
 *
 * Nor does it move before the first phase was delivered, because a client can send keepalives without it. But the
 * keepalive promises the rest of the lease, so the reservation gets a new version and is not undone before it lapses.
 */
export function keepAlive(
  records: readonly SessionRecord[],
  sessionId: string,
  policy: Policy,
  now: number,
): Keeping {
  const own = records.find((record) => record.sessionId === sessionId);
  if (own === undefined || now >= dueAt(own, policy)) return { outcome: 'session-not-found' };
  if (own.status === 'ended') return sessionEnded(own);
  const record =
    own.status === 'reserved' ? { ...own, version: nextVersion(own.version) } : paused(own, policy, now);
  return { outcome: 'kept', record, records: replace(records, own, record) };
}

function paused(own: HeldRecord, policy: Policy, now: number): HeldRecord {
  // The clock may have been set back. At least 1 ms, so that the next keepalive knows that it is not the first.
  const pausedMs = Math.max(1, Math.max(0, now - own.lastActivityAt) + own.pausedMs);
  if (pausedMs >= policy.maxPauseMs) return own;
  return {
    ...own,
    lastActivityAt: now,
    playsUntil: now + (own.pausedMs === 0 ? leftToPlay(own, now) : own.playsUntil - own.lastActivityAt),
    pausedMs,
    version: nextVersion(own.version),
  };
}

/**
 * A report that a player played at `at`: the last activity moves forward to it, never past now and never back. It creates
 * no session and gives out no phase.
 */
export function noteActivity(
  records: readonly SessionRecord[],
  sessionId: string,
  at: number,
  policy: Policy,
  now: number,
): Keeping {
  const own = records.find((record) => record.sessionId === sessionId);
  if (own === undefined || now >= dueAt(own, policy)) return { outcome: 'session-not-found' };
  if (own.status === 'ended') return sessionEnded(own);
  const lastActivityAt = Math.min(at, now);
  if (own.status === 'reserved' || lastActivityAt <= own.lastActivityAt)
    return { outcome: 'kept', record: own, records };
  const playsUntil = Math.max(own.playsUntil, lastActivityAt);
  const record = { ...own, lastActivityAt, playsUntil, version: nextVersion(own.version) };
  return { outcome: 'kept', record, records: replace(records, own, record) };
}

export interface Ending extends Outcome {
  /** The sessions that held a place and lost it by this call. */
  readonly ended: readonly HeldRecord[];
  /** The requested ids whose sessions had been ended before, within the last n·X. */
  readonly endedBefore: readonly string[];
}

/** Ends sessions on purpose. Their places are free at once, and their clients get the reason for n·X. */
export function end(
  records: readonly SessionRecord[],
  sessionIds: readonly string[] | typeof ALL_SESSIONS,
  reason: EndReason,
  policy: Policy,
  now: number,
): Ending {
  const asked = records.filter(
    (record) => sessionIds === ALL_SESSIONS || sessionIds.includes(record.sessionId),
  );
  const ended = live(asked, policy, now);
  const endedBefore = asked.filter((record) => record.status === 'ended' && now < dueAt(record, policy));
  return {
    ended,
    endedBefore: endedBefore.map((record) => record.sessionId),
    changes: ended.map((record) => ({ type: 'ended', record, reason })),
    records: forgetOldestEnded(
      records.map((record) =>
        ended.includes(record as HeldRecord) ? endedRecord(record, reason, now) : record,
      ),
    ),
  };
}

/** Claims all due records: expired sessions are reported; lapsed reservations and ended sessions are removed. */
export function expire(records: readonly SessionRecord[], policy: Policy, now: number): Outcome {
  const due = records.filter((record) => dueAt(record, policy) <= now);
  return {
    changes: due.filter((record) => record.status !== 'ended').map(claim),
    records: records.filter((record) => !due.includes(record)),
  };
}

/** A shorter gap between sweeps does not count as an outage, even if n·X is shorter. */
export const SHORTEST_OUTAGE_MS = 5_000;

/**
 * The instant until which sweeps claim nothing. If no instance has swept for longer than n·X, the service or the store
 * was down, and clients could not send requests. So each client gets X to send one. `graceUntil` is the previous
 * result.
 */
export function graceAfterOutage(
  lastSweepAt: number | undefined,
  graceUntil: number,
  policy: Policy,
  now: number,
): number {
  const outage = Math.max(policy.expireAfterMs, SHORTEST_OUTAGE_MS);
  return lastSweepAt !== undefined && now - lastSweepAt > outage ? now + policy.idleAfterMs : graceUntil;
}

/** The change of a claimed record: `expired`, or `undone` for a reservation, which never started. */
function claim(record: SessionRecord): Change {
  const held = record as HeldRecord;
  return { type: held.status === 'reserved' ? 'undone' : 'expired', record: held };
}

/** The `moved` change, if the stream changed. A reservation has none: its `started` change names the stream. */
function moved(from: string, record: HeldRecord): Change[] {
  return record.streamId === from || record.status === 'reserved' ? [] : [{ type: 'moved', record }];
}

function replace(
  records: readonly SessionRecord[],
  old: SessionRecord,
  by: SessionRecord,
): readonly SessionRecord[] {
  return records.map((record) => (record === old ? by : record));
}

function endedRecord(
  record: SessionRecord,
  reason: EndReason,
  now: number,
  replacedBy?: Replacement,
): EndedRecord {
  return { status: 'ended', sessionId: record.sessionId, endedAt: now, reason, replacedBy };
}

function forgetOldestEnded(records: readonly SessionRecord[]): readonly SessionRecord[] {
  const ended = records.filter((record) => record.status === 'ended');
  if (ended.length <= MAX_ENDED_RECORDS) return records;
  const oldest = ended
    .toSorted((a, b) => a.endedAt - b.endedAt || compare(a.sessionId, b.sessionId))
    .slice(0, ended.length - MAX_ENDED_RECORDS);
  return records.filter((record) => !oldest.includes(record as EndedRecord));
}

/** Versions are two bytes in the Redis store. */
function nextVersion(version: number): number {
  return version >= 0xffff ? 1 : version + 1;
}

/** Compares ids by their (ASCII) bytes. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
