import { Body, Controller, Get, HttpCode, Post } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { NeedsScope } from '../auth/access.js';
import { Clock } from '../clock.js';
import { ApiProblems } from '../http/docs.js';
import { type JsonSchema, instant } from '../http/fields.js';
import { Problem } from '../http/problem.js';
import { type Pause } from '../sessions/session.repository.js';
import { ExpiryService } from './expiry.service.js';

const SWEEP: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['expired', 'more', 'took_ms'],
  properties: {
    expired: { type: 'integer', minimum: 0, description: 'How many sessions this call claimed.' },
    more: { type: 'boolean', description: 'More is due: call again. Always so while paused.' },
    took_ms: { type: 'integer', minimum: 0 },
  },
};

const PAUSE_REQUEST: JsonSchema = {
  type: ['object', 'null'],
  additionalProperties: false,
  properties: {
    by: { type: 'string', minLength: 1, maxLength: 100, description: 'Who pauses, for who wonders later.' },
    until: { type: 'string', format: 'date-time', description: 'When sweeps go on by themselves.' },
  },
};

const orNull = (type: JsonSchema): JsonSchema => ({ oneOf: [type, { type: 'null' }] });
const INSTANT: JsonSchema = { type: 'string', format: 'date-time' };

const STATUS: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['paused', 'since', 'by', 'until'],
  properties: {
    paused: { type: 'boolean' },
    since: orNull(INSTANT),
    by: orNull({ type: 'string' }),
    until: orNull({ ...INSTANT, description: 'null: until somebody resumes.' }),
  },
};

interface StatusJson {
  paused: boolean;
  since: string | null;
  by: string | null;
  until: string | null;
}

@ApiTags('internal')
@Controller('internal')
@NeedsScope('expiry:pause')
@ApiProblems('store-unavailable')
export class ExpiryController {
  constructor(
    private readonly expiry: ExpiryService,
    private readonly clock: Clock,
  ) {}

  @Post('expire-idle-sessions')
  @NeedsScope('expiry:run')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Run one bounded sweep now',
    description:
      'The same code runs every second in every instance. Safe to call from any number of schedulers.',
  })
  @ApiOkResponse({ description: 'The sweep ended.', schema: SWEEP })
  async expireIdleSessions(): Promise<{ expired: number; more: boolean; took_ms: number }> {
    const { expired, more, tookMs } = await this.expiry.sweep();
    return { expired, more, took_ms: tookMs };
  }

  @Get('expiry')
  @ApiOperation({ summary: 'Are the sweeps paused, by whom and since when?' })
  @ApiOkResponse({ description: 'How it stands, for all instances.', schema: STATUS })
  async showExpiry(): Promise<StatusJson> {
    return statusJson(await this.expiry.paused());
  }

  @Post('expiry/pause')
  @HttpCode(200)
  @RouteSchema({ body: PAUSE_REQUEST })
  @ApiOperation({
    summary: 'Pause the sweeps of all instances',
    description:
      'Nothing is reported as expired from now on, except what has to make room for a new session; the limit stays ' +
      'exact. It outlives restarts. Called again, it changes `by` and `until`.',
  })
  @ApiBody({
    required: false,
    schema: PAUSE_REQUEST as object,
    examples: { usual: { value: { by: 'ops, ticket 4711', until: '2030-01-01T00:00:00.000Z' } } },
  })
  @ApiOkResponse({ description: 'They are paused.', schema: STATUS })
  @ApiProblems('malformed-request', 'payload-too-large', 'unsupported-media-type', 'invalid-request')
  async pauseExpiry(@Body() body: { by?: string; until?: string } | null | undefined): Promise<StatusJson> {
    const until = body?.until === undefined ? undefined : Date.parse(body.until);
    // Not a number: a leap second, which the form allows and no clock here knows.
    if (until !== undefined && !(until > (this.clock.storeNow() ?? this.clock.now())))
      throw Problem.invalidRequest([{ field: 'until', message: 'must be in the future' }]);
    return statusJson(await this.expiry.pause({ by: body?.by, until }));
  }

  @Post('expiry/resume')
  @HttpCode(200)
  @ApiOperation({ summary: 'Resume the sweeps of all instances', description: 'What piled up is drained.' })
  @ApiOkResponse({ description: 'They run.', schema: STATUS })
  async resumeExpiry(): Promise<StatusJson> {
    await this.expiry.resume();
    return statusJson(undefined);
  }
}

function statusJson(pause: Pause | undefined): StatusJson {
  return {
    paused: pause !== undefined,
    since: pause === undefined ? null : instant(pause.since),
    by: pause?.by ?? null,
    until: pause?.until === undefined ? null : instant(pause.until),
  };
}
