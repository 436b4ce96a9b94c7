import { type Static, Type } from '@sinclair/typebox';
import { MAX_SUBJECT_BYTES } from '../auth/subjects.js';
import { component, idSchema, instant, instantSchema, object, oneOfTexts } from '../http/fields.js';
import { type EndReason, type Replacement, type SessionEnded } from './admission.js';
import { type Device, MAX_DEVICE_NAME } from './device.js';
import { type Session } from './session.js';
import { EVENT_TYPES, type Refusal, type SessionEvent } from './session-events.js';

export const USER_ID = idSchema('The user that the limit is for.', 'ana');
/** How a request names a user. With AUTH_MODE=none only ids are valid (`app.ts`). */
export const USER_NAME = Type.String({
  minLength: 1,
  maxLength: MAX_SUBJECT_BYTES,
  description:
    'The user that the limit is for: the id as replies have it, or with AUTH_MODE=jwt the very subject that the issuer uses.',
  examples: ['ana'],
});
const SUBJECT = Type.String({
  description: 'The user as the issuer names them; present where it is known and differs from user_id.',
  examples: ['auth0|507f1f77bcf86cd799439011'],
});
export const SESSION_ID = idSchema('One place to watch, held by one client.', 'living-room');

export const LIMIT = Type.Integer({
  minimum: 1,
  description: 'How many sessions the user may hold at the same time.',
});

const END_REASONS = ['user', 'operator', 'replaced', 'left'] as const satisfies readonly EndReason[];

/** The maximum length of the type of a device, in characters. */
const MAX_DEVICE_TYPE = 32;

export const DEVICE = component('Device', {
  id: idSchema('The id of the device. It must be the same in each session.', 'living-room-tv'),
  name: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: MAX_DEVICE_NAME,
      description: 'A name for people.',
      examples: ['Living-room TV'],
    }),
  ),
  type: Type.Optional(
    Type.String({ minLength: 1, maxLength: MAX_DEVICE_TYPE, examples: ['tv', 'phone', 'web'] }),
  ),
  shared: Type.Optional(
    Type.Boolean({
      description:
        'True for a device that can play several streams at the same time, such as a browser with tabs. Otherwise a ' +
        'new session of the device takes the place of its previous session.',
    }),
  ),
});

function deviceJson({ id, name, type, shared }: Device): Static<typeof DEVICE> {
  return {
    id,
    ...(name === undefined ? {} : { name }),
    ...(type === undefined ? {} : { type }),
    ...(shared === undefined ? {} : { shared }),
  };
}

/** The session that took the place of another one. */
const REPLACEMENT = object({ session_id: SESSION_ID, device: Type.Optional(DEVICE) });

function replacementJson({ sessionId, device }: Replacement): Static<typeof REPLACEMENT> {
  return { session_id: sessionId, ...(device === undefined ? {} : { device: deviceJson(device) }) };
}

export const SESSION = component('Session', {
  session_id: SESSION_ID,
  user_id: USER_ID,
  subject: Type.Optional(SUBJECT),
  stream_id: idSchema('The stream that the session plays now.', 'test-pattern'),
  state: oneOfTexts(['active', 'idle'], {
    description: 'A session is idle when it has sent no request for X seconds and has nothing left to play.',
  }),
  started_at: instantSchema('When the session was admitted.'),
  last_activity_at: instantSchema('When the session last received a phase.'),
  plays_until: instantSchema(
    'When everything that the session received would have been played at normal speed.',
  ),
  idle_at: instantSchema(
    'When the session becomes idle if it sends no request: the later of last_activity_at + X and plays_until.',
  ),
  expires_at: instantSchema('When its place becomes free if it sends no request: idle_at + (n-1)·X.'),
  phase: Type.Integer({ minimum: 0, description: 'The phase that the session received last.' }),
  device: Type.Optional(DEVICE),
});
export type SessionJson = Static<typeof SESSION>;

/**
 * The session of a reply. The store answers with live sessions only; expired ones appear only in events. `subject` is
 * that of the viewer who owns the session, if the request names it.
 */
export function sessionJson(session: Session, subject: string | undefined): SessionJson {
  return sessionMembers(session as Session & { readonly state: SessionJson['state'] }, subject);
}

function sessionMembers<State extends string>(
  session: Omit<Session, 'state'> & { readonly state: State },
  subject?: string,
): Omit<SessionJson, 'state'> & { state: State } {
  return {
    session_id: session.sessionId,
    user_id: session.userId,
    ...(subject === undefined ? {} : { subject }),
    stream_id: session.streamId,
    state: session.state,
    started_at: instant(session.startedAt),
    last_activity_at: instant(session.lastActivityAt),
    plays_until: instant(session.playsUntil),
    idle_at: instant(session.idleAt),
    expires_at: instant(session.expiresAt),
    phase: session.phase,
    ...(session.device === undefined ? {} : { device: deviceJson(session.device) }),
  };
}

