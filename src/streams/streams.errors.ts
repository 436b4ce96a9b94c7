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
