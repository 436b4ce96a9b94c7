import { Body, Controller, Get, HttpCode, Post, Req } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { type Static, Type } from '@sinclair/typebox';
import { type FastifyRequest } from 'fastify';
import { AcceptsAuditNote, Audit } from '../audit/audit.js';
import { NeedsScope } from '../auth/access.js';
import { Clock } from '../clock.js';
import { ApiProblems, schemaOf } from '../http/docs.js';
import { component, countSchema, instant, instantSchema, optionalBody, orNull } from '../http/fields.js';
import { Problem } from '../http/problem.js';
import { type Pause } from '../sessions/session.repository.js';
import { ExpiryService } from './expiry.service.js';

const SWEEP = component('Sweep', {
  expired: countSchema('How many expired sessions this sweep claimed.'),
  more: Type.Boolean({
    description: 'True if more sessions are due: call again. Always true while sweeps are paused.',
  }),
  took_ms: Type.Integer({ minimum: 0, description: 'How long the sweep took, in milliseconds.' }),
});

const PAUSE_REQUEST = optionalBody(
  component('PauseRequest', {
    by: Type.Optional(
      Type.String({ minLength: 1, maxLength: 100, description: 'The person or system that pauses.' }),
    ),
    until: Type.Optional(instantSchema('When sweeps resume automatically.')),
  }),
);

const STATUS = component('ExpiryStatus', {
  paused: Type.Boolean(),
  partial: Type.Boolean({
    description:
      'True if this does not hold for a part of the store, which did not answer when it was told. Call again when it is back.',
  }),
  since: orNull(instantSchema('When the sweeps were paused.')),
  by: orNull(Type.String({ description: 'The person or system that paused them.' })),
  until: orNull(
    instantSchema(
      'When sweeps resume automatically; null if only POST /internal/expiry/resume ends the pause.',
    ),
  ),
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
    private readonly audit: Audit,
  ) {}

  @Post('expire-idle-sessions')
  @NeedsScope('expiry:run')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Run one bounded sweep now',
    description:
      'Claims sessions that have expired, up to a limit. Every instance also sweeps once a second. Any number of ' +
      'schedulers may call this at the same time: each expiry is reported once.',
  })
  @ApiOkResponse({ description: 'The result of the sweep.', schema: schemaOf(SWEEP) })
  async expireIdleSessions(): Promise<Static<typeof SWEEP>> {
    const { expired, more, tookMs } = await this.expiry.sweep();
    return { expired, more, took_ms: tookMs };
  }

  @Get('expiry')
  @ApiOperation({ summary: 'Show whether the sweeps are paused' })
  @ApiOkResponse({
    description: 'The state of the sweeps, the same for all instances.',
    schema: schemaOf(STATUS),
  })
  async getExpiryStatus(): Promise<StatusJson> {
    return statusJson(await this.expiry.paused());
  }

  @Post('expiry/pause')
  @AcceptsAuditNote()
  @HttpCode(200)
  @RouteSchema({ body: PAUSE_REQUEST })
  @ApiOperation({
    summary: 'Pause the sweeps of all instances',
    description:
      'While paused, no session is reported as expired, unless a new session needs its place. The limit stays exact. ' +
      'The pause survives restarts. A second call changes `by` and `until`.',
  })
  @ApiBody({
    required: false,
    schema: schemaOf(PAUSE_REQUEST),
    examples: { usual: { value: { by: 'ops, ticket 4711', until: '2030-01-01T00:00:00.000Z' } } },
  })
  @ApiOkResponse({ description: 'The sweeps are paused.', schema: schemaOf(STATUS) })
  @ApiProblems('malformed-request', 'payload-too-large', 'unsupported-media-type')
  async pauseExpiry(
    @Body() body: Static<typeof PAUSE_REQUEST>,
    @Req() request: FastifyRequest,
  ): Promise<StatusJson> {
    const until = body?.until === undefined ? undefined : Date.parse(body.until);
    // The pattern allows a leap second, which Date.parse reads as NaN; the comparison refuses it.
    if (until !== undefined && !(until > (this.clock.storeNow() ?? this.clock.now())))
      throw Problem.invalidRequest([{ field: 'until', message: 'must be in the future' }]);
    const change = this.audit.begin(request, 'expiry.pause', {});
    const before = statusJson(await this.expiry.paused());
    return change.run(
      async () => statusJson(await this.expiry.pause({ by: body?.by, until })),
      (after) => ({ before, after }),
    );
  }

  @Post('expiry/resume')
  @AcceptsAuditNote()
  @HttpCode(200)
  @ApiOperation({
    summary: 'Resume the sweeps of all instances',
    description: 'The next sweeps claim everything that expired during the pause.',
  })
  @ApiOkResponse({ description: 'The sweeps run.', schema: schemaOf(STATUS) })
  async resumeExpiry(@Req() request: FastifyRequest): Promise<StatusJson> {
    const change = this.audit.begin(request, 'expiry.resume', {});
    const before = statusJson(await this.expiry.paused());
    return change.run(
      async () => ({ ...statusJson(undefined), partial: !(await this.expiry.resume()) }),
      (after) => (before.paused ? { before, after } : undefined),
    );
  }
}

function statusJson(pause: Pause | undefined): StatusJson {
  return {
    paused: pause !== undefined,
    partial: pause?.partial === true,
    since: pause === undefined ? null : instant(pause.since),
    by: pause?.by ?? null,
    until: pause?.until === undefined ? null : instant(pause.until),
  };
}
