import { type Static, Type } from '@sinclair/typebox';
import {
  component,
  STREAM_NAME,
  idSchema,
  instant,
  instantSchema,
  object,
  oneOfTexts,
} from '../http/fields.js';
import { DEVICE, LIMIT, SESSION, SESSION_ID, USER_NAME } from '../sessions/sessions.schemas.js';
import { type StreamSummary } from './seen-streams.js';
import { type Resource, type Segment, type SegmentKey } from './phases.js';
import { type IssuedPhase } from './media-urls.js';

/** The largest number that JSON and every store hold exactly. Live streams may be numbered by a clock in microseconds. */
const MAX_PHASE = Number.MAX_SAFE_INTEGER;
const MAX_RENDITION = 9_999;
const MAX_END_SESSION_IDS = 100;

export const STREAM_ID = idSchema('The id of a stream: a film or a channel.', 'test-pattern', STREAM_NAME);

/** The members that requests for a phase and for a ticket share. */
const ASKED = {
  user_id: Type.Optional({
    ...USER_NAME,
    description:
      'The user that the limit is for, by id. It is required with AUTH_MODE=none. With AUTH_MODE=jwt it may be left ' +
      'out, since the token names the user, and it may also be the subject that the token has.',
  }),
  stream_id: STREAM_ID,
  session_id: Type.Optional({
    ...SESSION_ID,
    description: 'Absent: a new session. The server makes its id.',
  }),
  device: Type.Optional(DEVICE),
};

export const PHASE_REQUEST = component('PhaseRequest', {
  ...ASKED,
  phase: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: MAX_PHASE,
      description: 'Absent: the phase after the last one that this session received of its stream.',
    }),
  ),
  rendition: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: MAX_RENDITION,
      description:
        'The number of a rendition, from GET /v1/streams/{stream_id}/renditions. Absent: the first variant, or the next ' +
        'one where that is gone or empty.',
    }),
  ),
  end_session_ids: Type.Optional(
    Type.Array(SESSION_ID, {
      maxItems: MAX_END_SESSION_IDS,
      description:
        'Sessions of the same user that are ended if, and only if, this one is admitted, in one atomic step.',
    }),
  ),
});
export type PhaseRequestJson = Static<typeof PHASE_REQUEST>;

/** Examples to try in the documentation, in this order. */
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
    summary: 'A new session with an id of the server',
    value: { user_id: 'ana', stream_id: 'test-pattern' },
  },
  replace: {
    summary: 'A new session that replaces another one',
    value: { user_id: 'ana', stream_id: 'test-pattern', session_id: 'laptop', end_session_ids: ['tv'] },
  },
} satisfies Record<string, { summary: string; value: PhaseRequestJson }>;

export const TICKET_REQUEST = component('TicketRequest', {
  ...ASKED,
  stream_id: Type.Optional({
    ...STREAM_ID,
    description: 'The stream to play. Required, except with `for: events`: a stream of events has none.',
  }),
  for: Type.Optional(
    oneOfTexts(['play', 'cmcd', 'events'], {
      description:
        '`play`, the default: opens the playlist. `cmcd`: the event target of a player, POST /v1/cmcd. `events`: the ' +
        "user's event stream, GET /v1/users/{user_id}/events?ticket=….",
    }),
  ),
});
export type TicketRequestJson = Static<typeof TICKET_REQUEST>;

/** What requests are checked against. The OpenAPI document has the condition in words. */
export const TICKET_BODY = {
  ...TICKET_REQUEST,
  if: { properties: { for: { const: 'events' } }, required: ['for'] },
  else: { required: ['stream_id'] },
};

export const TICKET_REPLY = component('Ticket', {
  ticket: Type.String({ description: 'A JWT that is valid only for this user, session and stream.' }),
  playback_url: Type.Optional(
    Type.String({
      format: 'uri',
      description:
        'The URL of the playlist for this session, to be opened within minutes. It has the ticket, or another one if the ' +
        'ticket is not for `play`; with AUTH_MODE=none, the ids. Absent without a stream_id.',
    }),
  ),
  events_url: Type.Optional(
    Type.String({
      format: 'uri',
      description: 'With `for: events`: the URL for EventSource, with the ticket.',
    }),
  ),
  expires_at: instantSchema(
    'Until when the ticket is accepted. A playlist that was opened before plays on; a stream of events ends then.',
  ),
});
export type TicketReplyJson = Static<typeof TICKET_REPLY>;