export const KEPT_SESSION = component('KeptSession', { session: SESSION });
export type KeptSessionJson = Static<typeof KEPT_SESSION>;

export const SESSION_LIST = component('SessionList', {
  user_id: USER_ID,
  subject: Type.Optional(SUBJECT),
  limit: LIMIT,
  sessions: Type.Array(SESSION, { description: 'The live sessions, oldest first.' }),
});
export type SessionListJson = Static<typeof SESSION_LIST>;

/** The problems 409 and 410, with their additional members. */
export const LIMIT_REACHED = {
  code: 'session-limit-reached',
  members: object({
    limit: LIMIT,
    sessions: Type.Array(SESSION, { description: 'The sessions that hold the places.' }),
    retry_after_seconds: Type.Number({
      exclusiveMinimum: 0,
      description: 'In how many seconds a place becomes free if the listed sessions send no requests.',
    }),
  }),
} as const;
export type LimitReachedMembers = Static<typeof LIMIT_REACHED.members>;

export const SESSION_ENDED = {
  code: 'session-ended',
  members: object({
    ended_at: instantSchema('When the session was ended.'),
    reason: oneOfTexts(END_REASONS, {
      description:
        '`replaced`: another session took its place, with end_session_ids or because it is on the same device. `left`: ' +
        'its player quit, and may start again.',
    }),
    replaced_by: Type.Optional(REPLACEMENT),
  }),
} as const;
export type SessionEndedMembers = Static<typeof SESSION_ENDED.members>;

export function sessionEndedMembers({ endedAt, reason, replacedBy }: SessionEnded): SessionEndedMembers {
  return {
    ended_at: instant(endedAt),
    reason,
    ...(replacedBy === undefined ? {} : { replaced_by: replacementJson(replacedBy) }),
  };
}

/** The problem 429 of a session that has enough left to play. */
export const TOO_FAR_AHEAD = {
  code: 'too-far-ahead',
  members: object({
    retry_after_seconds: Type.Number({
      exclusiveMinimum: 0,
      description: 'In how many seconds the session may request the phase again.',
    }),
  }),
} as const;
export type TooFarAheadMembers = Static<typeof TOO_FAR_AHEAD.members>;

const EVENT_SESSION = component('EventSession', {
  ...SESSION.properties,
  state: oneOfTexts(['active', 'idle', 'expired', 'ended']),
  reason: Type.Optional(oneOfTexts(END_REASONS, { description: 'Why the session was ended.' })),
  replaced_by: Type.Optional(REPLACEMENT),
});

const REFUSED_SESSION = component('RefusedSession', {
  session_id: SESSION_ID,
  user_id: USER_ID,
  subject: Type.Optional(SUBJECT),
  stream_id: idSchema('The stream that was requested.', 'test-pattern'),
  reason: Type.Literal('session-limit-reached'),
  device: Type.Optional(DEVICE),
  limit: Type.Optional(LIMIT),
  sessions: Type.Optional(
    Type.Array(SESSION, {
      description: 'The sessions that held the places then, ten at most. Only streams of events have it.',
    }),
  ),
});

/** The body of a callback. */
export const EVENT = component('Event', {
  type: oneOfTexts(EVENT_TYPES),
  timestamp: instantSchema('When the event happened.'),
  data: Type.Union([EVENT_SESSION, REFUSED_SESSION], {
    description: 'The session at that instant. For `session.refused` only ids, since no session was created.',
  }),
});
export type EventJson = Static<typeof EVENT>;

export function callbackJson(event: SessionEvent): EventJson {
  return { type: event.type, timestamp: instant(event.at), data: eventDataJson(event) };
}

/** The data of a callback and of a Server-Sent Event: the session of the event. */
export function eventDataJson({
  userId,
  subject,
  sessionId,
  streamId,
  session,
  reason,
  replacedBy,
  refusal,
}: SessionEvent): EventJson['data'] {
  if (session === undefined || reason === 'session-limit-reached')
    return {
      session_id: sessionId,
      user_id: userId,
      ...(subject === undefined ? {} : { subject }),
      stream_id: streamId,
      reason: 'session-limit-reached',
      ...(refusal === undefined ? {} : refusalMembers(refusal, subject)),
    };
  return {
    ...sessionMembers(session, subject),
    ...(reason === undefined ? {} : { reason }),
    ...(replacedBy === undefined ? {} : { replaced_by: replacementJson(replacedBy) }),
  };
}

function refusalMembers(
  { device, limit, holders }: Refusal,
  subject: string | undefined,
): Partial<Static<typeof REFUSED_SESSION>> {
  return {
    ...(device === undefined ? {} : { device: deviceJson(device) }),
    limit,
    sessions: holders.map((holder) => sessionJson(holder, subject)),
  };
}
