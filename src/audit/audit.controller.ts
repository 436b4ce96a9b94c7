import { Controller, Get, Query, Res } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiOkResponse, ApiOperation, ApiQuery, ApiTags } from '@nestjs/swagger';
import { type Static, Type } from '@sinclair/typebox';
import { type FastifyReply } from 'fastify';
import { NeedsScope, userIdNamed } from '../auth/access.js';
import { ApiProblems, schemaOf } from '../http/docs.js';
import { LIMIT, instantSchema, object, oneOfTexts } from '../http/fields.js';
import { Problem } from '../http/problem.js';
import { AUDIT_ACTIONS, AUDIT_ENTRY, MAX_AGE_DAYS, MAX_ENTRIES } from './audit-log.js';
import { Audit } from './audit.js';

const DEFAULT_LIMIT = 100;
const NDJSON = 'application/x-ndjson';

const QUERY = object({
  user_id: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 1_024,
      description: 'The user of the target: an id or a subject.',
    }),
  ),
  action: Type.Optional(oneOfTexts(AUDIT_ACTIONS)),
  by: Type.Optional(Type.String({ description: 'The name of the token.' })),
  since: Type.Optional(instantSchema('The first instant.')),
  until: Type.Optional(instantSchema('The last instant.')),
  limit: Type.Optional(
    Type.String({
      pattern: LIMIT.source,
      description: `The most entries, from 1 to ${MAX_ENTRIES}; ${DEFAULT_LIMIT} by default.`,
    }),
  ),
});
type Question = Static<typeof QUERY>;

@ApiTags('internal')
@NeedsScope('audit:read')
@Controller('internal/audit')
export class AuditController {
  constructor(private readonly audit: Audit) {}

  @Get()
  @RouteSchema({ querystring: QUERY })
  @ApiOperation({
    summary: 'List what operators changed, newest first',
    description:
      `The store keeps the newest ${MAX_ENTRIES} entries, for at most ${MAX_AGE_DAYS} days. Entries name users in plain ` +
      'text. Changes of viewers to their own sessions, and what jobs and machines report, are not recorded.',
  })
  @ApiQuery({ name: 'user_id', required: false, schema: schemaOf(QUERY.properties.user_id) })
  @ApiQuery({ name: 'action', required: false, schema: schemaOf(QUERY.properties.action) })
  @ApiQuery({ name: 'by', required: false, schema: schemaOf(QUERY.properties.by) })
  @ApiQuery({ name: 'since', required: false, schema: schemaOf(QUERY.properties.since) })
  @ApiQuery({ name: 'until', required: false, schema: schemaOf(QUERY.properties.until) })
  @ApiQuery({ name: 'limit', required: false, schema: schemaOf(QUERY.properties.limit) })
  @ApiOkResponse({
    description: 'One entry a line (NDJSON), the newest first. The schema is that of a line.',
    content: { [NDJSON]: { schema: schemaOf(AUDIT_ENTRY) } },
  })
  @ApiProblems('invalid-request', 'store-unavailable')
  async listAuditEntries(
    @Query() { user_id: name, action, by, since, until, limit }: Question,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<string> {
    const userId = name === undefined ? undefined : userIdNamed(name);
    const entries = await this.audit.newest(
      { since: readInstant('since', since), until: readInstant('until', until) },
      limit === undefined ? DEFAULT_LIMIT : Number(limit),
      (entry) =>
        (userId ?? entry.target.user_id) === entry.target.user_id &&
        (action ?? entry.action) === entry.action &&
        (by ?? entry.by) === entry.by,
    );
    void reply.type(NDJSON);
    return entries.map((entry) => `${JSON.stringify(entry)}\n`).join('');
  }
}

/** Throws the problem 422 for a leap second, which the format allows and Date.parse does not. */
function readInstant(field: string, text: string | undefined): number | undefined {
  const at = text === undefined ? undefined : Date.parse(text);
  if (Number.isNaN(at))
    throw Problem.invalidRequest([{ field, message: 'must be an instant without a leap second' }]);
  return at;
}
