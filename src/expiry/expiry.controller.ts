import { Body, Controller, Get, HttpCode, Post } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { type Static, Type } from '@sinclair/typebox';
import { NeedsScope } from '../auth/access.js';
import { Clock } from '../clock.js';
import { ApiProblems, schemaOf } from '../http/docs.js';
import { component, countSchema, instant, instantSchema, optionalBody, orNull } from '../http/fields.js';
import { Problem } from '../http/problem.js';
import { type Pause } from '../sessions/session.repository.js';
import { ExpiryService } from './expiry.service.js';

const SWEEP = component('Sweep', {
  expired: countSchema('How many sessions this call claimed.'),
  more: Type.Boolean({ description: 'More is due: call again. Always so while paused.' }),
  took_ms: Type.Integer({ minimum: 0 }),
});

const PAUSE_REQUEST = optionalBody(
  component('PauseRequest', {
    by: Type.Optional(
      Type.String({ minLength: 1, maxLength: 100, description: 'Who pauses, for others to read.' }),
    ),
    until: Type.Optional(instantSchema('When sweeps go on by themselves.')),
  }),
);

const STATUS = component('ExpiryStatus', {
  paused: Type.Boolean(),
  since: orNull(instantSchema('When the sweeps were paused.')),
  by: orNull(Type.String({ description: 'Who paused them.' })),
  until: orNull(instantSchema('null: until somebody resumes.')),
});
type StatusJson = Static<typeof STATUS>;

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
  @ApiOkResponse({ description: 'The sweep ended.', schema: schemaOf(SWEEP) })
  async expireIdleSessions(): Promise<Static<typeof SWEEP>> {
    const { expired, more, tookMs } = await this.expiry.sweep();
    return { expired, more, took_ms: tookMs };
  }

  @Get('expiry')
  @ApiOperation({ summary: 'Are the sweeps paused, by whom and since when?' })
  @ApiOkResponse({ description: 'How it stands, for all instances.', schema: schemaOf(STATUS) })
  async getExpiryStatus(): Promise<StatusJson> {
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
    schema: schemaOf(PAUSE_REQUEST),
    examples: { usual: { value: { by: 'ops, ticket 4711', until: '2030-01-01T00:00:00.000Z' } } },
  })
  @ApiOkResponse({ description: 'They are paused.', schema: schemaOf(STATUS) })
  @ApiProblems('malformed-request', 'payload-too-large', 'unsupported-media-type', 'invalid-request')
  async pauseExpiry(@Body() body: Static<typeof PAUSE_REQUEST>): Promise<StatusJson> {
    const until = body?.until === undefined ? undefined : Date.parse(body.until);
    // Not a number: a leap second, which the form allows and no clock here knows.
    if (until !== undefined && !(until > (this.clock.storeNow() ?? this.clock.now())))
      throw Problem.invalidRequest([{ field: 'until', message: 'must be in the future' }]);
    return statusJson(await this.expiry.pause({ by: body?.by, until }));
  }

  @Post('expiry/resume')
  @HttpCode(200)
  @ApiOperation({ summary: 'Resume the sweeps of all instances', description: 'What piled up is drained.' })
  @ApiOkResponse({ description: 'They run.', schema: schemaOf(STATUS) })
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
