import { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { type RequestNotes, currentNotes } from '../http/request-notes.js';
import { KNOWN_METHODS } from './http-metrics.js';
import { type OpenSpan, type Tracing } from './tracing.js';

/** Probes and scrapes come every few seconds. A stream of events lasts as long as its listener likes. */
const NOT_TRACED = /^\/(health\/|metrics$)|\/events$/;

/**
 * Begins the span of each request, below the span of the caller where `traceparent` names one. Call it after useHttpLog,
 * which begins the notes on a request. The span has the route pattern and never the URL, because URLs contain ids of users.
 */
export function useHttpTraces(fastify: FastifyInstance, tracing: Tracing): void {
  if (!tracing.isOn) return;
  fastify.addHook('onRequest', (request, reply, done) => {
    const route = request.routeOptions.url;
    const notes = currentNotes();
    if (notes !== undefined && !(route !== undefined && NOT_TRACED.test(route))) {
      const method = KNOWN_METHODS.has(request.method) ? request.method : '_OTHER';
      const attributes = {
        'http.request.method': method,
        'url.scheme': request.protocol,
        'streamgate.request_id': request.id,
        ...(route === undefined ? {} : { 'http.route': route }),
      };
      const name = route === undefined ? method : `${method} ${route}`;
      const span = tracing.begin(name, 'server', attributes, request.headers);
      if (span !== undefined) trace(span, notes, request, reply);
    }
    done();
  });
}

/** Ends the span with the reply, or when the client disconnects, for which Fastify has no hook. */
function trace(span: OpenSpan, notes: RequestNotes, request: FastifyRequest, reply: FastifyReply): void {
  notes.span = span;
  if (notes.trace !== span.traceId) {
    notes.callerTrace = notes.trace;
    notes.trace = span.traceId;
  }
  reply.raw.once('close', () => {
    const { decision, problem } = notes;
    const isSent = reply.raw.writableFinished;
    span.set({
      'http.response.status_code': isSent ? reply.statusCode : undefined,
      'streamgate.decision': decision?.decision,
      'streamgate.session_id': decision?.session_id,
      'streamgate.stream_id': decision?.stream_id,
      'streamgate.degraded': decision?.degraded,
      'streamgate.problem': problem,
    });
    if (!isSent) span.set({ 'error.type': 'aborted' });
    else if (reply.statusCode >= 500) span.fail(problem ?? String(reply.statusCode));
    span.end();
  });
}
