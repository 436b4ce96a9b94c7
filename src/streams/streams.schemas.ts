import { type JsonSchema, idSchema, instant, instantSchema } from '../http/fields.js';
import { SESSION, SESSION_ID, type SessionJson, USER_ID } from '../sessions/sessions.schemas.js';
import { type Segment } from './phases.js';
import { type IssuedPhase } from './catalogue.js';

/** 2^31 - 1: no stream has as many phases, and every store can count them. */
const MAX_PHASE = 2_147_483_647;
const MAX_RENDITION = 9_999;
const MAX_END_SESSION_IDS = 100;

export const STREAM_ID = idSchema('Something watchable.', 'test-pattern');

const REQUEST_USER_ID = {
  ...USER_ID,
  description:
    'Whoever the limit is for. With AUTH_MODE=jwt it may be left out: it is the `sub` of the token.',
};

/** Who asks for what, of a phase and of a ticket. */
const ASKED = {
  user_id: REQUEST_USER_ID,
  stream_id: STREAM_ID,
  session_id: { ...SESSION_ID, description: 'Absent: a new session, whose id the server makes.' },
};

/** The body of a request for a phase; Fastify compiles it, the documentation shows it. */
export const PHASE_REQUEST: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['user_id', 'stream_id'],
  properties: {
    ...ASKED,
    phase: {
      type: 'integer',
      minimum: 0,
      maximum: MAX_PHASE,
      description: 'Absent: the next one after the last that this session took of the stream that it plays.',
    },
    rendition: {
      type: 'integer',
      minimum: 0,
      maximum: MAX_RENDITION,
      description:
        'Which rendition, as GET /v1/streams/{stream_id}/renditions numbers them. Absent: the first variant.',
    },
    end_session_ids: {
      type: 'array',
      maxItems: MAX_END_SESSION_IDS,
      items: SESSION_ID,
      description:
        'Sessions of the same user to end if, and only if, this one is admitted, in one atomic step.',
    },
  },
};

export interface PhaseRequestJson extends TicketRequestJson {
  phase?: number;
  rendition?: number;
  end_session_ids?: string[];
}

/** The body of a request for a ticket, as above. */
export const TICKET_REQUEST: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['user_id', 'stream_id'],
  properties: ASKED,
};

export interface TicketRequestJson {
  user_id?: string;
  stream_id: string;
  session_id?: string;
}

export interface TicketReplyJson {
  ticket: string;
  playback_url: string;
  expires_at: string;
}

export const TICKET_REPLY: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['ticket', 'playback_url', 'expires_at'],
  properties: {
    ticket: { type: 'string', description: 'A JWT for this user, session and stream, and for nothing else.' },
    playback_url: {
      type: 'string',
      format: 'uri',
      description: 'The playlist of this session: with the ticket, or with AUTH_MODE=none by name.',
    },
    expires_at: instantSchema('Until when the ticket opens the playlist; what is open by then plays on.'),
  },
};

/** To try out, in this order. */
export const PHASE_EXAMPLES = {
  first: {
    summary: 'A first session, or its next phase',
    value: { user_id: 'ana', stream_id: 'test-pattern', session_id: 'tv' },
  },
  seek: {
    summary: 'A seek',
    value: { user_id: 'ana', stream_id: 'test-pattern', session_id: 'tv', phase: 5 },
  },
  move: {
    summary: 'A move to another stream',
    value: { user_id: 'ana', stream_id: 'colour-bars', session_id: 'tv' },
  },
  new: {
    summary: 'A new session, its id made by the server',
    value: { user_id: 'ana', stream_id: 'test-pattern' },
  },
  replace: {
    summary: 'A new session in the place of another',
    value: { user_id: 'ana', stream_id: 'test-pattern', session_id: 'laptop', end_session_ids: ['tv'] },
  },
};

interface SegmentJson {
  url: string;
  duration_seconds: number;
  init_url?: string;
  byte_range?: { offset: number; length: number };
}

interface PhaseJson {
  index: number;
  start_seconds: number;
  duration_seconds: number;
  last: boolean;
  segments: SegmentJson[];
  expires_at: string;
}

