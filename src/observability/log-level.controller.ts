import { hostname } from 'node:os';
import { Body, Controller, Put, Req } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { type Static, Type } from '@sinclair/typebox';
import { type FastifyRequest } from 'fastify';
import { AcceptsAuditNote, Audit } from '../audit/audit.js';
import { NeedsScope } from '../auth/access.js';
import { LOG_LEVELS } from '../config/log.js';
import { ApiProblems, schemaOf } from '../http/docs.js';
import { component, instant, instantSchema, oneOfTexts } from '../http/fields.js';
import { LogLevel } from './log-level.js';

const DEFAULT_MINUTES = 10;
const LEVEL = oneOfTexts(LOG_LEVELS, { examples: ['debug'] });

const LEVEL_REQUEST = component('LogLevelRequest', {
  level: LEVEL,
  minutes: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 60, description: `For how long; ${DEFAULT_MINUTES} by default.` }),
  ),
});

const LOG_LEVEL = component('LogLevel', {
  level: LEVEL,
  until: instantSchema('When LOG_LEVEL holds again.'),
});

@ApiTags('internal')
@NeedsScope('log:write')
@Controller('internal/log-level')
export class LogLevelController {
  constructor(
    private readonly level: LogLevel,
    private readonly audit: Audit,
  ) {}

  @Put()
  @AcceptsAuditNote()
  @RouteSchema({ body: LEVEL_REQUEST })
  @ApiOperation({
    summary: 'Change the log level of this instance for some minutes',
    description: 'After that time LOG_LEVEL holds again. Other instances are not changed.',
  })
  @ApiBody({ schema: schemaOf(LEVEL_REQUEST) })
  @ApiOkResponse({ description: 'The level has changed.', schema: schemaOf(LOG_LEVEL) })
  @ApiProblems('malformed-request', 'payload-too-large', 'unsupported-media-type')
  async setLogLevel(
    @Body() { level, minutes = DEFAULT_MINUTES }: Static<typeof LEVEL_REQUEST>,
    @Req() request: FastifyRequest,
  ): Promise<Static<typeof LOG_LEVEL>> {
    const before = { level: this.level.current };
    return this.audit.begin(request, 'log-level.set', { instance: hostname() }).run(
      async () => ({ level, until: instant(this.level.change(level, minutes)) }),
      (after) => ({ before, after }),
    );
  }
}
