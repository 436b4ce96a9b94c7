import { Problem, retryAfter } from '../http/problem.js';
import { type SessionEnded } from './admission.js';
import { type Quota } from './quota.js';
import { type Admission } from './session.js';
import { StoreUnavailableError } from './session.repository.js';
import {
  type LimitReachedMembers,
  type TooFarAheadMembers,
  sessionEndedMembers,
  sessionJson,
} from './sessions.schemas.js';

/** About the duration of the first attempt of a failover. */
const STORE_RETRY_SECONDS = 1;

/** The refusals that concern the session or its user, and not the stream. */
export type Refusal = Extract<Admission, { outcome: 'session-ended' | 'limit-reached' | 'too-far-ahead' }>;

/** The problem of a refused request. `subject` is the user's name at the issuer. */
export function refusal(
  admission: Refusal,
  { maxSessions: limit }: Quota,
  subject: string | undefined,
): Problem {
  if (admission.outcome === 'session-ended') return sessionEnded(admission);
  const seconds = (admission.retryAt - admission.now) / 1_000;
  if (admission.outcome === 'too-far-ahead') return tooFarAhead(seconds);
  const members: LimitReachedMembers = {
    limit,
    sessions: admission.sessions.map((session) => sessionJson(session, subject)),
    retry_after_seconds: seconds,
  };
  return new Problem(
    'session-limit-reached',
    `End one of the ${admission.sessions.length} sessions listed, by DELETE or with end_session_ids, or try again later.`,
    { members, headers: { 'retry-after': retryAfter(seconds) } },
  );
}

function tooFarAhead(seconds: number): Problem {
  const members: TooFarAheadMembers = { retry_after_seconds: seconds };
  return new Problem(
    'too-far-ahead',
    'The session has enough left to play. Request the next phase after the time in Retry-After.',
    { members, headers: { 'retry-after': retryAfter(seconds) } },
  );
}

export function sessionEnded(ended: SessionEnded): Problem {
  const members = sessionEndedMembers(ended);
  return new Problem('session-ended', 'Start a new session: send another session_id, or none.', { members });
}

export function sessionNotFound(): Problem {
  return new Problem('session-not-found', 'List the sessions of the user to see the existing ones.');
}

/** The problem of an error that the store throws. */
export function storeProblem(error: unknown): Problem | undefined {
  if (!(error instanceof StoreUnavailableError)) return undefined;
  return new Problem('store-unavailable', 'Try again after the time in Retry-After.', {
    headers: { 'retry-after': retryAfter(STORE_RETRY_SECONDS) },
    cause: error.announced ? undefined : error,
  });
}
