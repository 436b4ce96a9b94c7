import {
  type Decision,
  type Grant,
  type HeldRecord,
  type Policy,
  type SessionEnded,
  type SessionRecord,
  ALL_SESSIONS,
  admit,
  end,
  expiresAt,
  idleAt,
  keepAlive,
  latestQuota,
  live,
  undone,
} from '../../src/sessions/admission.js';
import { type Question, type Reply, type ReplyBody, type RunLine, type SessionBody } from './history.js';

/** What the rule does with one request at one instant. */
export interface Answer {
  /** What the API must reply. */
  readonly reply: Reply;
  readonly records: readonly SessionRecord[];
  /** If a place was taken or renewed: what a later confirmation or withdrawal names. */
  readonly grant: Grant | undefined;
  /** The instant from which on a client may ask again, if the reply says so relative to now. */
  readonly retryAt?: number;
}

/** Answers a request by the pure rule, in the words of the API. The mapping is written anew: it shares no code with it. */
export function answer(
  ask: Question,
  user: string,
  records: readonly SessionRecord[],
  { policy, streams }: Pick<RunLine, 'policy' | 'streams'>,
  now: number,
): Answer {
  const unchanged = (reply: Reply): Answer => ({ reply, records, grant: undefined });
  const quota = { maxSessions: ask.limit };
  switch (ask.do) {
    case 'phase': {
      const { session, stream, phase, endSessions = [], device } = ask;
      const window = streams[stream] ?? undefined;
      const wanted = { sessionId: session, streamId: stream, phase, window, endSessionIds: endSessions };
      const decision = admit(records, { ...wanted, quota, device }, policy, now);
      if (decision.outcome === 'admitted') return admitted(decision, user, ask.limit, policy, now);
      const { outcome } = decision;
      if (outcome === 'session-ended') return unchanged(ended(decision));
      if (outcome === 'phase-not-found')
        return unchanged({
          status: 404,
          body: { code: window === undefined ? 'stream-not-found' : outcome },
        });
      const retry_after_seconds = (decision.retryAt - now) / 1_000;
      if (outcome === 'too-far-ahead')
        return {
          ...unchanged({ status: 429, body: { code: outcome, retry_after_seconds } }),
          retryAt: decision.retryAt,
        };
      const sessions = decision.holders.map((record) => shown(record, user, policy, now));
      const body = { code: 'session-limit-reached', limit: ask.limit, sessions, retry_after_seconds };
      return unchanged({ status: 409, body });
    }
    case 'keepalive': {
      const kept = keepAlive(records, ask.session, policy, now);
      if (kept.outcome === 'session-ended') return unchanged(ended(kept));
      if (kept.outcome === 'session-not-found')
        return unchanged({ status: 404, body: { code: kept.outcome } });
      const { record } = kept;
      const session = shown(record, user, policy, now);
      // The first phase is on its way: the place is held for the lease, and no longer for certain.
      const lease = record.lastActivityAt + policy.leaseMs;
      const held = {
        idle_at: text(Math.min(lease, idleAt(record, policy))),
        expires_at: text(lease),
      };
      const body = { session: record.status === 'reserved' ? { ...session, ...held } : session };
      const reply = { status: 200, body };
      return { reply, records: kept.records, grant: undefined };
    }
    case 'list': {
      const held = live(records, policy, now);
      const limit = (latestQuota(held) ?? quota).maxSessions;
      const sessions = held.map((record) => shown(record, user, policy, now));
      return unchanged({ status: 200, body: { sessions, limit } });
    }
    case 'end': {
      const named = ask.session === undefined ? ALL_SESSIONS : [ask.session];
      const ending = end(records, named, ask.reason, policy, now);
      const known = named === ALL_SESSIONS || ending.ended.length + ending.endedBefore.length > 0;
      const reply: Reply = known ? { status: 204 } : { status: 404, body: { code: 'session-not-found' } };
      return { reply, records: ending.records, grant: undefined };
    }
  }
}

function admitted(
  { record, created, former, live: count, records }: Extract<Decision, { outcome: 'admitted' }>,
  user: string,
  limit: number,
  policy: Policy,
  now: number,
): Answer {
  const { sessionId, startedAt, version } = record;
  const body: ReplyBody = {
    session: shown(record, user, policy, now),
    sessions: { live: count, limit },
    phase: record.phase,
  };
  const grant = { sessionId, startedAt, version, former: former && undone(former) };
  return { reply: { status: created ? 201 : 200, body }, records, grant };
}

function ended({ endedAt, reason, replacedBy }: SessionEnded): Reply {
  const by = replacedBy && {
    session_id: replacedBy.sessionId,
    ...(replacedBy.device === undefined ? {} : { device: replacedBy.device }),
  };
  const body = { code: 'session-ended', ended_at: text(endedAt), reason };
  return { status: 410, body: { ...body, ...(by === undefined ? {} : { replaced_by: by }) } };
}

function shown(record: HeldRecord, user: string, policy: Policy, now: number): SessionBody {
  const idle = idleAt(record, policy);
  return {
    session_id: record.sessionId,
    user_id: user,
    stream_id: record.streamId,
    state: now < idle ? 'active' : 'idle',
    started_at: text(record.startedAt),
    last_activity_at: text(record.lastActivityAt),
    plays_until: text(record.playsUntil),
    idle_at: text(idle),
    expires_at: text(expiresAt(record, policy)),
    phase: record.phase,
    ...(record.device === undefined ? {} : { device: record.device }),
  };
}

function text(instant: number): string {
  return new Date(instant).toISOString();
}

/** Whether two replies, or parts of them, say the same. The order of members does not matter. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => same(a[name as keyof typeof a], (b as Record<string, unknown>)[name]))
  );
}

/**
 * The instant at which the reply was decided, where its members tell: the last activity of an admission, and of a refusal
 * the time until the first place is free, counted back from then.
 */
export function decidedAt({ do: verb }: Question, { status, body }: Reply): number | undefined {
  if (verb !== 'phase' || body === undefined) return undefined;
  if (status === 200 || status === 201) return Date.parse(body.session?.last_activity_at ?? '');
  if (status !== 409) return undefined;
  const { sessions = [], limit = 0, retry_after_seconds = NaN } = body;
  if (!('length' in sessions)) return NaN;
  const free = sessions.map(({ expires_at }) => Date.parse(expires_at)).toSorted((a, b) => a - b);
  return (free[sessions.length - limit] ?? NaN) - Math.round(retry_after_seconds * 1_000);
}
