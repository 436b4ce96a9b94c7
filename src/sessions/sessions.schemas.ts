import { type Static, Type } from '@sinclair/typebox';
import { component, idSchema, instant, instantSchema, object, oneOfTexts } from '../http/fields.js';
import { type EndReason, type Replacement, type SessionEnded } from './admission.js';
import { type Device, MAX_DEVICE_NAME } from './device.js';
import { type Session } from './session.js';
import { EVENT_TYPES, type SessionEvent } from './session-events.js';

export const USER_ID = idSchema('The user that the limit is for.', 'ana');
export const SESSION_ID = idSchema('One place to watch, held by one client.', 'living-room');

export const LIMIT = Type.Integer({
  minimum: 1,
  description: 'How many sessions the user may hold at once.',
});

const END_REASONS = ['user', 'operator', 'replaced'] as const satisfies readonly EndReason[];

/** The longest texts of a device, in characters. */
const MAX_DEVICE_TYPE = 32;

export const DEVICE = component('Device', {
  id: idSchema('The device, the same each time that it plays.', 'living-room-tv'),
  name: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: MAX_DEVICE_NAME,
      description: 'For people to recognise it by.',
      examples: ['Living-room TV'],
    }),
  ),
  type: Type.Optional(
    Type.String({ minLength: 1, maxLength: MAX_DEVICE_TYPE, examples: ['tv', 'phone', 'web'] }),
  ),
  shared: Type.Optional(
    Type.Boolean({
      description:
        'True for a device that may play several things at once, such as a browser with tabs. Otherwise a new session ' +
        'of the device takes the place of its former one.',
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
  stream_id: idSchema('The stream that the session plays now.', 'test-pattern'),
  state: oneOfTexts(['active', 'idle'], {
    description:
      'A session is idle when it has asked for nothing for X seconds and has nothing left to play.',
  }),
  started_at: instantSchema('When the session was admitted.'),
  last_activity_at: instantSchema('When the session last received a phase.'),
  plays_until: instantSchema(
    'When everything that the session was handed out would have been played at normal speed.',
  ),
  idle_at: instantSchema(
    'When the session turns idle if it stays silent: the later of last activity + X and plays_until.',
  ),
  expires_at: instantSchema('When its place becomes free if it stays silent: idle_at + (n-1)·X.'),
  phase: Type.Integer({ minimum: 0, description: 'The phase that the session received last.' }),
  device: Type.Optional(DEVICE),
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
    reason: oneOfTexts(END_REASONS, {
      description: '`replaced`: another session took its place, by end_session_ids or on the same device.',
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

/** The problem 429 of a session that was handed out enough. */
export const TOO_FAR_AHEAD = {
  code: 'too-far-ahead',
  members: object({
    retry_after_seconds: Type.Number({
      exclusiveMinimum: 0,
      description: 'When little enough is left to play.',
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
  replacedBy,
}: SessionEvent): EventJson['data'] {
  if (session === undefined || reason === 'session-limit-reached')
    return {
      session_id: sessionId,
      user_id: userId,
      stream_id: streamId,
      reason: 'session-limit-reached',
    };
  return {
    ...sessionMembers(session),
    ...(reason === undefined ? {} : { reason }),
    ...(replacedBy === undefined ? {} : { replaced_by: replacementJson(replacedBy) }),
  };
}
