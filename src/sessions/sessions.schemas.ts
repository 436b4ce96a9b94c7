import { type Static, Type } from '@sinclair/typebox';
import { component, idSchema, instant, instantSchema, object, oneOfTexts } from '../http/fields.js';
import { type EndReason } from './admission.js';
import { type Session } from './session.js';
import { EVENT_TYPES, type SessionEvent } from './session-events.js';

export const USER_ID = idSchema('The user that the limit is for.', 'ana');
export const SESSION_ID = idSchema('One place to watch, held by one client.', 'living-room');

export const LIMIT = Type.Integer({
  minimum: 1,
  description: 'How many sessions the user may hold at once.',
});

const END_REASONS = ['user', 'operator', 'replaced'] as const satisfies readonly EndReason[];

export const SESSION = component('Session', {
  session_id: SESSION_ID,
  user_id: USER_ID,
  stream_id: idSchema('The stream that the session plays now.', 'test-pattern'),
  state: oneOfTexts(['active', 'idle'], {
    description: 'A session is idle when it has asked for nothing for X seconds.',
  }),
  started_at: instantSchema('When the session was admitted.'),
  last_activity_at: instantSchema('When the session last received a phase.'),
  idle_at: instantSchema('When the session turns idle if it stays silent: last activity + X.'),
  expires_at: instantSchema('When its place becomes free if it stays silent: last activity + n·X.'),
  phase: Type.Integer({ minimum: 0, description: 'The phase that the session received last.' }),
});
export type SessionJson = Static<typeof SESSION>;

/** The session of a reply. The store answers with live sessions only; expired ones appear in events alone. */
export function sessionJson(session: Session): SessionJson {
  return sessionMembers(session as Session & { readonly state: SessionJson['state'] });
}

function sessionMembers<State extends string>(
  session: Omit<Session, 'state'> & { readonly state: State },
): Omit<SessionJson, 'state'> & { state: State } {
  return {
    session_id: session.sessionId,
    user_id: session.userId,
    stream_id: session.streamId,
    state: session.state,
    started_at: instant(session.startedAt),
    last_activity_at: instant(session.lastActivityAt),
    idle_at: instant(session.idleAt),
    expires_at: instant(session.expiresAt),
    phase: session.phase,
  };
}

export const KEPT_SESSION = component('KeptSession', { session: SESSION });
export type KeptSessionJson = Static<typeof KEPT_SESSION>;

export const SESSION_LIST = component('SessionList', {
  user_id: USER_ID,
  limit: LIMIT,
  sessions: Type.Array(SESSION, { description: 'The live sessions, oldest first.' }),
});
export type SessionListJson = Static<typeof SESSION_LIST>;

/** The problems 409 and 410, with their further members. */
export const LIMIT_REACHED = {
  code: 'session-limit-reached',
  members: object({
    limit: LIMIT,
    sessions: Type.Array(SESSION, { description: 'The sessions that hold the places.' }),
    retry_after_seconds: Type.Number({
      exclusiveMinimum: 0,
      description: 'When a place becomes free if all sessions listed stay silent.',
    }),
  }),
} as const;
export type LimitReachedMembers = Static<typeof LIMIT_REACHED.members>;

export const SESSION_ENDED = {
  code: 'session-ended',
  members: object({
    ended_at: instantSchema('When the session was ended.'),
    reason: oneOfTexts(END_REASONS, { description: '`replaced`: by end_session_ids.' }),
  }),
} as const;
export type SessionEndedMembers = Static<typeof SESSION_ENDED.members>;

const EVENT_SESSION = component('EventSession', {
  ...SESSION.properties,
  state: oneOfTexts(['active', 'idle', 'expired', 'ended']),
  reason: Type.Optional(oneOfTexts(END_REASONS, { description: 'Why the session was ended.' })),
});

const REFUSED_SESSION = component('RefusedSession', {
  session_id: SESSION_ID,
  user_id: USER_ID,
  stream_id: idSchema('The stream that it asked for.', 'test-pattern'),
  reason: Type.Literal('session-limit-reached'),
});

/** The body of a callback. */
export const EVENT = component('Event', {
  type: oneOfTexts(EVENT_TYPES),
  timestamp: instantSchema('When it happened.'),
  data: Type.Union([EVENT_SESSION, REFUSED_SESSION], {
    description: 'The session as it was then. For `session.refused`, its ids alone: it never was a session.',
  }),
});
export type EventJson = Static<typeof EVENT>;

export function callbackJson(event: SessionEvent): EventJson {
  return { type: event.type, timestamp: instant(event.at), data: eventDataJson(event) };
}

/** What an event says of its session: the data of a callback, and of a Server-Sent Event. */
export function eventDataJson({
  userId,
  sessionId,
  streamId,
  session,
  reason,
}: SessionEvent): EventJson['data'] {
  if (session === undefined || reason === 'session-limit-reached')
    return {
      session_id: sessionId,
      user_id: userId,
      stream_id: streamId,
      reason: 'session-limit-reached',
    };
  return { ...sessionMembers(session), ...(reason === undefined ? {} : { reason }) };
}
