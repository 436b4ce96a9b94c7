import { Body, Controller, Get, HttpCode, Post } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { NeedsScope } from '../auth/scope.guard.js';
import { ApiProblems } from '../http/docs.js';
import { instant } from '../http/fields.js';
import { CallbackOutbox, messageId } from '../sessions/session-events.js';
import { eventJson } from '../sessions/sessions.schemas.js';
import { DEAD_LETTERS, MAX_LISTED, OUTBOX, REPLAYED, REPLAY_REQUEST } from './callbacks.schemas.js';

@ApiTags('internal')
@Controller('internal/callbacks')
@NeedsScope('expiry:pause')
@ApiProblems('store-unavailable')
export class CallbacksController {
  constructor(private readonly outbox: CallbackOutbox) {}

  @Get()
  @ApiOperation({ summary: 'What waits to be delivered?' })
  @ApiOkResponse({ description: 'How the outbox stands, for all instances.', schema: OUTBOX })
  async showOutbox(): Promise<object> {
    const { waiting, oldestAt, deadLetters, lost } = await this.outbox.state();
    return {
      waiting,
      oldest_at: oldestAt === undefined ? null : instant(oldestAt),
      dead_letters: deadLetters,
      lost,
    };
  }

  @Get('dead-letters')
  @ApiOperation({ summary: `The oldest ${MAX_LISTED} events that were given up` })
  @ApiOkResponse({ description: 'Oldest first.', schema: DEAD_LETTERS })
  async listDeadLetters(): Promise<object> {
    const letters = await this.outbox.deadLetters(MAX_LISTED);
    return {
      dead_letters: letters.map(({ event, tries, failure, buriedAt }) => ({
        id: messageId(event),
        event: { type: event.type, timestamp: instant(event.at), data: eventJson(event) },
        tries,
        failure,
        given_up_at: instant(buriedAt),
      })),
    };
  }

  @Post('dead-letters/replay')
  @HttpCode(200)
  @RouteSchema({ body: REPLAY_REQUEST })
  @ApiOperation({
    summary: 'Deliver what was given up',
    description: 'All of it, or the events of these ids; each goes out under the same webhook-id as before.',
  })
  @ApiBody({ required: false, schema: REPLAY_REQUEST as object })
  @ApiOkResponse({ description: 'They wait to be delivered.', schema: REPLAYED })
  @ApiProblems('malformed-request', 'payload-too-large', 'unsupported-media-type', 'invalid-request')
  async replayDeadLetters(
    @Body() body: { ids?: string[] } | null | undefined,
  ): Promise<{ replayed: number; more: boolean }> {
    const result = await this.outbox.replay(body?.ids);
    if (result.replayed > 0) this.outbox.announceNewEvents();
    return result;
  }
}
