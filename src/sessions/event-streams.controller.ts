import { Controller, Get, Req, Res } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiHeader, ApiOperation, ApiParam, ApiQuery, ApiResponse, ApiTags } from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { ForViewersOrServices, userIdOfPath, viewerOrService } from '../auth/access.js';
import { ApiProblems, OF_VIEWERS, schemaOf } from '../http/docs.js';
import { Problem } from '../http/problem.js';
import { RateLimits } from '../http/rate-limits.js';
import { EventStreams, answerUnavailable } from './event-streams.js';
import { USER_PARAMS } from './sessions.controller.js';
import { USER_NAME } from './sessions.schemas.js';

const TEXT = { type: 'string' };
const TRUE = { type: 'string', enum: ['true'] };

interface EventsQuery {
  readonly lastEventId?: string;
  readonly explain?: string;
}

@ApiTags('sessions')
@Controller('v1/users/:user_id/events')
export class EventStreamsController {
  constructor(
    private readonly streams: EventStreams,
    private readonly limits: RateLimits,
  ) {}

  @Get()
  @ForViewersOrServices('sessions:read', { ticket: 'events' })
  // A malformed last event id is not refused, because EventSource would never reconnect after an error.
  @RouteSchema({
    params: USER_PARAMS,
    querystring: { type: 'object', properties: { ticket: TEXT, explain: TRUE } },
  })
  @ApiOperation({
    summary: 'What happens to the sessions of a user, as it happens',
    description:
      'Server-Sent Events, one for each session that started, moved, ended or expired: `event` is the type as in ' +
      'callbacks, `data` the session as it was then, with `reason` where there is one. A comment every 15 s. ' +
      'The last few events are kept. If some may be lost to the client, an event `resync` says to list the sessions. ' +
      'A fault of the service is status 200 too, because EventSource gives up at any other: an event `unavailable`, ' +
      'whose data has a `code` and a `detail`, then `retry` and the end of the stream.',
  })
  @ApiParam({ name: 'user_id', schema: schemaOf(USER_NAME) })
  @ApiHeader({
    name: 'Last-Event-ID',
    required: false,
    description:
      'Resume after this event. EventSource sends it by itself. An unknown one gets the event `resync`.',
    schema: TEXT,
  })
  @ApiQuery({
    name: 'lastEventId',
    required: false,
    description: 'The same for clients that cannot send the header. The header wins.',
    schema: TEXT,
  })
  @ApiQuery({
    name: 'ticket',
    required: false,
    description:
      'From POST /v1/tickets with `for: events`: replaces the token, which EventSource cannot send.',
    schema: TEXT,
  })
  @ApiQuery({
    name: 'explain',
    required: false,
    description:
      '`true`: for support. The stream also has refusals (`session.refused`), with the sessions that held the places, and each ' +
      'event has its instant in `at`; with Last-Event-ID the newest events that are kept, before a `resync` too; `0-0` asks for all. A repeated refusal ' +
      '(the same stream and device within 10 s) is told once, and five of a user in that time at most.',
    schema: TRUE,
  })
  @ApiResponse({
    status: 200,
    description: 'The stream, until either side leaves.',
    content: { 'text/event-stream': { schema: { type: 'string' } } },
  })
  @ApiProblems('invalid-request', ...OF_VIEWERS)
  async streamEvents(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const userId = userIdOfPath(request);
    void reply
      .header('content-type', 'text/event-stream; charset=utf-8')
      // Otherwise nginx buffers events until its buffer is full.
      .header('x-accel-buffering', 'no');
    if (request.method === 'HEAD') return void reply.send();
    const viewer = viewerOrService(request);
    const limited = viewer !== undefined && (await this.isLimited(request, reply, userId));
    for (const [name, value] of Object.entries(reply.getHeaders())) reply.raw.setHeader(name, value!);
    if (limited) answerUnavailable(reply.raw, 'rate-limited');
    else {
      const explains = (request.query as EventsQuery).explain === 'true';
      const until = viewer?.until ?? Infinity;
      await this.streams.stream(userId, lastEventIdOf(request), reply.raw, { until, explains });
    }
    void reply.hijack();
  }

  private async isLimited(request: FastifyRequest, reply: FastifyReply, userId: string): Promise<boolean> {
    try {
      await this.limits.ofUser(request, reply, userId, 'reads');
      return false;
    } catch (error) {
      if (error instanceof Problem && error.code === 'rate-limited') return true;
      throw error;
    }
  }
}

/** The header, or else the query parameter. A parameter that is sent twice becomes a text that is no valid id. */
function lastEventIdOf({ headers, query }: FastifyRequest): string | undefined {
  const given = headers['last-event-id'] ?? (query as EventsQuery).lastEventId;
  return given === undefined ? undefined : String(given);
}
