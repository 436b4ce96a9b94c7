/**
 * The rule of who may watch: the executable specification that every store must answer as.
 *
 * Pure functions over the records of one user. No library, no clock, no I/O. The embedded store runs them as they
 * are; the Lua scripts of the Redis store say the same once more, and the model test holds the two together.
 *
 * Instants are Unix milliseconds, durations milliseconds. A record is never mutated: each function gives the
 * records as they are afterwards.
 */

import { type Device } from './device.js';
import { type Quota } from './quota.js';

export interface Policy {
  /** What a user may hold where neither a token nor a ticket says otherwise. */
  readonly quota: Quota;
  /** X: a session that asked for nothing for so long is idle. */
  readonly idleAfterMs: number;
  /** n·X: a session that asked for nothing for so long is expired and its place is free. */
  readonly expireAfterMs: number;
  /** How long a new session's place is held before its first phase is known to be delivered; at most n·X. */
  readonly leaseMs: number;
  /** For how long after its last phase a paused player can keep its place by saying so. */
  readonly maxPauseMs: number;
  /** With more than this left to play, a session is handed out no further phase. */
  readonly maxAheadMs: number;
  /** The same for the next phase in a row of a paced player, so that a seek finds room below `maxAheadMs`. */
  readonly pacedAheadMs: number;
}

export type EndReason = 'user' | 'operator' | 'replaced';

/** The session that took the place of another one. */
export interface Replacement {
  readonly sessionId: string;
  readonly device: Device | undefined;
}

/** A place to watch. `reserved` until its first phase was delivered, `permanent` from then on. */
export interface HeldRecord {
  readonly status: 'reserved' | 'permanent';
  readonly sessionId: string;
  readonly streamId: string;
  /** When it was admitted. Tells this life of a session id from an earlier one. */
  readonly startedAt: number;
  readonly lastActivityAt: number;
  /** Index of the phase that was asked for last, of the stream that it plays now. */
  readonly phase: number;
  /**
   * Until when everything that it was handed out would play at normal speed. A paused player plays nothing, so a
   * keepalive moves this instant together with the last activity.
   */
  readonly playsUntil: number;
  /** How many phases after `phase` it was handed out already: above 0 while a player fetches again what it holds. */
  readonly ahead: number;
  /** How many phases in a row it was handed out, counted back from `phase + ahead`. 0 before the first. */
  readonly run: number;
  /** What the user could hold when the session last took a phase. */
  readonly quota: Quota;
  /** Fixed for the life of the session, but for its name. */
  readonly device: Device | undefined;
  /** Tells players without a device apart, by their network address and program. Opaque. */
  readonly client: string | undefined;
  /** Counts what happened to this life of the session, so that an undo can tell that something did since. */
  readonly version: number;
  /** For how long it was kept alive while paused since its last phase. */
  readonly pausedMs: number;
}

/** What remains of a session that was closed on purpose, so that its client can be told so for n·X. */
interface EndedRecord {
  readonly status: 'ended';
  readonly sessionId: string;
  readonly endedAt: number;
  readonly reason: EndReason;
  /** Where the reason is `replaced`: the session that has its place now. */
  readonly replacedBy: Replacement | undefined;
}

export type SessionRecord = HeldRecord | EndedRecord;

/**
 * What befell a session, for who keeps count and for who is told. Each life of a session is `admitted` once, and then
 * comes to exactly one end: `expired`, `ended`, or `undone` because its first phase never arrived.
 */
export interface Change {
  /** `started`: its first phase arrived. `moved`: it plays another stream. */
  readonly type: 'admitted' | 'started' | 'moved' | 'ended' | 'expired' | 'undone';
  readonly record: HeldRecord;
  readonly reason?: EndReason;
  readonly replacedBy?: Replacement;
}

/** The phases of a stream that can be had now: phase k exists when oldest <= k < end. */
export interface PhaseWindow {
  readonly oldest: number;
  readonly end: number;
  /** The phase that a newcomer starts with. */
  readonly start: number;
  /** A live stream moves on: a session that fell out of its window goes on inside it. */
  readonly live: boolean;
  /** How long one phase plays, in milliseconds, and how long the last one of the window does. */
  readonly phaseMs: number;
  readonly lastPhaseMs: number;
}