export interface PhaseReplyJson {
  session: SessionJson;
  phase: PhaseJson;
  sessions: { live: number; limit: number };
  next_request_in_seconds: number;
  playback_url: string;
}

/** `media` is what the URLs begin with. */
export function phaseJson(phase: IssuedPhase, media: string): PhaseJson {
  return {
    index: phase.index,
    start_seconds: phase.startSeconds,
    duration_seconds: phase.durationSeconds,
    last: phase.last,
    segments: phase.segments.map((segment) => segmentJson(segment, media)),
    expires_at: instant(phase.expiresAt),
  };
}

function segmentJson(
  { path, foreign, durationSeconds, initPath, byteRange }: Segment,
  media: string,
): SegmentJson {
  return {
    url: foreign ? path : media + path,
    duration_seconds: durationSeconds,
    ...(initPath === undefined ? {} : { init_url: media + initPath }),
    ...(byteRange === undefined ? {} : { byte_range: byteRange }),
  };
}

const SEGMENT: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['url', 'duration_seconds'],
  properties: {
    url: { type: 'string', format: 'uri', description: 'Signed; works until the expires_at of the phase.' },
    duration_seconds: { type: 'number', minimum: 0 },
    init_url: { type: 'string', format: 'uri', description: 'The initialisation section of fragmented MP4.' },
    byte_range: {
      type: 'object',
      additionalProperties: false,
      required: ['offset', 'length'],
      properties: { offset: { type: 'integer', minimum: 0 }, length: { type: 'integer', minimum: 0 } },
      description: 'Where the segment is a part of what the URL names.',
    },
  },
};

export const PHASE_REPLY: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['session', 'phase', 'sessions', 'next_request_in_seconds', 'playback_url'],
  properties: {
    session: SESSION,
    phase: {
      type: 'object',
      additionalProperties: false,
      required: ['index', 'start_seconds', 'duration_seconds', 'last', 'segments', 'expires_at'],
      properties: {
        index: { type: 'integer', minimum: 0 },
        start_seconds: { type: 'number', minimum: 0 },
        duration_seconds: { type: 'number', exclusiveMinimum: 0 },
        last: { type: 'boolean' },
        segments: {
          type: 'array',
          items: SEGMENT,
          description: 'Those that start in the phase; empty where none does.',
        },
        expires_at: instantSchema('When the URLs cease to work.'),
      },
    },
    sessions: {
      type: 'object',
      additionalProperties: false,
      required: ['live', 'limit'],
      properties: { live: { type: 'integer', minimum: 1 }, limit: { type: 'integer', minimum: 1 } },
    },
    next_request_in_seconds: {
      type: 'number',
      exclusiveMinimum: 0,
      description: 'When to ask for the next phase.',
    },
    playback_url: {
      type: 'string',
      format: 'uri',
      description:
        'The playlist of this session, for a player that knows nothing of phases; with AUTH_MODE=jwt it has to be ' +
        'opened within minutes.',
    },
  },
};

export const STREAM: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['stream_id', 'kind', 'phase_seconds'],
  properties: {
    stream_id: STREAM_ID,
    kind: { enum: ['vod', 'live'] },
    duration_seconds: { type: 'number', exclusiveMinimum: 0 },
    phase_seconds: { type: 'number', exclusiveMinimum: 0, description: 'X.' },
    phases: { type: 'integer', minimum: 1, description: 'Phase k exists when 0 <= k < phases.' },
  },
};

export const STREAM_LIST: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['streams'],
  properties: { streams: { type: 'array', items: STREAM } },
};

export const RENDITION_LIST: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['renditions'],
  properties: {
    renditions: {
      type: 'array',
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['rendition', 'type'],
        properties: {
          rendition: { type: 'integer', minimum: 0, maximum: MAX_RENDITION },
          type: { enum: ['variant', 'trick-play', 'audio', 'video', 'subtitles'] },
          bandwidth: { type: 'integer', minimum: 0, description: 'Bits a second.' },
          codecs: { type: 'string' },
          resolution: {
            type: 'object',
            additionalProperties: false,
            required: ['width', 'height'],
            properties: { width: { type: 'integer' }, height: { type: 'integer' } },
          },
          name: { type: 'string' },
          language: { type: 'string' },
        },
      },
    },
  },
};
