import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException } from '@nestjs/common';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { PinoLogger } from 'nestjs-pino';
import { noteProblem } from './request-notes.js';
import { Problem, type ProblemCode, problemBody } from './problem.js';

/** The problems of errors that Fastify and Nest throw themselves, by status. */
const BY_STATUS: Readonly<Record<number, readonly [ProblemCode, detail: string]>> = {
  400: ['malformed-request', 'Send a well-formed request; a body must be valid JSON.'],
  404: ['not-found', 'See /docs for the paths of the API.'],
  412: ['precondition-failed', 'Request the resource again, without the condition.'],
  413: ['payload-too-large', 'Send at most 16 KiB.'],
  415: ['unsupported-media-type', 'Send the body as JSON, with the header Content-Type: application/json.'],
  416: ['range-not-satisfiable', 'Request a range within the resource, or the whole resource.'],
};

/** What errors of Fastify and of the file server have. */
interface ThrownError {
  readonly statusCode?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The only place that turns an error into a reply. An unexpected error is logged in full; the client sees only a 500. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  /** `translate` gives the problem of an error that a module defines, or undefined for any other error. */
  constructor(private readonly translate: (error: unknown) => Problem | undefined) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const reply = http.getResponse<FastifyReply>();
    const problem = this.translate(error) ?? toProblem(error);
    noteProblem(problem.code);
    if (problem.code === 'internal-error') PinoLogger.root.error({ err: problem.cause }, 'request failed');
    else if (problem.cause instanceof Error)
      PinoLogger.root.warn({ code: problem.code, reason: problem.cause.message }, 'request failed');
    // If a part of a reply was sent already, no other reply is possible.
    if (!reply.sent && !reply.raw.headersSent)
      sendProblem(problem, http.getRequest<FastifyRequest>().id, reply);
  }
}

/**
 * Sends bytes, because Fastify adds a charset to strings, and this media type has no charset parameter. No cache may keep a
 * problem: it tells how things are now. Many caches keep a 404, and CDNs other errors too, if they are not told otherwise.
 */
export function sendProblem(problem: Problem, requestId: string, reply: FastifyReply): void {
  void reply
    .code(problem.getStatus())
    .headers(problem.headers)
    .header('cache-control', 'no-store')
    .type('application/problem+json')
    .send(Buffer.from(problemBody(problem, requestId)));
}

export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  // Nest wraps the errors of others.
  const thrown = (error instanceof HttpException ? (error.cause ?? error) : error) as ThrownError | undefined;
  const status = error instanceof HttpException ? error.getStatus() : Number(thrown?.statusCode);
  const known = BY_STATUS[status] ?? (status >= 400 && status < 500 ? BY_STATUS[400] : undefined);
  // The file server tells the length of a file to a client that asked beyond its end.
  if (known) return new Problem(...known, { headers: thrown?.headers ?? {} });
  return new Problem(
    'internal-error',
    'Try again later. The log has the cause, with the request id of this reply.',
    {
      cause: error,
    },
  );
}
