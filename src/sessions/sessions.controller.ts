import { Controller, Delete, Get, HttpCode, Param } from '@nestjs/common';
import { ApiNoContentResponse, ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { Config } from '../config.js';
import { ApiProblems } from '../http/docs.js';
import { Problem } from '../http/problem.js';
import { IsId } from '../http/validation.js';
import { ALL_SESSIONS } from './admission.js';
import { SessionRepository } from './session.repository.js';
import { SESSION_ID, SESSION_LIST, type SessionJson, USER_ID, sessionJson } from './sessions.schemas.js';

class UserParams {
  @IsId()
  readonly user_id: string;
}

class SessionParams extends UserParams {
  @IsId()
  readonly session_id: string;
}

@ApiTags('sessions')
@ApiParam({ name: 'user_id', schema: USER_ID })
@ApiProblems('invalid-request', 'store-unavailable')
@Controller('v1/users/:user_id/sessions')
export class SessionsController {
  constructor(
    private readonly sessions: SessionRepository,
    private readonly config: Config,
  ) {}

  @Get()
  @ApiOperation({ summary: 'Who is watching?' })
  @ApiOkResponse({ description: "The user's live sessions.", schema: SESSION_LIST })
  async listSessions(
    @Param() { user_id }: UserParams,
  ): Promise<{ user_id: string; limit: number; sessions: SessionJson[] }> {
    const sessions = await this.sessions.list(user_id);
    return { user_id, limit: this.config.MAX_SESSIONS_PER_USER, sessions: sessions.map(sessionJson) };
  }

  @Delete(':session_id')
  @HttpCode(204)
  @ApiOperation({
    summary: 'End one session',
    description: 'Its place is free at once; its client gets 410. Repeated within n·X seconds: 204 again.',
  })
  @ApiParam({ name: 'session_id', schema: SESSION_ID })
  @ApiNoContentResponse({ description: 'It is ended.' })
  @ApiProblems('session-not-found')
  async endSession(@Param() { user_id, session_id }: SessionParams): Promise<void> {
    const { ended, endedBefore } = await this.sessions.end(user_id, [session_id], 'user');
    if (ended.length + endedBefore.length === 0)
      throw new Problem('session-not-found', 'List the sessions of the user to see which there are.');
  }

  @Delete()
  @HttpCode(204)
  @ApiOperation({ summary: 'End all sessions of a user' })
  @ApiNoContentResponse({ description: 'The user holds no session.' })
  async endAllSessions(@Param() { user_id }: UserParams): Promise<void> {
    await this.sessions.end(user_id, ALL_SESSIONS, 'user');
  }
}
