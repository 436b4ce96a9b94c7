import { Problem } from '../http/problem.js';
import { type StreamLookup } from './catalogue.js';

/** What a client is told where there is no stream to watch. */
export function streamProblem(outcome: Exclude<StreamLookup['outcome'], 'found'>): Problem {
  return outcome === 'not-found'
    ? new Problem(
        'stream-not-found',
        'List /v1/streams to see which there are; /v1/streams/{stream_id}/renditions tells its renditions.',
      )
    : new Problem('origin-unavailable', 'Ask again later; the log tells what the origin did.');
}
