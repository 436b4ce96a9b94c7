import { Body, Controller, Get, HttpCode, Post } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { NeedsScope } from '../auth/access.js';
import { ApiProblems, schemaOf } from '../http/docs.js';
import { CallbackOutbox } from '../sessions/session-events.js';
import {
  DEAD_LETTERS,
  type DeadLetterListJson,
  MAX_LISTED,
  OUTBOX,
  type OutboxJson,
  REPLAYED,
  REPLAY_REQUEST,
  type ReplayJson,
  type ReplayRequestJson,
  deadLetterListJson,
  outboxJson,
} from './callbacks.schemas.js';

@ApiTags('internal')
@Controller('internal/callbacks')
@NeedsScope('expiry:pause')
@ApiProblems('store-unavailable')
export class CallbacksController {
  constructor(private readonly outbox: CallbackOutbox) {}

  @Get()
  @ApiOperation({ operationId: 'getOutbox', summary: 'What waits to be delivered?' })
  @ApiOkResponse({ description: 'How the outbox stands, for all instances.', schema: schemaOf(OUTBOX) })
  async showOutbox(): Promise<OutboxJson> {
    return outboxJson(await this.outbox.state());
  }

  @Get('dead-letters')
  @ApiOperation({ summary: `The oldest ${MAX_LISTED} events that were given up` })
  @ApiOkResponse({ description: 'Oldest first.', schema: schemaOf(DEAD_LETTERS) })
  async listDeadLetters(): Promise<DeadLetterListJson> {
    return deadLetterListJson(await this.outbox.deadLetters(MAX_LISTED));
  }

  @Post('dead-letters/replay')
  @HttpCode(200)
  @RouteSchema({ body: REPLAY_REQUEST })
  @ApiOperation({
    summary: 'Deliver what was given up',
    description: 'All of it, or the events of these ids; each goes out under the same webhook-id as before.',
  })
  @ApiBody({ required: false, schema: schemaOf(REPLAY_REQUEST) })
  @ApiOkResponse({ description: 'They wait to be delivered.', schema: schemaOf(REPLAYED) })
  @ApiProblems('malformed-request', 'payload-too-large', 'unsupported-media-type', 'invalid-request')
  async replayDeadLetters(@Body() body: ReplayRequestJson): Promise<ReplayJson> {
    const result = await this.outbox.replay(body?.ids);
    if (result.replayed > 0) this.outbox.announceNewEvents();
    return result;
  }
}
