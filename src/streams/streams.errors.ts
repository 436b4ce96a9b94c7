import { Problem } from '../http/problem.js';
import { type Absence } from './catalogue.js';

/** The problem of a look-up that found no stream. */
export function streamProblem(outcome: Absence['outcome']): Problem {
  return outcome === 'not-found'
    ? new Problem(
        'stream-not-found',
        'List /v1/streams to see which there are; /v1/streams/{stream_id}/renditions tells its renditions.',
      )
    : new Problem('origin-unavailable', 'Ask again later; the log tells what the origin did.');
}
