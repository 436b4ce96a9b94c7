import { Problem, retryAfter } from '../http/problem.js';
import { type Quota } from './quota.js';
import { type Admission } from './session.js';
import { StoreUnavailableError } from './session.repository.js';
import { type LimitReachedMembers, type SessionEndedMembers, sessionJson } from './sessions.schemas.js';
import { instant } from '../http/fields.js';

/** About as long as the first try of a failover takes. */
const STORE_RETRY_SECONDS = 1;

/** What a client is told of an admission that was refused for its session's or its user's sake. */
export function refusal(
  admission: Extract<Admission, { outcome: 'session-ended' | 'limit-reached' }>,
  { maxSessions: limit }: Quota,
): Problem {
  if (admission.outcome === 'session-ended') return sessionEnded(admission);
  const seconds = (admission.retryAt - admission.now) / 1_000;
  const members: LimitReachedMembers = {
    limit,
    sessions: admission.sessions.map(sessionJson),
    retry_after_seconds: seconds,
  };
  return new Problem(
    'session-limit-reached',
    `End one of the ${admission.sessions.length} sessions listed, by DELETE or by naming it in end_session_ids, or ask again later.`,
    { members, headers: { 'retry-after': retryAfter(seconds) } },
  );
}

export function sessionEnded({ endedAt, reason }: Extract<Admission, { outcome: 'session-ended' }>): Problem {
  const members: SessionEndedMembers = { ended_at: instant(endedAt), reason };
  return new Problem('session-ended', 'Start a new session, with another session_id or none.', { members });
}

export function sessionNotFound(): Problem {
  return new Problem('session-not-found', 'List the sessions of the user to see which there are.');
}

/** The problem of an error that the store throws. */
export function storeProblem(error: unknown): Problem | undefined {
  if (!(error instanceof StoreUnavailableError)) return undefined;
  return new Problem('store-unavailable', 'Ask again after the time in Retry-After.', {
    headers: { 'retry-after': retryAfter(STORE_RETRY_SECONDS) },
    cause: error.announced ? undefined : error,
  });
}
