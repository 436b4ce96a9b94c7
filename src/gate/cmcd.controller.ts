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

/** CTA-5004-B sends one report per line. After a lost connection a player may send some dozens together. */
const MAX_LINES = 100;
const TEXT = { type: 'string' };
const REPORT_REQUEST = {
  querystring: { type: 'object', properties: { ticket: TEXT, user_id: USER_ID, session_id: SESSION_ID } },
};

/** The event target of Common Media Client Data: receives the reports that players send while they play. */
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
    summary: 'Receive CMCD reports of a player',
    description:
      'Reports of CMCD version 2 (CTA-5004-B), one per line. The report of a playing player moves the last activity of ' +
      'its session. The report of a paused player acts like a keepalive. The report of a player that has ended or was ' +
      'closed ends the session. A malformed report is counted and ignored. 410 makes a player stop reporting.',
  })
  @ApiQuery({
    name: 'ticket',
    schema: TEXT,
    required: false,
    description:
      'A ticket of POST /v1/tickets with `for: cmcd`. It is required with AUTH_MODE=jwt, and then replaces all other ' +
      'parameters.',
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
    await this.limits.ofSession(userId, sessionId).check(request, reply);
    const lines = typeof request.body === 'string' ? request.body.split(/\r?\n/) : [];
    const reported = lines.filter((line) => line.trim() !== '').slice(-MAX_LINES);
    const outcome = await this.gate.takeReports({ userId, sessionId }, reported);
    if (outcome !== undefined) throw sessionEnded(outcome);
  }
}
