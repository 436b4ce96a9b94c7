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
  RESUMED,
  type ResumedJson,
  type ReplayJson,
  type ReplayRequestJson,
  deadLetterListJson,
  outboxJson,
} from './callbacks.schemas.js';
import { CallbacksService } from './callbacks.service.js';

@ApiTags('internal')
@Controller('internal/callbacks')
@NeedsScope('expiry:pause')
@ApiProblems('store-unavailable')
export class CallbacksController {
  constructor(
    private readonly outbox: CallbackOutbox,
    private readonly callbacks: CallbacksService,
  ) {}

  @Get()
  @ApiOperation({ operationId: 'getOutbox', summary: 'What waits to be delivered?' })
  @ApiOkResponse({
    description: 'The outbox of all instances, and the receiver as the instance that answers sees it.',
    schema: schemaOf(OUTBOX),
  })
  async showOutbox(): Promise<OutboxJson> {
    return outboxJson(await this.outbox.state(), this.callbacks.receiverView());
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

  @Post('resume')
  @HttpCode(200)
  @ApiOperation({
    operationId: 'resumeCallbacks',
    summary: 'Resume the deliveries that a 410 of the receiver stopped',
    description:
      'On the instance that answers, which then delivers what waits. Other instances stay stopped until they get this ' +
      'request too, or restart; their events go to an instance that delivers after 20 s. Starts with a single event, ' +
      'so that a receiver that is still gone stops the deliveries again at once.',
  })
  @ApiOkResponse({ description: 'Deliveries are not stopped any more.', schema: schemaOf(RESUMED) })
  resumeDeliveries(): ResumedJson {
    return { resumed: this.callbacks.resume() };
  }
}
