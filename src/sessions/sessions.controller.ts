import { Controller, Delete, Get, HttpCode, Param, Post, Req, Res } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import {
  ApiNoContentResponse,
  ApiOkResponse,
  ApiOperation,
  ApiParam,
  ApiQuery,
  ApiTags,
} from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { AcceptsAuditNote, Audit } from '../audit/audit.js';
import { ForViewers, ForViewersOrServices, userIdOfPath, viewerOf, viewerOrService } from '../auth/access.js';
import { Config } from '../config/config.js';
import { ApiProblems, OF_VIEWERS, schemaOf } from '../http/docs.js';
import { instant, oneOfTexts } from '../http/fields.js';
import { RateLimits } from '../http/rate-limits.js';
import { noteDecision } from '../http/request-notes.js';
import { ALL_SESSIONS, type EndReason } from './admission.js';
import { type EndResult, SessionRepository } from './session.repository.js';
import { sessionEnded, sessionNotFound } from './sessions.errors.js';
import {
  KEPT_SESSION,
  type KeptSessionJson,
  SESSION_ENDED,
  SESSION_ID,
  SESSION_LIST,
  type SessionListJson,
  USER_NAME,
  sessionJson,
} from './sessions.schemas.js';

/** The most sessions that one entry of the audit lists. */
const MAX_AUDITED = 20;

interface SessionParams {
  readonly session_id: string;
}

/** Fastify checks these, because 422 comes before 401, and pipes run only after the caller is identified. */
export const USER_PARAMS = { type: 'object', properties: { user_id: USER_NAME } };
const SESSION_PARAMS = { type: 'object', properties: { user_id: USER_NAME, session_id: SESSION_ID } };
const OWN_REASON = oneOfTexts(['user', 'left']);
const END_QUERY = { type: 'object', properties: { reason: OWN_REASON } };

@ApiTags('sessions')
@ApiParam({ name: 'user_id', schema: schemaOf(USER_NAME) })
@ApiProblems('invalid-request', ...OF_VIEWERS, 'rate-limited', 'store-unavailable')
@Controller('v1/users/:user_id/sessions')
export class SessionsController {
  constructor(
    private readonly sessions: SessionRepository,
    private readonly limits: RateLimits,
    private readonly config: Config,
    private readonly audit: Audit,
  ) {}

