import { randomUUIDv7 } from 'node:crypto';
import { Controller, Post, Req, Res } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBody, ApiCreatedResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { ForViewers, viewerOf } from '../auth/access.js';
import { Tickets } from '../auth/tickets.js';
import { deviceOf } from '../auth/viewers.js';
import { Config } from '../config/config.js';
import { addressOf } from '../http/connections.js';
import { ApiProblems, OF_VIEWERS, schemaOf } from '../http/docs.js';
import { instant } from '../http/fields.js';
import { RateLimits } from '../http/rate-limits.js';
import { playbackUrl } from '../streams/playback.js';
import { checkIdInUrl } from '../streams/streams.errors.js';
import {
  TICKET_BODY,
  TICKET_REPLY,
  TICKET_REQUEST,
  type TicketReplyJson,
  type TicketRequestJson,
} from '../streams/streams.schemas.js';

/** Issues tickets: a player that cannot send an Authorization header opens a URL with a ticket. */
@ApiTags('play')
@Controller('v1/tickets')
export class TicketsController {
  private readonly byTicket: boolean;

  constructor(
    private readonly tickets: Tickets,
    private readonly limits: RateLimits,
    config: Config,
  ) {
    this.byTicket = config.AUTH_MODE === 'jwt';
  }

  @Post()
  @ForViewers({ needsAddress: true })
  @RouteSchema({ body: TICKET_BODY })
  @ApiOperation({
    summary: 'Get a URL for a player or an EventSource, which cannot send a token',
    description:
      'Takes no place. The player takes it when it loads the playlist, which it must do within minutes.',
  })
  @ApiBody({ schema: schemaOf(TICKET_REQUEST) })
  @ApiCreatedResponse({ description: 'Give the player `playback_url`.', schema: schemaOf(TICKET_REPLY) })
  @ApiProblems(
    'malformed-request',
    ...OF_VIEWERS,
    'payload-too-large',
    'unsupported-media-type',
    'invalid-request',
    'stream-not-found',
    'rate-limited',
  )
  async issueTicket(
    @Req() request: FastifyRequest<{ Body: TicketRequestJson }>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TicketReplyJson> {
    const { stream_id: streamId = '', session_id: sessionId = randomUUIDv7() } = request.body;
    const self = addressOf(request);
    const viewer = viewerOf(request);
    const { userId, subject, quota } = viewer;
    await this.limits.ofUser(request, reply, userId);
    if (streamId !== '') checkIdInUrl(streamId);
    const session = { userId, sessionId, streamId, device: deviceOf(viewer, request.body.device) };
    const { for: purpose = 'play' } = request.body;
    const use = purpose === 'play' ? 'playlist' : purpose;
    const claims = { ...session, subject, quota };
    const { ticket, expiresAt } = await this.tickets.issue(use, claims);
    // Only a ticket for the playlist opens it.
    let opening: string | undefined;
    if (this.byTicket && streamId !== '')
      opening = use === 'playlist' ? ticket : (await this.tickets.issue('playlist', claims)).ticket;
    return {
      ticket,
      ...(streamId === '' ? {} : { playback_url: playbackUrl(self, session, opening) }),
      ...(use === 'events' ? { events_url: `${self}/v1/users/${userId}/events?ticket=${ticket}` } : {}),
      expires_at: instant(expiresAt),
    };
  }
}