const BYTE_RANGE = object(
  { offset: Type.Integer({ minimum: 0 }), length: Type.Integer({ minimum: 0 }) },
  { description: 'The part of what the URL names.' },
);

const URL_OF_MEDIA = Type.String({
  format: 'uri',
  description: 'Signed, and works until the expires_at of the phase; of another host, as the origin has it.',
});

const KEY = {
  method: Type.String({ description: 'As EXT-X-KEY has it, such as AES-128.' }),
  url: Type.Optional(URL_OF_MEDIA),
  iv: Type.Optional(Type.String({ description: 'Absent: it is made of `sequence`.' })),
  format: Type.Optional(Type.String({ description: 'KEYFORMAT; absent for identity.' })),
};

const SEGMENT = component('Segment', {
  url: URL_OF_MEDIA,
  duration_seconds: Type.Number({ minimum: 0 }),
  sequence: Type.Optional(Type.Integer({ description: 'The media sequence number.' })),
  byte_range: Type.Optional(BYTE_RANGE),
  init: Type.Optional(
    object(
      {
        url: URL_OF_MEDIA,
        byte_range: Type.Optional(BYTE_RANGE),
        key: Type.Optional(
          object(KEY, {
            description:
              'How the section is encrypted. Absent: as the segment. With the method NONE, it is not encrypted.',
          }),
        ),
      },
      { description: 'The initialisation section to decode before the segment, of fragmented MP4.' },
    ),
  ),
  init_url: Type.Optional(
    Type.String({ format: 'uri', deprecated: true, description: 'As init.url, for clients of release 0.1.' }),
  ),
  key: Type.Optional(object(KEY, { description: 'How the segment is encrypted.' })),
  discontinuity: Type.Optional(
    Type.Literal(true, { description: 'Timestamps, tracks or encoding begin anew with the segment.' }),
  ),
  gap: Type.Optional(Type.Literal(true, { description: 'The segment is missing: do not load it.' })),
  program_date_time: Type.Optional(
    Type.String({ format: 'date-time', description: 'When its first sample was recorded.' }),
  ),
});
type SegmentJson = Static<typeof SEGMENT>;

/** `media` is what the URLs begin with. */
function segmentJson(segment: Segment, media: string): SegmentJson {
  const { durationSeconds, sequence, byteRange, init, key, programDateTime } = segment;
  const urlOf = ({ path, foreign }: Resource): string => (foreign ? path : media + path);
  const json: SegmentJson = { url: urlOf(segment), duration_seconds: durationSeconds };
  if (sequence !== undefined) json.sequence = sequence;
  if (byteRange !== undefined) json.byte_range = byteRange;
  if (init !== undefined) {
    json.init = {
      url: urlOf(init),
      ...(init.byteRange && { byte_range: init.byteRange }),
      ...(init.key && { key: keyJson(init.key, urlOf) }),
    };
    json.init_url = json.init.url;
  }
  if (key !== undefined) json.key = keyJson(key, urlOf);
  if (segment.discontinuity) json.discontinuity = true;
  if (segment.gap) json.gap = true;
  if (programDateTime !== undefined) json.program_date_time = programDateTime;
  return json;
}

function keyJson(
  { method, path, foreign, iv, format }: SegmentKey,
  urlOf: (resource: Resource) => string,
): NonNullable<SegmentJson['key']> {
  return {
    method,
    ...(path === undefined ? {} : { url: urlOf({ path, ...(foreign && { foreign }) }) }),
    ...(iv === undefined ? {} : { iv }),
    ...(format === undefined ? {} : { format }),
  };
}

