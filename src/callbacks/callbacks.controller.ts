import { hostname } from 'node:os';
import { Body, Controller, Get, HttpCode, Post, Req } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { type FastifyRequest } from 'fastify';
import { AcceptsAuditNote, Audit } from '../audit/audit.js';
import { NeedsScope } from '../auth/access.js';
import { ApiProblems, schemaOf } from '../http/docs.js';
import { Problem } from '../http/problem.js';
import {
  DEAD_LETTERS,
  type DeadLetterListJson,
  MAX_LISTED,
  OUTBOX,
  type OutboxJson,
  REPLAYED,
  REPLAY_REQUEST,
  RESUMED,
  RESUME_REQUEST,
  type ResumeRequestJson,
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
    private readonly callbacks: CallbacksService,
    private readonly audit: Audit,
  ) {}

  @Get()
  @ApiOperation({ operationId: 'getOutbox', summary: 'What waits to be delivered?' })
  @ApiOkResponse({
    description: 'The outboxes of all instances, and each receiver as the instance that answers sees it.',
    schema: schemaOf(OUTBOX),
  })
  async showOutbox(): Promise<OutboxJson> {
    return outboxJson(await this.callbacks.states());
  }

  @Get('dead-letters')
  @ApiOperation({ summary: `The oldest ${MAX_LISTED} events that were given up` })
  @ApiOkResponse({ description: 'Oldest first.', schema: schemaOf(DEAD_LETTERS) })
  async listDeadLetters(): Promise<DeadLetterListJson> {
    return deadLetterListJson(await this.callbacks.deadLetters(MAX_LISTED));
  }

  @Post('dead-letters/replay')
  @AcceptsAuditNote()
  @HttpCode(200)
  @RouteSchema({ body: REPLAY_REQUEST })
  @ApiOperation({
    summary: 'Deliver events that were given up',
    description:
      'All of them, or those of these ids, and of this receiver; each goes out under the same webhook-id as before.',
  })
  @ApiBody({ required: false, schema: schemaOf(REPLAY_REQUEST) })
  @ApiOkResponse({ description: 'They wait to be delivered.', schema: schemaOf(REPLAYED) })
  @ApiProblems('malformed-request', 'payload-too-large', 'unsupported-media-type')
  async replayDeadLetters(
    @Body() body: ReplayRequestJson,
    @Req() request: FastifyRequest,
  ): Promise<ReplayJson> {
    this.checkReceiver(body?.receiver);
    const change = this.audit.begin(request, 'callbacks.replay', receiverOf(body));
    return change.run(
      async () => this.callbacks.replay(body?.ids, body?.receiver),
      (after) => (after.replayed > 0 ? { before: null, after } : undefined),
    );
  }

  @Post('resume')
  @AcceptsAuditNote()
  @HttpCode(200)
  @RouteSchema({ body: RESUME_REQUEST })
  @ApiOperation({
    operationId: 'resumeCallbacks',
    summary: 'Resume the deliveries that a 410 of a receiver stopped',
    description:
      'Those of the named receiver, or of all. On the instance that answers, which then delivers what waits. Other instances stay stopped until they get this ' +
      'request too, or restart; their events go to an instance that delivers after 20 s. Starts with a single event, ' +
      'so that a receiver that is still gone stops the deliveries again at once.',
  })
  @ApiBody({ required: false, schema: schemaOf(RESUME_REQUEST) })
  @ApiOkResponse({ description: 'Deliveries are not stopped any more.', schema: schemaOf(RESUMED) })
  @ApiProblems('malformed-request', 'payload-too-large', 'unsupported-media-type')
  async resumeDeliveries(
    @Body() body: ResumeRequestJson,
    @Req() request: FastifyRequest,
  ): Promise<ResumedJson> {
    this.checkReceiver(body?.receiver);
    const target = { ...receiverOf(body), instance: hostname() };
    const stopped = await this.audit.begin(request, 'callbacks.resume', target).run(
      async () => this.callbacks.resume(body?.receiver),
      (receivers) =>
        receivers.length > 0 ? { before: { stopped: receivers }, after: { stopped: [] } } : undefined,
    );
    return { resumed: stopped.length > 0 };
  }

  /** A name that is not configured is a mistake, which must not look like a success. */
  private checkReceiver(receiver: string | undefined): void {
    if (receiver !== undefined && !this.callbacks.knows(receiver))
      throw Problem.invalidRequest([{ field: 'receiver', message: 'is not the name of a receiver' }]);
  }
}

/** The target in the audit. */
function receiverOf(body: ResumeRequestJson): { receiver?: string } {
  return body?.receiver === undefined ? {} : { receiver: body.receiver };
}
