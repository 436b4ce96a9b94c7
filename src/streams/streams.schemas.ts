import { type Static, Type } from '@sinclair/typebox';
import { component, idSchema, instant, instantSchema, object, oneOfTexts } from '../http/fields.js';
import { DEVICE, LIMIT, SESSION, SESSION_ID, USER_ID } from '../sessions/sessions.schemas.js';
import { type StreamSummary } from './seen-streams.js';
import { type Segment } from './phases.js';
import { type IssuedPhase } from './media-urls.js';

/** 2^31 - 1: no stream has as many phases, and every store can count them. */
const MAX_PHASE = 2_147_483_647;
const MAX_RENDITION = 9_999;
const MAX_END_SESSION_IDS = 100;

export const STREAM_ID = idSchema('Something watchable.', 'test-pattern');

/** The members that requests for a phase and for a ticket share. */
const ASKED = {
  user_id: Type.Optional({
    ...USER_ID,
    description:
      'The user that the limit is for. It is required with AUTH_MODE=none. With AUTH_MODE=jwt it may be left out: ' +
      'it is the `sub` of the token.',
  }),
  stream_id: STREAM_ID,
  session_id: Type.Optional({
    ...SESSION_ID,
    description: 'Absent: a new session, whose id the server makes.',
  }),
  device: Type.Optional(DEVICE),
};

export const PHASE_REQUEST = component('PhaseRequest', {
  ...ASKED,
  phase: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: MAX_PHASE,
      description:
        'Absent: the next one after the last that this session received of the stream that it plays.',
    }),
  ),
  rendition: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: MAX_RENDITION,
      description:
        'Which rendition, as GET /v1/streams/{stream_id}/renditions numbers them. Absent: the first variant.',
    }),
  ),
  end_session_ids: Type.Optional(
    Type.Array(SESSION_ID, {
      maxItems: MAX_END_SESSION_IDS,
      description:
        'Sessions of the same user to end if, and only if, this one is admitted, in one atomic step.',
    }),
  ),
});
export type PhaseRequestJson = Static<typeof PHASE_REQUEST>;

/** To try out in the documentation, in this order. */
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
} satisfies Record<string, { summary: string; value: PhaseRequestJson }>;

export const TICKET_REQUEST = component('TicketRequest', {
  ...ASKED,
  for: Type.Optional(
    oneOfTexts(['play', 'cmcd'], {
      description:
        '`play`, the default: opens the playlist. `cmcd`: the event target of a player, POST /v1/cmcd.',
    }),
  ),
});
export type TicketRequestJson = Static<typeof TICKET_REQUEST>;

export const TICKET_REPLY = component('Ticket', {
  ticket: Type.String({ description: 'A JWT for this user, session and stream, and for nothing else.' }),
  playback_url: Type.String({
    format: 'uri',
    description: 'The playlist of this session: with the ticket, or with AUTH_MODE=none by name.',
  }),
  expires_at: instantSchema('Until when the ticket opens the playlist; what is open by then plays on.'),
});
export type TicketReplyJson = Static<typeof TICKET_REPLY>;

const SEGMENT = component('Segment', {
  url: Type.String({ format: 'uri', description: 'Signed; works until the expires_at of the phase.' }),
  duration_seconds: Type.Number({ minimum: 0 }),
  init_url: Type.Optional(
    Type.String({ format: 'uri', description: 'The initialisation section of fragmented MP4.' }),
  ),
  byte_range: Type.Optional(
    object(
      { offset: Type.Integer({ minimum: 0 }), length: Type.Integer({ minimum: 0 }) },
      { description: 'Where the segment is a part of what the URL names.' },
    ),
  ),
});
type SegmentJson = Static<typeof SEGMENT>;

/** `media` is what the URLs begin with. */
function segmentJson({ path, durationSeconds, initPath, byteRange }: Segment, media: string): SegmentJson {
  return {
    url: media + path,
    duration_seconds: durationSeconds,
    ...(initPath === undefined ? {} : { init_url: media + initPath }),
    ...(byteRange === undefined ? {} : { byte_range: byteRange }),
  };
}

const PHASE = component('Phase', {
  index: Type.Integer({ minimum: 0 }),
  start_seconds: Type.Number({ minimum: 0 }),
  duration_seconds: Type.Number({ exclusiveMinimum: 0 }),
  last: Type.Boolean({ description: 'No phase follows.' }),
  segments: Type.Array(SEGMENT, {
    description: 'The segments that start in the phase; empty where none does.',
  }),
  expires_at: instantSchema('When the URLs cease to work.'),
});
type PhaseJson = Static<typeof PHASE>;

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

export const PHASE_REPLY = component('PhaseReply', {
  session: SESSION,
  phase: PHASE,
  sessions: object({
    live: Type.Integer({ minimum: 1, description: 'How many sessions the user holds now.' }),
    limit: LIMIT,
  }),
  next_request_in_seconds: Type.Number({
    exclusiveMinimum: 0,
    description: 'When to ask for the next phase.',
  }),
  playback_url: Type.String({
    format: 'uri',
    description:
      'The playlist of this session, for a player that knows nothing of phases. With AUTH_MODE=jwt it has to be ' +
      'opened within minutes.',
  }),
});
export type PhaseReplyJson = Static<typeof PHASE_REPLY>;

/** The reply to a client that sends `Prefer: return=minimal`: what it needs each time, and no more. */
export const MINIMAL_PHASE_REPLY = component('MinimalPhaseReply', {
  phase: PHASE,
  expires_at: instantSchema('When the place becomes free if the session stays silent.'),
  next_request_in_seconds: PHASE_REPLY.properties.next_request_in_seconds,
});
export type MinimalPhaseReplyJson = Static<typeof MINIMAL_PHASE_REPLY>;

export const STREAM = component('Stream', {
  stream_id: STREAM_ID,
  kind: oneOfTexts(['vod', 'live']),
  duration_seconds: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
  phase_seconds: Type.Number({ exclusiveMinimum: 0, description: 'X.' }),
  phases: Type.Optional(
    Type.Integer({
      minimum: 1,
      description: 'Phase k exists when 0 <= k < phases. Absent for a live stream, whose phases come and go.',
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
  rendition: Type.Integer({ minimum: 0, maximum: MAX_RENDITION, description: 'Its number, for a request.' }),
  type: oneOfTexts(['variant', 'trick-play', 'audio', 'video', 'subtitles']),
  bandwidth: Type.Optional(Type.Integer({ minimum: 0, description: 'Bits a second.' })),
  codecs: Type.Optional(Type.String()),
  resolution: Type.Optional(object({ width: Type.Integer(), height: Type.Integer() })),
  name: Type.Optional(Type.String()),
  language: Type.Optional(Type.String()),
});
type RenditionJson = Static<typeof RENDITION>;

/** Names the members one by one: the address of a rendition at the origin is not shown to clients. */
export function renditionJson(
  rendition: number,
  { type, bandwidth, codecs, resolution, name, language }: Omit<RenditionJson, 'rendition'>,
): RenditionJson {
  return { rendition, type, bandwidth, codecs, resolution, name, language };
}

export const RENDITION_LIST = component('RenditionList', { renditions: Type.Array(RENDITION) });
export type RenditionListJson = Static<typeof RENDITION_LIST>;
