import { Body, Controller, Get, HttpCode, Post, UseGuards } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBearerAuth, ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { ApiProblems, INTERNAL_TOKEN } from '../http/docs.js';
import { type JsonSchema, instant, instantSchema } from '../http/fields.js';
import { InternalTokenGuard } from '../http/internal-token.guard.js';
import { CallbackOutbox, messageId } from '../sessions/session-events.js';
import { EVENT, eventJson } from '../sessions/sessions.schemas.js';
import { CallbacksService } from './callbacks.service.js';

const MAX_LISTED = 100;
const COUNT = { type: 'integer', minimum: 0 } as const;

const OUTBOX: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['waiting', 'oldest_at', 'dead_letters', 'lost'],
  properties: {
    waiting: { ...COUNT, description: 'Events that are not delivered yet.' },
    oldest_at: {
      oneOf: [instantSchema('When the oldest of them happened.'), { type: 'null' }],
    },
    dead_letters: { ...COUNT, description: 'Events that were given up.' },
    lost: { ...COUNT, description: 'Events that were dropped, because too many waited or were given up.' },
  },
};

const MESSAGE_ID: JsonSchema = {
  type: 'string',
  minLength: 1,
  maxLength: 64,
  description: 'Its webhook-id.',
};

const DEAD_LETTERS: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['dead_letters'],
  properties: {
    dead_letters: {
      type: 'array',
      maxItems: MAX_LISTED,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['id', 'event', 'tries', 'failure', 'given_up_at'],
        properties: {
          id: MESSAGE_ID,
          event: EVENT,
          tries: COUNT,
          failure: { type: 'string', description: 'Why the last try failed.' },
          given_up_at: instantSchema('When it was given up.'),
        },
      },
    },
  },
};

const REPLAY_REQUEST: JsonSchema = {
  type: ['object', 'null'],
  additionalProperties: false,
  properties: { ids: { type: 'array', minItems: 1, maxItems: MAX_LISTED, items: MESSAGE_ID } },
};

const REPLAYED: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['replayed'],
  properties: { replayed: COUNT },
};

@ApiTags('internal')
@Controller('internal/callbacks')
@UseGuards(InternalTokenGuard)
@ApiBearerAuth(INTERNAL_TOKEN)
@ApiProblems('unauthorized', 'store-unavailable')
export class CallbacksController {
  constructor(
    private readonly outbox: CallbackOutbox,
    private readonly callbacks: CallbacksService,
  ) {}

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
  ): Promise<{ replayed: number }> {
    const replayed = await this.outbox.replay(body?.ids);
    if (replayed > 0) this.callbacks.wake();
    return { replayed };
  }
}