  @Get()
  @ForViewersOrServices('sessions:read')
  @RouteSchema({ params: USER_PARAMS })
  @ApiOperation({ summary: 'List the live sessions of a user' })
  @ApiOkResponse({
    description:
      "The user's live sessions, and the limit that the user's last admission was judged by. Without a live session " +
      'that is the limit of the token, or the usual one.',
    schema: schemaOf(SESSION_LIST),
  })
  async listSessions(
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<SessionListJson> {
    const viewer = viewerOrService(request);
    const userId = userIdOfPath(request);
    if (viewer) await this.limits.ofUser(request, reply, userId);
    const { quota, subject: kept, sessions } = await this.sessions.list(userId);
    const subject = viewer === undefined ? kept : viewer.subject;
    return {
      user_id: userId,
      ...(subject === undefined ? {} : { subject }),
      limit: (quota ?? viewer?.quota ?? this.config.policy.quota).maxSessions,
      sessions: sessions.map((session) => sessionJson(session, subject)),
    };
  }

  @Delete(':session_id')
  @ForViewersOrServices('sessions:end')
  @AcceptsAuditNote()
  @RouteSchema({ params: SESSION_PARAMS, querystring: END_QUERY })
  @HttpCode(204)
  @ApiOperation({
    summary: 'End one session',
    description:
      'Its place is free at once. Its client gets 410. A repetition within n·X seconds gets 204 again.',
  })
  @ApiParam({ name: 'session_id', schema: SESSION_ID })
  @ApiQuery({
    name: 'reason',
    schema: schemaOf(OWN_REASON),
    required: false,
    description:
      '`left`: the client of the session itself gives its place back, and may start again with the same id. Default: ' +
      '`user`. The end by a service always has the reason `operator`.',
  })
  @ApiNoContentResponse({ description: 'The session is ended.' })
  @ApiProblems('session-not-found')
  async endSession(
    @Param() { session_id }: SessionParams,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    const userId = userIdOfPath(request);
    const change = this.audit.begin(request, 'sessions.end', { user_id: userId, session_id });
    const ended = await this.endReason(request, reply, userId);
    const { reason } = request.query as { readonly reason?: 'user' | 'left' };
    const result = await change.run(
      () => this.sessions.end(userId, [session_id], ended === 'user' ? (reason ?? ended) : ended),
      effectOfEnd,
    );
    if (result.ended.length + result.endedBefore.length === 0) throw sessionNotFound();
    noteDecision({ decision: 'ended', session_id });
  }

  @Delete()
  @ForViewersOrServices('sessions:end')
  @AcceptsAuditNote()
  @RouteSchema({ params: USER_PARAMS })
  @HttpCode(204)
  @ApiOperation({ summary: 'End all sessions of a user' })
  @ApiNoContentResponse({ description: 'The user holds no session.' })
  async endAllSessions(
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    const userId = userIdOfPath(request);
    const change = this.audit.begin(request, 'sessions.end', { user_id: userId });
    const reason = await this.endReason(request, reply, userId);
    await change.run(() => this.sessions.end(userId, ALL_SESSIONS, reason), effectOfEnd);
    noteDecision({ decision: 'ended' });
  }

  @Post(':session_id/keepalive')
  @ForViewers()
  @RouteSchema({ params: SESSION_PARAMS })
  @HttpCode(200)
  @ApiOperation({
    summary: 'Keep the place of a paused player',
    description:
      'Moves `last_activity_at` without a phase. When MAX_PAUSE_SECONDS have passed since the last phase, it does not ' +
      'move any more, and the session expires. It does not move either while the first phase is on its way: then ' +
      '`expires_at` is at most 5 s after it, the instant until which the place is held if that phase does not arrive.',
  })
  @ApiParam({ name: 'session_id', schema: SESSION_ID })
  @ApiOkResponse({
    description: 'The session holds its place until `expires_at`.',
    schema: schemaOf(KEPT_SESSION),
  })
  @ApiProblems('session-not-found', SESSION_ENDED)
  async keepSessionAlive(
    @Param() { session_id }: SessionParams,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<KeptSessionJson> {
    const { userId, subject } = viewerOf(request);
    await this.limits.ofSession(userId, session_id).check(request, reply);
    const answer = await this.sessions.keepAlive(userId, session_id);
    switch (answer.outcome) {
      case 'kept':
        noteDecision({ decision: 'kept', session_id, stream_id: answer.session.streamId });
        return { session: sessionJson(answer.session, subject) };
      case 'session-ended':
        throw sessionEnded(answer);
      case 'session-not-found':
        throw sessionNotFound();
    }
  }

  /**
   * The reason of an end, which depends on the caller: the user, or a service or operator. Only requests of the user
   * count for the user's rate limit.
   */
  private async endReason(request: FastifyRequest, reply: FastifyReply, userId: string): Promise<EndReason> {
    if (viewerOrService(request) === undefined) return 'operator';
    await this.limits.ofUser(request, reply, userId, 'ends');
    return 'user';
  }
}

/** What the audit says of an end by an operator; undefined if no session was live. */
function effectOfEnd({ ended }: EndResult) {
  if (ended.length === 0) return undefined;
  const sessions = ended.slice(0, MAX_AUDITED).map(({ sessionId, streamId, device, startedAt }) => ({
    session_id: sessionId,
    stream_id: streamId,
    ...(device === undefined ? {} : { device_id: device.id }),
    started_at: instant(startedAt),
  }));
  return { before: { sessions }, after: { ended: ended.length, reason: 'operator' } };
}
