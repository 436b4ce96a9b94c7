import { type FastifyInstance } from 'fastify';
import { type Config } from '../config/config.js';
import { VERSION } from '../config/effective.js';
import { currentNotes } from '../http/request-notes.js';
import { type Metrics } from './metrics.js';
import { type CountedSeries, type TimedSeries } from './series.js';

/** Users with more sessions than this are counted together. */
const MAX_LEVEL = 20;

/** Measures requests by their route, and counts the decisions on them. Call it before the routes are registered. */
export function useHttpMetrics(fastify: FastifyInstance, metrics: Metrics, config: Config): void {
  metrics.collectProcess();
  metrics.info('build_info', 'The build of this instance; the value is always 1.', {
    version: VERSION,
    commit: config.BUILD_COMMIT ?? '',
    node: process.versions.node,
  });
  const durations = metrics.histogram<RequestLabel>(
    'http_server_request_duration_seconds',
    'From the head of a request to the end of its reply, by route and status; event streams are left out.',
  );
  const decisions = metrics.seriesCounter<'outcome' | 'source'>(
    'decisions_total',
    'Decisions on requests, by outcome and by the interface that was asked.',
  );
  const admissions = metrics.seriesCounter<'level'>(
    'admissions_by_level_total',
    'New sessions, by the number of sessions that their user then held.',
  );
  const refusals = metrics.seriesCounter<'level'>(
    'refusals_by_level_total',
    'Requests that were refused because of the limit, by the number of sessions that their user held.',
  );

  fastify.addHook('onRoute', (route) => {
    // A stream of events lasts as long as its listener likes.
    if (route.url.endsWith('/events')) return;
    const source = sourceOf(route.url);
    /** By method and status. The series of each is made when it is first needed, and found by number from then on. */
    const ofRoute = new Map<string, TimedSeries[]>();
    const ofOutcome = new Map<string, CountedSeries>();
    const measure = (method: string, status: number, seconds: number): void => {
      let byStatus = ofRoute.get(method);
      if (byStatus === undefined) ofRoute.set(method, (byStatus = []));
      const series = (byStatus[status] ??= durations.series({
        http_request_method: method,
        http_route: route.url,
        http_response_status_code: String(status),
      }));
      series.observe(seconds);
    };
    const countDecision = (outcome: string): void => {
      let series = ofOutcome.get(outcome);
      if (series === undefined) ofOutcome.set(outcome, (series = decisions.series({ outcome, source })));
      series.count++;
    };
    const hooks = [route.onResponse ?? []].flat();
    route.onResponse = [
      ...hooks,
      (request, reply, done) => {
        measure(request.method, reply.statusCode, reply.elapsedTime / 1_000);
        const decision = currentNotes()?.decision;
        if (decision !== undefined) {
          countDecision(decision.decision);
          if (decision.decision === 'refused') refusals.series(levelOf(decision.live)).count++;
          else if (decision.decision === 'admitted' || decision.decision === 'readmitted')
            admissions.series(levelOf(decision.live)).count++;
        }
        done();
      },
    ];
  });
  fastify.addHook('onResponse', (request, reply, done) => {
    if (request.is404)
      durations
        .series({
          http_request_method: KNOWN_METHODS.has(request.method) ? request.method : '_OTHER',
          http_route: '',
          http_response_status_code: String(reply.statusCode),
        })
        .observe(reply.elapsedTime / 1_000);
    done();
  });
}

type RequestLabel = 'http_request_method' | 'http_route' | 'http_response_status_code';

/** Clients choose the method of a request without a route: each new one would be a series for ever. */
export const KNOWN_METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

function sourceOf(url: string): 'gate' | 'cmcd' | 'api' {
  if (url.startsWith('/v1/play/')) return 'gate';
  return url === '/v1/cmcd' ? 'cmcd' : 'api';
}

function levelOf(live: number | undefined): { readonly level: string } {
  if (live === undefined) return { level: '' };
  return { level: live > MAX_LEVEL ? `over ${MAX_LEVEL}` : String(live) };
}