export interface Ask {
  readonly sessionId: string;
  readonly streamId: string;
  /** The phase that is wanted; undefined for the next one, `same` for the one that the session has. */
  readonly phase: number | 'same' | undefined;
  /** The phases that can be had; undefined where there are none: then the answer is a refusal, whatever it is for. */
  readonly window: PhaseWindow | undefined;
  /** Sessions of the same user to end if, and only if, this one is admitted. */
  readonly endSessionIds: readonly string[];
  /** What the user may hold. */
  readonly quota: Quota;
  readonly device?: Device | undefined;
  readonly client?: string | undefined;
  /** True for a player that fetches ahead on its own and waits for its turn. */
  readonly paced?: boolean | undefined;
}

export type Decision =
  | {
      readonly outcome: 'admitted';
      readonly record: HeldRecord;
      /** True for a session that held no place before: a new one, or one that had expired. */
      readonly created: boolean;
      /** The same session as it was before, where it goes on; what an undo restores. */
      readonly former: HeldRecord | undefined;
      /** How many places the user holds now, this one included. */
      readonly live: number;
      /** This session's, those of the sessions that it ended, and of overdue ones that it claimed to make room. */
      readonly changes: readonly Change[];
      readonly records: readonly SessionRecord[];
    }
  | SessionEnded
  /** `retryAt`: when a place would be free if the holders stayed silent. */
  | { readonly outcome: 'limit-reached'; readonly holders: readonly HeldRecord[]; readonly retryAt: number }
  /** `retryAt`: when little enough is left to play. */
  | { readonly outcome: 'too-far-ahead'; readonly retryAt: number }
  | { readonly outcome: 'phase-not-found' };

/** The session was closed on purpose within the last n·X. */
export interface SessionEnded {
  readonly outcome: 'session-ended';
  readonly endedAt: number;
  readonly reason: EndReason;
  readonly replacedBy: Replacement | undefined;
}

/** How many ended sessions of one user are remembered; without a bound one user could fill the store. */
export const MAX_ENDED_RECORDS = 100;

/** What `end` takes for every session of the user. */
export const ALL_SESSIONS = 'all';

/** The longest run of phases that a record counts; with a longer one, a phase fetched again may count as a further one. */
export const MAX_RUN = 15;

type Lasting = Pick<HeldRecord, 'lastActivityAt' | 'playsUntil'>;

/** When a session that stays silent is idle: it asked for nothing for X, and has nothing left to play. */
export function idleAt({ lastActivityAt, playsUntil }: Lasting, policy: Policy): number {
  return Math.max(lastActivityAt + policy.idleAfterMs, playsUntil);
}

/** When a session that stays silent loses its place: the instant itself is already too late. */
export function expiresAt(record: Lasting, policy: Policy): number {
  return idleAt(record, policy) + policy.expireAfterMs - policy.idleAfterMs;
}

/** When a record is due: a reservation lapses, a session expires, an ended one is forgotten. */
function dueAt(record: SessionRecord, policy: Policy): number {
  if (record.status === 'ended') return record.endedAt + policy.expireAfterMs;
  return record.status === 'reserved' ? record.lastActivityAt + policy.leaseMs : expiresAt(record, policy);
}

function holdsPlace(record: SessionRecord, policy: Policy, now: number): record is HeldRecord {
  return record.status !== 'ended' && now < dueAt(record, policy);
}

/** Those of a user's sessions that hold a place, oldest first. */
export function live(records: readonly SessionRecord[], policy: Policy, now: number): HeldRecord[] {
  return records.filter((record) => holdsPlace(record, policy, now)).toSorted(oldestFirst);
}

export function oldestFirst(
  a: Pick<HeldRecord, 'startedAt' | 'sessionId'>,
  b: Pick<HeldRecord, 'startedAt' | 'sessionId'>,
): number {
  return a.startedAt - b.startedAt || compare(a.sessionId, b.sessionId);
}

/**
 * May this session have the phase that it asks for? Idle is judged here, so that no answer depends on a sweep having
 * run. Where several refusals apply: ended, then limit, then phase, then too far ahead.
 */
