import { Controller, Delete, Get, HttpCode, Param, Post, Req, Res } from '@nestjs/common';
import {
  ApiBearerAuth,
  ApiNoContentResponse,
  ApiOkResponse,
  ApiOperation,
  ApiParam,
  ApiTags,
} from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { Viewers } from '../auth/viewers.js';
import { Config } from '../config/config.js';
import { API_TOKEN, ApiProblems, OF_VIEWERS, VIEWER_TOKEN } from '../http/docs.js';
import { RateLimits } from '../http/rate-limits.js';
import { IsId } from '../http/validation.js';
import { ALL_SESSIONS, type EndReason } from './admission.js';
import { SessionRepository } from './session.repository.js';
import { sessionEnded, sessionNotFound } from './sessions.errors.js';
import {
  KEPT_SESSION,
  SESSION_ENDED,
  SESSION_ID,
  SESSION_LIST,
  type SessionJson,
  USER_ID,
  sessionJson,
} from './sessions.schemas.js';

export class UserParams {
  @IsId()
  readonly user_id: string;
}

class SessionParams extends UserParams {
  @IsId()
  readonly session_id: string;
}

@ApiTags('sessions')
@ApiParam({ name: 'user_id', schema: USER_ID })
@ApiBearerAuth(VIEWER_TOKEN)
@ApiProblems('invalid-request', ...OF_VIEWERS, 'rate-limited', 'store-unavailable')
@Controller('v1/users/:user_id/sessions')
export class SessionsController {
  constructor(
    private readonly sessions: SessionRepository,
    private readonly viewers: Viewers,
    private readonly limits: RateLimits,
    private readonly config: Config,
  ) {}

  @Get()
  @ApiOperation({ summary: 'Who is watching?' })
  @ApiBearerAuth(API_TOKEN)
  @ApiOkResponse({
    description:
      "The user's live sessions, and the limit that the user's last admission was judged by. Without a live session " +
      'that is the limit of the token, or the usual one.',
    schema: SESSION_LIST,
  })
  async listSessions(
    @Param() { user_id }: UserParams,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<{ user_id: string; limit: number; sessions: SessionJson[] }> {
    const viewer = await this.viewers.orService(request, user_id, 'sessions:read');
    if (viewer) await this.limits.ofUser(request, reply, user_id);
    const { quota, sessions } = await this.sessions.list(user_id);
    const limit = (quota ?? viewer?.quota ?? this.config.policy.quota).maxSessions;
    return { user_id, limit, sessions: sessions.map(sessionJson) };
  }

  @Delete(':session_id')
  @HttpCode(204)
  @ApiOperation({
    summary: 'End one session',
    description: 'Its place is free at once; its client gets 410. Repeated within n·X seconds: 204 again.',
  })
  @ApiBearerAuth(API_TOKEN)
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
  @HttpCode(204)
  @ApiOperation({ summary: 'End all sessions of a user' })
  @ApiBearerAuth(API_TOKEN)
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
  @HttpCode(200)
  @ApiOperation({
    summary: 'Keep the place of a paused player',
    description:
      'Moves `last_activity_at` without a phase. From MAX_PAUSE_SECONDS after the last phase on it moves no more, ' +
      'and the session expires like any other.',
  })
  @ApiParam({ name: 'session_id', schema: SESSION_ID })
  @ApiOkResponse({ description: 'It holds its place until `expires_at`.', schema: KEPT_SESSION })
  @ApiProblems('session-not-found', SESSION_ENDED)
  async keepSessionAlive(
    @Param() { user_id, session_id }: SessionParams,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<{ session: SessionJson }> {
    await this.viewers.of(request, user_id);
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
    const viewer = await this.viewers.orService(request, userId, 'sessions:end');
    if (viewer === undefined) return 'operator';
    await this.limits.ofUser(request, reply, userId);
    return 'user';
  }
}
