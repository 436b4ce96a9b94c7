import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { type Static, Type } from '@sinclair/typebox';
import { NeedsScope } from '../auth/access.js';
import { userIdOfName } from '../auth/subjects.js';
import { ApiProblems, schemaOf } from '../http/docs.js';
import { component, countSchema, instantSchema, object } from '../http/fields.js';
import { type FieldError, Problem } from '../http/problem.js';
import { type KeepAlive } from './session.js';
import { SessionRepository } from './session.repository.js';
import { SESSION_ID, USER_NAME } from './sessions.schemas.js';

/** With ids of usual length, a batch of this size stays below the size limit of a request body. */
const MAX_BATCH = 100;

const SIGHTING = object({
  user_id: USER_NAME,
  session_id: SESSION_ID,
  at: instantSchema('When the player fetched something.'),
});

const ACTIVITY_REPORT = component('ActivityReport', {
  activity: Type.Array(SIGHTING, {
    minItems: 1,
    maxItems: MAX_BATCH,
    description: 'In any order. The same session may be in it several times.',
    examples: [[{ user_id: 'ana', session_id: 'tv', at: '2030-01-01T00:00:00.000Z' }]],
  }),
});

const ACTIVITY_RESULT = component('ActivityResult', {
  noted: countSchema(
    'Entries of live sessions. The last activity of each session is now the latest of its entries, or later.',
  ),
  ended: countSchema('Entries of sessions that were ended. Nothing changed.'),
  unknown: countSchema('Entries of sessions that the user does not hold, or no longer. Nothing changed.'),
});

const COUNTED_AS = {
  kept: 'noted',
  'session-ended': 'ended',
  'session-not-found': 'unknown',
} as const satisfies Record<KeepAlive['outcome'], keyof Static<typeof ACTIVITY_RESULT>>;

interface Sighting {
  readonly userId: string;
  readonly sessionId: string;
  /** Unix milliseconds. */
  readonly at: number;
}

/** Accepts reports of the activity of players, such as from the log of a CDN whose requests do not pass the gate. */
@ApiTags('internal')
@Controller('internal/activity')
@NeedsScope('activity:write')
export class ActivityController {
  constructor(private readonly sessions: SessionRepository) {}

  @Post()
  @HttpCode(200)
  @RouteSchema({ body: ACTIVITY_REPORT })
  @ApiOperation({
    summary: 'Report the activity of sessions, from the log of a CDN',
    description:
      'Moves the last activity of each session forward to `at`: never back, and never past now. It creates no session, ' +
      'and admits none again that has expired. An entry counts only if it arrives before its session expires. The ' +
      'request is idempotent: send the batch again after a 503.',
  })
  @ApiBody({ required: true, schema: schemaOf(ACTIVITY_REPORT) })
  @ApiOkResponse({
    description: 'The whole batch was handled. The counts add up to its length.',
    schema: schemaOf(ACTIVITY_RESULT),
  })
  @ApiProblems(
    'malformed-request',
    'payload-too-large',
    'unsupported-media-type',
    'invalid-request',
    'store-unavailable',
  )
  async reportActivity(
    @Body() { activity }: Static<typeof ACTIVITY_REPORT>,
  ): Promise<Static<typeof ACTIVITY_RESULT>> {
    // Only the latest entry of a session can move its activity. A log has several lines of most sessions.
    const ofSessions = Map.groupBy(
      readSightings(activity),
      ({ userId, sessionId }) => `${userId} ${sessionId}`,
    );
    const result = { noted: 0, ended: 0, unknown: 0 };
    await Promise.all(
      [...ofSessions.values()].map(async (entries) => {
        const { userId, sessionId } = entries[0]!;
        const latest = Math.max(...entries.map(({ at }) => at));
        const { outcome } = await this.sessions.noteActivity(userId, sessionId, latest);
        result[COUNTED_AS[outcome]] += entries.length;
      }),
    );
    return result;
  }
}

/** Throws the problem 422 that lists all entries whose texts match the schema but are not valid. */
function readSightings(activity: Static<typeof ACTIVITY_REPORT>['activity']): Sighting[] {
  const errors: FieldError[] = [];
  const sightings = activity.map(({ user_id: name, session_id: sessionId, at: text }, index) => {
    const userId = userIdOfName(name);
    if (userId === undefined)
      errors.push({ field: `activity.${index}.user_id`, message: 'must be an id or a subject' });
    const at = Date.parse(text);
    // The format allows a leap second, but Date.parse does not.
    if (Number.isNaN(at))
      errors.push({ field: `activity.${index}.at`, message: 'must be an instant without a leap second' });
    return { userId: userId ?? '', sessionId, at };
  });
  if (errors.length > 0) throw Problem.invalidRequest(errors);
  return sightings;
}
