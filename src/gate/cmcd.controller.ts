import { Controller, HttpCode, Post, Req, Res } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBody, ApiConsumes, ApiNoContentResponse, ApiOperation, ApiQuery, ApiTags } from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { ForPlayers, playerOf } from '../auth/access.js';
import { ApiProblems } from '../http/docs.js';
import { Problem } from '../http/problem.js';
import { RateLimits } from '../http/rate-limits.js';
import { sessionEnded } from '../sessions/sessions.errors.js';
import { SESSION_ENDED, SESSION_ID, USER_ID } from '../sessions/sessions.schemas.js';
import { Gate } from './gate.service.js';

/** CTA-5004-B sends reports one a line; a player that was away may send some dozens at once. */
const MAX_LINES = 100;
const TEXT = { type: 'string' };
const REPORT_REQUEST = {
  querystring: { type: 'object', properties: { ticket: TEXT, user_id: USER_ID, session_id: SESSION_ID } },
};

/** The event target of Common Media Client Data: what players say about themselves while they play. */
@ApiTags('play')
@Controller('v1/cmcd')
export class CmcdController {
  constructor(
    private readonly gate: Gate,
    private readonly limits: RateLimits,
  ) {}

  @Post()
  @HttpCode(204)
  @ForPlayers(['cmcd', 'media'])
  @RouteSchema(REPORT_REQUEST)
  @ApiOperation({
    operationId: 'reportPlayback',
    summary: 'Signs of life of a player, by CMCD events',
    description:
      'Reports of CMCD version 2 (CTA-5004-B), one a line. A player that plays moves the last activity of its session, ' +
      'a paused one keeps its place as by a keepalive, and one that ended or was left gives its place back. A report ' +
      'that cannot be read is counted and ignored. 410 makes a player stop reporting.',
  })
  @ApiQuery({
    name: 'ticket',
    schema: TEXT,
    required: false,
    description: 'Of POST /v1/tickets with `for: cmcd`; with AUTH_MODE=jwt needed, and enough.',
  })
  @ApiQuery({ name: 'user_id', schema: USER_ID, required: false, description: 'Needed without a ticket.' })
  @ApiQuery({ name: 'session_id', schema: SESSION_ID, required: false, description: 'Likewise.' })
  @ApiConsumes('application/cmcd')
  @ApiBody({ required: true, schema: { type: 'string' }, description: 'One report a line.' })
  @ApiNoContentResponse({ description: 'The reports were taken in.' })
  @ApiProblems(
    'malformed-request',
    'unauthorized',
    'not-your-session',
    SESSION_ENDED,
    'payload-too-large',
    'unsupported-media-type',
    'invalid-request',
    'rate-limited',
    'store-unavailable',
  )
  async reportPlayback(
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    const { userId, sessionId } = playerOf(request);
    if (sessionId === undefined)
      throw Problem.invalidRequest([
        { field: 'session_id', message: 'is missing: name the session, or send a ticket' },
      ]);
    await this.limits.ofUser(request, reply, `${userId}/play`);
    const lines = typeof request.body === 'string' ? request.body.split(/\r?\n/) : [];
    const reported = lines.filter((line) => line.trim() !== '').slice(-MAX_LINES);
    const outcome = await this.gate.takeReports({ userId, sessionId }, reported);
    if (outcome !== undefined) throw sessionEnded(outcome);
  }
}