const PHASE = component('Phase', {
  index: Type.Integer({ minimum: 0 }),
  start_seconds: Type.Number({ minimum: 0 }),
  duration_seconds: Type.Number({ exclusiveMinimum: 0 }),
  last: Type.Boolean({ description: 'True if no phase follows.' }),
  segments: Type.Array(SEGMENT, {
    description: 'The segments that start in the phase; empty if none does.',
  }),
  expires_at: instantSchema('When the URLs expire.'),
});
type PhaseJson = Static<typeof PHASE>;

/** `media` is the beginning of the URLs. */
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

const DEGRADED = Type.Optional(
  Type.Literal(true, {
    description:
      'The store is away, and this instance continued the session by itself (STORE_DOWN_POLICY=open), for a bounded time.',
  }),
);

export const PHASE_REPLY = component('PhaseReply', {
  session: SESSION,
  phase: PHASE,
  sessions: object({
    live: Type.Integer({ minimum: 1, description: 'How many sessions the user holds now.' }),
    limit: LIMIT,
  }),
  next_request_in_seconds: Type.Number({
    exclusiveMinimum: 0,
    description: 'In how many seconds to request the next phase.',
  }),
  playback_url: Type.String({
    format: 'uri',
    description:
      'The URL of the playlist for this session, for a player that does not use phases. With AUTH_MODE=jwt the player ' +
      'must open it within minutes.',
  }),
  degraded: DEGRADED,
});
export type PhaseReplyJson = Static<typeof PHASE_REPLY>;

/** The reply to a client that sends `Prefer: return=minimal`: only the members that change with each phase. */
export const MINIMAL_PHASE_REPLY = component('MinimalPhaseReply', {
  phase: PHASE,
  expires_at: instantSchema('When the place becomes free if the session sends no request.'),
  next_request_in_seconds: PHASE_REPLY.properties.next_request_in_seconds,
  degraded: DEGRADED,
});
export type MinimalPhaseReplyJson = Static<typeof MINIMAL_PHASE_REPLY>;

export const STREAM = component('Stream', {
  stream_id: STREAM_ID,
  kind: oneOfTexts(['vod', 'live']),
  duration_seconds: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
  phase_seconds: Type.Number({ exclusiveMinimum: 0, description: 'X, the duration of a phase.' }),
  phases: Type.Optional(
    Type.Integer({
      minimum: 1,
      description: 'Phase k exists when 0 <= k < phases. Absent for a live stream, whose phases change.',
    }),
  ),
});
export type StreamJson = Static<typeof STREAM>;

export function streamJson({
  streamId,
  kind,
  durationSeconds,
  phaseSeconds,
  phases,
}: StreamSummary): StreamJson {
  return {
    stream_id: streamId,
    kind,
    duration_seconds: durationSeconds,
    phase_seconds: phaseSeconds,
    phases: kind === 'vod' ? phases : undefined,
  };
}

export const STREAM_LIST = component('StreamList', { streams: Type.Array(STREAM) });
type StreamListJson = Static<typeof STREAM_LIST>;

export function streamListJson(streams: readonly StreamSummary[]): StreamListJson {
  return { streams: streams.map(streamJson) };
}

const RENDITION = component('Rendition', {
  rendition: Type.Integer({
    minimum: 0,
    maximum: MAX_RENDITION,
    description: 'The number of the rendition, for requests.',
  }),
  type: oneOfTexts(['variant', 'trick-play', 'audio', 'video', 'subtitles']),
  bandwidth: Type.Optional(Type.Integer({ minimum: 0, description: 'Bits per second.' })),
  codecs: Type.Optional(Type.String()),
  resolution: Type.Optional(object({ width: Type.Integer(), height: Type.Integer() })),
  name: Type.Optional(Type.String()),
  language: Type.Optional(Type.String()),
});
type RenditionJson = Static<typeof RENDITION>;

/** Picks the members one by one, so that clients do not see the address of a rendition at the origin. */
export function renditionJson(
  rendition: number,
  { type, bandwidth, codecs, resolution, name, language }: Omit<RenditionJson, 'rendition'>,
): RenditionJson {
  return { rendition, type, bandwidth, codecs, resolution, name, language };
}

export const RENDITION_LIST = component('RenditionList', { renditions: Type.Array(RENDITION) });
export type RenditionListJson = Static<typeof RENDITION_LIST>;
