import { Controller, Get, Param, Req, Res } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiHeader, ApiOperation, ApiParam, ApiResponse, ApiTags } from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { ForViewersOrServices, viewerOrService } from '../auth/access.js';
import { ApiProblems, OF_VIEWERS } from '../http/docs.js';
import { RateLimits } from '../http/rate-limits.js';
import { EventStreams } from './event-streams.js';
import { USER_PARAMS, type UserParams } from './sessions.controller.js';
import { USER_ID } from './sessions.schemas.js';

const EVENT_ID = { type: 'string', pattern: '^\\d{1,15}-\\d{1,15}$' };

@ApiTags('sessions')
@Controller('v1/users/:user_id/events')
export class EventStreamsController {
  constructor(
    private readonly streams: EventStreams,
    private readonly limits: RateLimits,
  ) {}

  @Get()
  @ForViewersOrServices('sessions:read')
  @RouteSchema({
    params: USER_PARAMS,
    headers: { type: 'object', properties: { 'last-event-id': EVENT_ID } },
  })
  @ApiOperation({
    summary: 'What happens to the sessions of a user, as it happens',
    description:
      'Server-Sent Events, one for each session that started, moved, ended or expired: `event` is the type as in ' +
      'callbacks, `data` the session as it was then, with `reason` where there is one. A comment every 15 s. ' +
      'The last few are kept; where some may be forgotten, an event `resync` says to list the sessions.',
  })
  @ApiParam({ name: 'user_id', schema: USER_ID })
  @ApiHeader({
    name: 'Last-Event-ID',
    required: false,
    description: 'Resume after this event; EventSource sends it by itself.',
    schema: EVENT_ID,
  })
  @ApiResponse({
    status: 200,
    description: 'The stream, until either side leaves.',
    content: { 'text/event-stream': { schema: { type: 'string' } } },
  })
  @ApiProblems(
    'invalid-request',
    ...OF_VIEWERS,
    'rate-limited',
    'store-unavailable',
    'too-many-streams',
    'not-ready',
  )
  async streamEvents(
    @Param() { user_id }: UserParams,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const lastEventId = request.headers['last-event-id'];
    const viewer = viewerOrService(request);
    if (viewer) await this.limits.ofUser(request, reply, user_id);
    void reply
      .header('content-type', 'text/event-stream; charset=utf-8')
      .header('cache-control', 'no-store')
      // nginx would hold events back until there are enough of them.
      .header('x-accel-buffering', 'no');
    if (request.method === 'HEAD') return void reply.send();
    for (const [name, value] of Object.entries(reply.getHeaders())) reply.raw.setHeader(name, value!);
    await this.streams.stream(user_id, lastEventId as string | undefined, reply.raw, viewer?.until);
    void reply.hijack();
  }
}
