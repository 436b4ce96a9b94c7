import { type JsonSchema, idSchema, instant, instantSchema } from '../http/fields.js';
import { type Session } from './session.js';
import { EVENT_TYPES, type SessionEvent } from './session-events.js';

export const USER_ID = idSchema('Whoever the limit is for.', 'ana');
export const SESSION_ID = idSchema('One place to watch, held by one client.', 'living-room');

export interface SessionJson {
  session_id: string;
  user_id: string;
  stream_id: string;
  state: string;
  started_at: string;
  last_activity_at: string;
  idle_at: string;
  expires_at: string;
  phase: number;
}

export function sessionJson(session: Omit<Session, 'state'> & { readonly state: string }): SessionJson {
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

/** What is told of an event: the session as it was then. One that was refused never was, but for its ids. */
export function eventJson({ userId, sessionId, streamId, session, reason }: SessionEvent): object {
  return {
    ...(session ? sessionJson(session) : { session_id: sessionId, user_id: userId, stream_id: streamId }),
    ...(reason === undefined ? {} : { reason }),
  };
}

export const SESSION: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: [
    'session_id',
    'user_id',
    'stream_id',
    'state',
    'started_at',
    'last_activity_at',
    'idle_at',
    'expires_at',
    'phase',
  ],
  properties: {
    session_id: SESSION_ID,
    user_id: USER_ID,
    stream_id: idSchema('The stream that it plays now.', 'test-pattern'),
    state: { enum: ['active', 'idle'], description: 'Idle: it asked for nothing for X seconds.' },
    started_at: instantSchema('When it was admitted.'),
    last_activity_at: instantSchema('When it last took a phase.'),
    idle_at: instantSchema('When it turns idle if it stays silent: last activity + X.'),
    expires_at: instantSchema('When its place is free if it stays silent: last activity + n·X.'),
    phase: { type: 'integer', minimum: 0, description: 'The phase that it took last.' },
  },
};

export const KEPT_SESSION: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['session'],
  properties: { session: SESSION },
};

export const SESSION_LIST: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['user_id', 'limit', 'sessions'],
  properties: {
    user_id: USER_ID,
    limit: { type: 'integer', minimum: 1 },
    sessions: { type: 'array', items: SESSION, description: 'Live ones, oldest first.' },
  },
};

/** Members of the 409 and 410 problems. */
export const LIMIT_REACHED = {
  code: 'session-limit-reached',
  members: {
    limit: { type: 'integer', minimum: 1 },
    sessions: { type: 'array', items: SESSION },
    retry_after_seconds: {
      type: 'number',
      exclusiveMinimum: 0,
      description: 'When a place would be free if the sessions listed stayed silent.',
    },
  },
} as const;

export const SESSION_ENDED = {
  code: 'session-ended',
  members: {
    ended_at: instantSchema('When it was ended.'),
    reason: { enum: ['user', 'operator', 'replaced'], description: '`replaced`: by end_session_ids.' },
  },
} as const;

const EVENT_SESSION: JsonSchema = {
  ...SESSION,
  properties: {
    ...(SESSION.properties as object),
    state: { enum: ['active', 'idle', 'expired', 'ended'] },
    reason: { enum: ['user', 'operator', 'replaced'], description: 'Why it was ended.' },
  },
};

const REFUSED_SESSION: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['session_id', 'user_id', 'stream_id', 'reason'],
  properties: {
    session_id: SESSION_ID,
    user_id: USER_ID,
    stream_id: idSchema('The stream that it asked for.', 'test-pattern'),
    reason: { const: 'session-limit-reached' },
  },
};

/** The body of a callback. */
export const EVENT: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['type', 'timestamp', 'data'],
  properties: {
    type: { enum: EVENT_TYPES },
    timestamp: instantSchema('When it happened.'),
    data: {
      oneOf: [EVENT_SESSION, REFUSED_SESSION],
      description: 'The session as it was then; of `session.refused`, its ids.',
    },
  },
};