export function admit(records: readonly SessionRecord[], ask: Ask, policy: Policy, now: number): Decision {
  const limit = ask.quota.maxSessions;
  const own = records.find((record) => record.sessionId === ask.sessionId);
  if (own?.status === 'ended' && now < dueAt(own, policy)) return sessionEnded(own);

  const holdsOwn = own !== undefined && holdsPlace(own, policy, now);
  const holders = live(records, policy, now).filter((record) => record !== own);
  const ending = holdsOwn ? endedByAsk(holders, ask) : makeRoom(holders, ask, policy, now);
  const staying = holders.filter((record) => !ending.includes(record));
  if (!holdsOwn && staying.length >= limit) {
    const expiries = holders.map((record) => expiresAt(record, policy)).toSorted((a, b) => a - b);
    return { outcome: 'limit-reached', holders, retryAt: expiries[holders.length - limit]! };
  }

  // An expired session whose expiry nobody has claimed goes on where it was; a lapsed reservation never began.
  const former = own?.status === 'permanent' || (own?.status === 'reserved' && holdsOwn) ? own : undefined;
  const { window } = ask;
  if (window === undefined) return { outcome: 'phase-not-found' };
  const playing = former?.streamId === ask.streamId ? former : undefined;
  const phase = wantedPhase(ask.phase, window, playing);
  if (phase < window.oldest || phase >= window.end) return { outcome: 'phase-not-found' };
  const handedOut =
    ask.phase === 'same'
      ? handOutNothing(former, playing, phase, policy, now)
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

  // An admission leaves at most `limit` records that hold or may resume a place: just enough of the overdue ones
  // give way, the longest silent first. So a place that is confirmed or resumed late can never be one too many.
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

function endedByAsk(holders: readonly HeldRecord[], { endSessionIds }: Ask): HeldRecord[] {
  return holders.filter(({ sessionId }) => endSessionIds.includes(sessionId));
}

/**
 * The holders whose places a new session takes: those that the request ends; those of the same device, which plays one
 * thing at a time; and, where no other place is free, just enough idle ones of the same client, the longest silent
 * first. A client that still plays keeps its place.
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

/** A device may get another name while it plays; everything else about it stays. */
function renamed(device: Device | undefined, given: Device | undefined): Device | undefined {
  if (device === undefined || given?.name === undefined || given.id !== device.id) return device;
  return { ...device, name: given.name };
}

/**
 * Who names a phase gets that one or none. Who does not goes on where a live stream is: behind its window at its start,
 * and ahead of it with the newest phase once more, which may have grown.
 */
function wantedPhase(wanted: Ask['phase'], window: PhaseWindow, playing: HeldRecord | undefined): number {
  if (typeof wanted === 'number') return wanted;
  if (playing === undefined) return window.start;
  const following = wanted === 'same' || playing.run === 0 ? playing.phase : playing.phase + 1;
  if (window.live && following < window.oldest) return window.start;
  return window.live || wanted === 'same' ? Math.min(following, window.end - 1) : following;
}

type HandedOut = Pick<HeldRecord, 'playsUntil' | 'ahead' | 'run'>;

/** A playlist or a key is no phase: it adds nothing to what is left to play. */
function handOutNothing(
  former: HeldRecord | undefined,
  playing: HeldRecord | undefined,
  phase: number,
  policy: Policy,
  now: number,
): HandedOut {
  const playsUntil = now + leftToPlay(former, policy, now);
  // A live window that has moved on took the phases of the run with it.
  return playing?.phase === phase
    ? { playsUntil, ahead: playing.ahead, run: playing.run }
    : { playsUntil, ahead: 0, run: 0 };
}

/**
 * A phase that the session still holds and fetches again (a retry, another quality) adds nothing. Any other one, further
 * on or after a seek or a move, adds its duration to what is left to play.
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
  const left = leftToPlay(former, policy, now);
  const { ahead = 0, run = 0, phase: last = phase } = playing ?? {};
  const furthest = last + ahead;
  const unplayed = Math.min(run, Math.ceil(left / window.phaseMs));
  if (run > 0 && (phase === last || (phase <= furthest && phase > furthest - unplayed)))
    return { playsUntil: now + left, ahead: Math.min(MAX_RUN, furthest - phase), run };
  const inRow = run > 0 && phase === furthest + 1;
  const mostLeft = paced && inRow ? policy.pacedAheadMs : policy.maxAheadMs;
  if (left > mostLeft) return { retryAt: now + left - mostLeft };
  const duration = phase === window.end - 1 ? window.lastPhaseMs : window.phaseMs;
  return { playsUntil: now + left + duration, ahead: 0, run: inRow ? Math.min(MAX_RUN, run + 1) : 1 };
}

/**
 * How many milliseconds the session has left to play. Its player may have gone on for up to X before it was first kept
 * alive as a paused one. A clock that was set back makes nothing longer.
 */
function leftToPlay(record: HeldRecord | undefined, { idleAfterMs }: Policy, now: number): number {
  if (record === undefined) return 0;
  const { playsUntil, lastActivityAt, pausedMs } = record;
  const left = playsUntil - lastActivityAt - Math.min(pausedMs, idleAfterMs);
  return Math.max(0, left - Math.max(0, now - lastActivityAt));
}

function sessionEnded({ endedAt, reason, replacedBy }: EndedRecord): SessionEnded {
  return { outcome: 'session-ended', endedAt, reason, replacedBy };
}

/** What an admission hands out, to be confirmed or withdrawn when it is known whether the phase arrived. */
export interface Grant {
  readonly sessionId: string;
  readonly startedAt: number;
  readonly version: number;
  readonly former: Undone | undefined;
}

/** What an undo restores. */
export type Undone = Pick<
  HeldRecord,
  'lastActivityAt' | 'streamId' | 'phase' | 'playsUntil' | 'ahead' | 'run' | 'pausedMs'
>;

export interface Outcome {
  readonly changes: readonly Change[];
  readonly records: readonly SessionRecord[];
}

/** The first phase arrived: the session becomes permanent. Nothing changes where its place is gone meanwhile. */
export function confirm(records: readonly SessionRecord[], grant: Grant): Outcome {
  const own = records.find((record) => record.sessionId === grant.sessionId);
  if (own?.status !== 'reserved' || own.startedAt !== grant.startedAt) return { changes: [], records };
  const record: HeldRecord = { ...own, status: 'permanent' };
  return { changes: [{ type: 'started', record }], records: replace(records, own, record) };
}

/** The phase did not arrive: the admission is undone, unless something happened to the session since. */
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

/** As much of a record as an undo restores. */
export function undone(record: Undone): Undone {
  const { lastActivityAt, streamId, phase, playsUntil, ahead, run, pausedMs } = record;
  return { lastActivityAt, streamId, phase, playsUntil, ahead, run, pausedMs };
}

export type Keeping =
  | { readonly outcome: 'kept'; readonly record: HeldRecord; readonly records: readonly SessionRecord[] }
  | SessionEnded
  | { readonly outcome: 'session-not-found' };

/**
 * A paused player says that it is still there: its last activity moves, without a phase. From `maxPauseMs` after its
 * last phase on, and before its first one arrived, nothing moves any more.
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
  // The clock may have been set back.
  const pausedMs = Math.max(0, now - own.lastActivityAt) + own.pausedMs;
  if (own.status === 'reserved' || pausedMs >= policy.maxPauseMs)
    return { outcome: 'kept', record: own, records };
  const record = {
    ...own,
    lastActivityAt: now,
    playsUntil: now + Math.max(0, own.playsUntil - own.lastActivityAt),
    pausedMs,
    version: nextVersion(own.version),
  };
  return { outcome: 'kept', record, records: replace(records, own, record) };
}

/**
 * A sign of life of a player that plays, from elsewhere: its last activity moves forward to `at`, never past now and
 * never back. It creates nothing and hands out nothing.
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
  /** Those that held a place and lost it just now. */
  readonly ended: readonly HeldRecord[];
  /** Those that were asked for and had been ended before, within the last n·X. */
  readonly endedBefore: readonly string[];
}

/** Closes sessions on purpose. Their places are free at once, and their clients are told so for n·X. */
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

/** Claims what is due: expired sessions are reported, lapsed reservations and ended ones are forgotten. */
export function expire(records: readonly SessionRecord[], policy: Policy, now: number): Outcome {
  const due = records.filter((record) => dueAt(record, policy) <= now);
  return {
    changes: due.filter((record) => record.status !== 'ended').map(claim),
    records: records.filter((record) => !due.includes(record)),
  };
}

/** An outage shorter than this is a hiccup, however short n·X is. */
export const SHORTEST_OUTAGE_MS = 5_000;

/**
 * Until when a sweep claims nothing. When nobody has swept for longer than n·X, service or store were away, and the
 * silence of the sessions is no fault of theirs: each gets one X to ask again. `graceUntil` is what this said last.
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

/** The end of a session that was not closed by anybody; one that never began was only undone. */
function claim(record: SessionRecord): Change {
  const held = record as HeldRecord;
  return { type: held.status === 'reserved' ? 'undone' : 'expired', record: held };
}

/** What has not started yet starts with the stream that it plays by then. */
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

/** Order of ids by their (ASCII) bytes. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
