import { ID } from '../http/fields.js';
import { Problem } from '../http/problem.js';
import { type Absence } from './catalogue.js';

/** The problem of a look-up that found no stream. */
export function streamProblem(outcome: Absence['outcome']): Problem {
  return outcome === 'not-found'
    ? new Problem(
        'stream-not-found',
        'GET /v1/streams lists the streams; GET /v1/streams/{stream_id}/renditions lists the renditions of one.',
      )
    : new Problem('origin-unavailable', 'Try again later. The log has the failure of the origin.');
}

/** Throws the problem of an absent stream if clients would resolve a URL with this id to another path, as with `..`. */
export function checkIdInUrl(streamId: string): void {
  if (!ID.test(streamId)) throw streamProblem('not-found');
}
