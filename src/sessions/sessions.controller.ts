import { Controller, Delete, Get, HttpCode, Param, Post, Req, Res } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiNoContentResponse, ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { ForViewers, ForViewersOrServices, viewerOrService } from '../auth/access.js';
import { Config } from '../config/config.js';
import { ApiProblems, OF_VIEWERS, schemaOf } from '../http/docs.js';
import { RateLimits } from '../http/rate-limits.js';
import { ALL_SESSIONS, type EndReason } from './admission.js';
import { SessionRepository } from './session.repository.js';
import { sessionEnded, sessionNotFound } from './sessions.errors.js';
import {
  KEPT_SESSION,
  type KeptSessionJson,
  SESSION_ENDED,
  SESSION_ID,
  SESSION_LIST,
  type SessionListJson,
  USER_ID,
  sessionJson,
} from './sessions.schemas.js';

export interface UserParams {
  readonly user_id: string;
}

interface SessionParams extends UserParams {
  readonly session_id: string;
}

/** Checked by Fastify, since pipes run after the caller is identified and 422 comes before 401. */
export const USER_PARAMS = { type: 'object', properties: { user_id: USER_ID } };
const SESSION_PARAMS = { type: 'object', properties: { user_id: USER_ID, session_id: SESSION_ID } };

@ApiTags('sessions')
@ApiParam({ name: 'user_id', schema: USER_ID })
@ApiProblems('invalid-request', ...OF_VIEWERS, 'rate-limited', 'store-unavailable')
@Controller('v1/users/:user_id/sessions')
export class SessionsController {
  constructor(
    private readonly sessions: SessionRepository,
    private readonly limits: RateLimits,
    private readonly config: Config,
  ) {}

  @Get()
  @ForViewersOrServices('sessions:read')
  @RouteSchema({ params: USER_PARAMS })
  @ApiOperation({ summary: 'Who is watching?' })
  @ApiOkResponse({
    description:
      "The user's live sessions, and the limit that the user's last admission was judged by. Without a live session " +
      'that is the limit of the token, or the usual one.',
    schema: schemaOf(SESSION_LIST),
  })
  async listSessions(
    @Param() { user_id }: UserParams,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<SessionListJson> {
    const viewer = viewerOrService(request);
    if (viewer) await this.limits.ofUser(request, reply, user_id);
    const { quota, sessions } = await this.sessions.list(user_id);
    const limit = (quota ?? viewer?.quota ?? this.config.policy.quota).maxSessions;
    return { user_id, limit, sessions: sessions.map(sessionJson) };
  }

  @Delete(':session_id')
  @ForViewersOrServices('sessions:end')
  @RouteSchema({ params: SESSION_PARAMS })
  @HttpCode(204)
  @ApiOperation({
    summary: 'End one session',
    description: 'Its place is free at once; its client gets 410. Repeated within n·X seconds: 204 again.',
  })
  @ApiParam({ name: 'session_id', schema: SESSION_ID })
  @ApiNoContentResponse({ description: 'It is ended.' })
  @ApiProblems('session-not-found')
  async endSession(
    @Param() { user_id, session_id }: SessionParams,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    const reason = await this.whoEnds(request, reply, user_id);
    const result = await this.sessions.end(user_id, [session_id], reason);
    if (result.ended.length + result.endedBefore.length === 0) throw sessionNotFound();
  }

  @Delete()
  @ForViewersOrServices('sessions:end')
  @RouteSchema({ params: USER_PARAMS })
  @HttpCode(204)
  @ApiOperation({ summary: 'End all sessions of a user' })
  @ApiNoContentResponse({ description: 'The user holds no session.' })
  async endAllSessions(
    @Param() { user_id }: UserParams,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    const reason = await this.whoEnds(request, reply, user_id);
    await this.sessions.end(user_id, ALL_SESSIONS, reason);
  }

  @Post(':session_id/keepalive')
  @ForViewers()
  @RouteSchema({ params: SESSION_PARAMS })
  @HttpCode(200)
  @ApiOperation({
    summary: 'Keep the place of a paused player',
    description:
      'Moves `last_activity_at` without a phase. From MAX_PAUSE_SECONDS after the last phase on it moves no more, ' +
      'and the session expires like any other.',
  })
  @ApiParam({ name: 'session_id', schema: SESSION_ID })
  @ApiOkResponse({ description: 'It holds its place until `expires_at`.', schema: schemaOf(KEPT_SESSION) })
  @ApiProblems('session-not-found', SESSION_ENDED)
  async keepSessionAlive(
    @Param() { user_id, session_id }: SessionParams,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<KeptSessionJson> {
    await this.limits.ofUser(request, reply, user_id);
    const answer = await this.sessions.keepAlive(user_id, session_id);
    switch (answer.outcome) {
      case 'kept':
        return { session: sessionJson(answer.session) };
      case 'session-ended':
        throw sessionEnded(answer);
      case 'session-not-found':
        throw sessionNotFound();
    }
  }

  /** A service or an operator is not counted as the user: neither uses up what the other may ask. */
  private async whoEnds(request: FastifyRequest, reply: FastifyReply, userId: string): Promise<EndReason> {
    if (viewerOrService(request) === undefined) return 'operator';
    await this.limits.ofUser(request, reply, userId);
    return 'user';
  }
}
