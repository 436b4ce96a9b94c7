import { Controller, Post, Req, Res } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBearerAuth, ApiBody, ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { Tickets } from '../auth/tickets.js';
import { Viewers } from '../auth/viewers.js';
import { Config } from '../config/config.js';
import { delivered } from '../http/delivery.js';
import { addressOf } from '../http/connections.js';
import { ApiProblems, OF_VIEWERS, VIEWER_TOKEN } from '../http/docs.js';
import { Problem } from '../http/problem.js';
import { RateLimits } from '../http/rate-limits.js';
import { type Admission } from '../sessions/session.js';
import { refusal } from '../sessions/sessions.errors.js';
import { LIMIT_REACHED, SESSION_ENDED, sessionJson } from '../sessions/sessions.schemas.js';
import { Admissions } from '../sessions/admissions.js';
import { playbackUrl } from './playback.js';
import { streamProblem } from './streams.errors.js';
import {
  PHASE_EXAMPLES,
  PHASE_REPLY,
  PHASE_REQUEST,
  type PhaseReplyJson,
  type PhaseRequestJson,
  phaseJson,
} from './streams.schemas.js';
import { type StreamLookup, Catalogue } from './catalogue.js';

/** The hot path: one lookup in memory, one call to the store. Its body is validated by Fastify, not by a pipe. */
@ApiTags('phases')
@ApiBearerAuth(VIEWER_TOKEN)
@Controller('v1/phases')
export class PhasesController {
  private readonly byTicket: boolean;
  /** With n = 1, a client that waited for X exactly would be expired each time that it asks. */
  private readonly longestWaitSeconds: number;

  constructor(
    private readonly sessions: Admissions,
    private readonly streams: Catalogue,
    private readonly viewers: Viewers,
    private readonly tickets: Tickets,
    private readonly limits: RateLimits,
    config: Config,
  ) {
    this.byTicket = config.AUTH_MODE === 'jwt';
    this.longestWaitSeconds = (0.9 * config.policy.expireAfterMs) / 1_000;
  }

  @Post()
  @RouteSchema({ body: PHASE_REQUEST })
  @ApiOperation({
    summary: 'Ask for a phase',
    description:
      'Starts a session, goes on with one, or moves one to another stream. The session is kept, and its last ' +
      'activity moves, only if the reply arrives.',
  })
  @ApiBody({ schema: PHASE_REQUEST as object, examples: PHASE_EXAMPLES })
  @ApiResponse({
    status: 201,
    description: 'A session was created, or admitted again.',
    schema: PHASE_REPLY,
    headers: { Location: { description: 'The session.', schema: { type: 'string' } } },
  })
  @ApiResponse({ status: 200, description: 'A live session went on, or moved.', schema: PHASE_REPLY })
  @ApiProblems(
    'malformed-request',
    ...OF_VIEWERS,
    'stream-not-found',
    'phase-not-found',
    LIMIT_REACHED,
    SESSION_ENDED,
    'payload-too-large',
    'unsupported-media-type',
    'invalid-request',
    'rate-limited',
    'origin-unavailable',
    'store-unavailable',
  )
  async askForPhase(
    // Not @Body(): a pipe would look at what is validated already, at the price of the whole decision.
    @Req() request: FastifyRequest<{ Body: PhaseRequestJson }>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<PhaseReplyJson | undefined> {
    const { body } = request;
    const self = addressOf(request);
    const viewer =
      this.viewers.known(request, body.user_id) ?? (await this.viewers.of(request, body.user_id));
    const exceeded = this.limits.ofUser(request, reply, viewer.userId);
    if (exceeded) await exceeded;
    const { stream_id, rendition } = body;
    const lookup =
      this.streams.known(stream_id, rendition) ?? (await this.streams.find(stream_id, rendition));
    if (reply.raw.destroyed) return undefined; // the client left while the origin was asked

    // A stream that failed is asked for with no phases: the store then refuses as it would have, and takes no place.
    const admission = await this.sessions.admit({
      userId: viewer.userId,
      sessionId: body.session_id,
      streamId: stream_id,
      phase: body.phase,
      phases: lookup.outcome === 'found' ? lookup.stream.phases : 0,
      live: lookup.outcome === 'found' ? lookup.stream.live : undefined,
      endSessionIds: body.end_session_ids ?? [],
      limit: viewer.limit,
    });
    if (admission.outcome !== 'admitted' || lookup.outcome !== 'found')
      throw this.refuse(admission, lookup, viewer.limit);

    const { session, live, created, place } = admission;
    void this.sessions.settle(place, delivered(reply.raw));
    const phase = this.streams.issue(lookup.stream, session.phase, rendition);
    const ticket = this.byTicket
      ? await this.tickets.issue('playlist', { ...session, limit: viewer.limit })
      : undefined;
    if (created) void reply.header('location', `/v1/users/${session.userId}/sessions/${session.sessionId}`);
    void reply.code(created ? 201 : 200);
    return {
      session: sessionJson(session),
      phase: phaseJson(phase, this.streams.mediaBase(self)),
      sessions: { live, limit: viewer.limit },
      next_request_in_seconds: Math.min(
        this.streams.nextRequestIn(lookup.stream, phase),
        this.longestWaitSeconds,
      ),
      playback_url: playbackUrl(self, session, ticket?.ticket),
    };
  }

  private refuse(admission: Admission, lookup: StreamLookup, limit: number): Problem {
    if (admission.outcome === 'session-ended' || admission.outcome === 'limit-reached')
      return refusal(admission, limit);
    if (lookup.outcome !== 'found') return streamProblem(lookup.outcome);
    const { live, phases } = lookup.stream;
    return new Problem('phase-not-found', `Ask for one of the phases ${live?.oldest ?? 0} to ${phases - 1}.`);
  }
}
