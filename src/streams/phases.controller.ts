import { Controller, Post, Req, Res } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBody, ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { ForViewers, viewerOf } from '../auth/access.js';
import { Tickets } from '../auth/tickets.js';
import { type Viewer, deviceOf } from '../auth/viewers.js';
import { instant } from '../http/fields.js';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { delivered } from '../http/delivery.js';
import { addressOf } from '../http/connections.js';
import { ApiProblems, OF_VIEWERS, schemaOf } from '../http/docs.js';
import { Problem } from '../http/problem.js';
import { RateLimits } from '../http/rate-limits.js';
import { type Admission } from '../sessions/session.js';
import { refusal } from '../sessions/sessions.errors.js';
import { LIMIT_REACHED, SESSION_ENDED, TOO_FAR_AHEAD, sessionJson } from '../sessions/sessions.schemas.js';
import { Admissions } from '../sessions/admissions.js';
import { playbackUrl } from './playback.js';
import { streamProblem } from './streams.errors.js';
import {
  PHASE_EXAMPLES,
  PHASE_REPLY,
  PHASE_REQUEST,
  MINIMAL_PHASE_REPLY,
  type MinimalPhaseReplyJson,
  type PhaseReplyJson,
  type PhaseRequestJson,
  phaseJson,
} from './streams.schemas.js';
import { type StreamLookup, Catalogue, windowOfPhase } from './catalogue.js';
import { MediaUrls } from './media-urls.js';
import { nextRequestIn } from './phases.js';

/** With `Prefer: return=minimal` the reply is the shorter one. */
const REPLY = { oneOf: [schemaOf(PHASE_REPLY), schemaOf(MINIMAL_PHASE_REPLY)] };

/** The hot path: one look-up in memory and one call to the store. Fastify validates the body instead of a pipe of Nest. */
@ApiTags('phases')
@Controller('v1/phases')
export class PhasesController {
  private readonly byTicket: boolean;
  /** Less than n·X. With n = 1, a client that waits exactly X would find its session expired at each request. */
  private readonly longestWaitSeconds: number;

  constructor(
    private readonly sessions: Admissions,
    private readonly streams: Catalogue,
    private readonly urls: MediaUrls,
    private readonly tickets: Tickets,
    private readonly limits: RateLimits,
    private readonly clock: Clock,
    config: Config,
  ) {
    this.byTicket = config.AUTH_MODE === 'jwt';
    this.longestWaitSeconds = (0.9 * config.policy.expireAfterMs) / 1_000;
  }

  @Post()
  @ForViewers({ needsAddress: true })
  @RouteSchema({ body: PHASE_REQUEST })
  @ApiOperation({
    summary: 'Request a phase',
    description:
      'Starts a session, continues it, or moves it to another stream. The new place, or the new last activity, is kept ' +
      'only if the reply is delivered.',
  })
  @ApiBody({ schema: schemaOf(PHASE_REQUEST), examples: PHASE_EXAMPLES })
  @ApiResponse({
    status: 201,
    description: 'A session was created, or admitted again after it had expired.',
    schema: REPLY,
    headers: { Location: { description: 'The path of the session.', schema: { type: 'string' } } },
  })
  @ApiResponse({
    status: 200,
    description: 'A live session continued, or moved to another stream.',
    schema: REPLY,
  })
  @ApiProblems(
    'malformed-request',
    ...OF_VIEWERS,
    'stream-not-found',
    'phase-not-found',
    LIMIT_REACHED,
    SESSION_ENDED,
    TOO_FAR_AHEAD,
    'payload-too-large',
    'unsupported-media-type',
    'invalid-request',
    'rate-limited',
    'origin-unavailable',
    'store-unavailable',
  )
  async askForPhase(
    // Not @Body(): Nest would validate the body again in a pipe, which costs as much as the decision.
    @Req() request: FastifyRequest<{ Body: PhaseRequestJson }>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<PhaseReplyJson | MinimalPhaseReplyJson | undefined> {
    const { body } = request;
    const self = addressOf(request);
    const viewer = viewerOf(request);
    const budget = this.limits.ofSession(viewer.userId, body.session_id);
    const exceeded = budget.check(request, reply);
    if (exceeded) await exceeded;
    const { stream_id, rendition } = body;
    const lookup =
      this.streams.known(stream_id, rendition) ?? (await this.streams.find(stream_id, rendition));
    if (reply.raw.destroyed) return undefined; // the client disconnected during the read of the origin

    // Without a stream there is no window. Then the store only checks for other refusals, and takes no place.
    const admission = await this.sessions.admit(
      {
        userId: viewer.userId,
        subject: viewer.subject,
        sessionId: body.session_id,
        streamId: stream_id,
        phase: body.phase,
        window:
          lookup.outcome === 'found' && lookup.window
            ? windowOfPhase(lookup.window, lookup.stream, body.phase)
            : undefined,
        endSessionIds: body.end_session_ids ?? [],
        quota: viewer.quota,
        device: deviceOf(viewer, body.device),
      },
      { arrives: () => delivered(reply.raw), isMedia: true },
    );
    if (admission.outcome !== 'admitted' || lookup.outcome !== 'found')
      throw this.refuse(admission, lookup, viewer);

    const { session, live, created, degraded } = admission;
    budget.noteAdmitted(session.sessionId);
    const phase = this.urls.issue(lookup.stream, session.phase, rendition);
    const nextRequest = Math.min(
      nextRequestIn(lookup.stream, phase, this.clock.now()),
      this.longestWaitSeconds,
    );
    if (created) void reply.header('location', `/v1/users/${session.userId}/sessions/${session.sessionId}`);
    void reply.code(created ? 201 : 200);
    if (prefersMinimal(request)) {
      void reply.header('preference-applied', 'return=minimal');
      return {
        phase: phaseJson(phase, this.urls.base(self)),
        expires_at: instant(session.expiresAt),
        next_request_in_seconds: nextRequest,
        ...(degraded && { degraded }),
      };
    }
    const ticket = this.byTicket
      ? await this.tickets.issue('playlist', { ...session, subject: viewer.subject, quota: viewer.quota })
      : undefined;
    return {
      session: sessionJson(session, viewer.subject),
      phase: phaseJson(phase, this.urls.base(self)),
      sessions: { live, limit: viewer.quota.maxSessions },
      next_request_in_seconds: nextRequest,
      playback_url: playbackUrl(self, session, ticket?.ticket),
      ...(degraded && { degraded }),
    };
  }

  private refuse(admission: Admission, lookup: StreamLookup, { quota, subject }: Viewer): Problem {
    switch (admission.outcome) {
      case 'session-ended':
      case 'limit-reached':
      case 'too-far-ahead':
        return refusal(admission, quota, subject);
      case 'admitted':
      case 'phase-not-found':
    }
    if (lookup.outcome !== 'found') return streamProblem(lookup.outcome);
    const { window } = lookup;
    return new Problem(
      'phase-not-found',
      window === undefined
        ? 'The stream has no phase yet: try again later.'
        : `Request one of the phases ${window.oldest} to ${window.end - 1}.`,
    );
  }
}

/** Whether the client prefers the minimal reply (RFC 7240). Unknown preferences are ignored. */
function prefersMinimal({ headers: { prefer } }: FastifyRequest): boolean {
  return prefer !== undefined && /(^|[,;])\s*return\s*=\s*"?minimal"?\s*($|[,;])/i.test(String(prefer));
}
