import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException } from '@nestjs/common';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { PinoLogger } from 'nestjs-pino';
import { PROBLEMS, Problem, type ProblemCode, problemType } from './problem.js';

/** Fastify's own refusals, by its error codes. */
const FASTIFY_PROBLEMS: Readonly<Record<string, { code: ProblemCode; detail: string }>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: 'unsupported-media-type',
    detail: 'Send the body as JSON, with the header Content-Type: application/json.',
  },
  FST_ERR_CTP_BODY_TOO_LARGE: { code: 'payload-too-large', detail: 'Send at most 16 KiB.' },
};

const BY_STATUS: Readonly<Record<number, { code: ProblemCode; detail: string }>> = {
  400: { code: 'malformed-request', detail: 'Send a well-formed request; a body must be valid JSON.' },
  404: { code: 'not-found', detail: 'See /docs for the paths that there are.' },
  413: FASTIFY_PROBLEMS.FST_ERR_CTP_BODY_TOO_LARGE!,
  415: FASTIFY_PROBLEMS.FST_ERR_CTP_INVALID_MEDIA_TYPE!,
};

/** The one place where an error becomes a reply. What is unexpected is logged whole and told as nothing but a 500. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  /** `translate` names the problem of an error that a module defines; undefined leaves it to the rules in here. */
  constructor(private readonly translate: (error: unknown) => Problem | undefined) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const reply = http.getResponse<FastifyReply>();
    const problem = this.translate(error) ?? toProblem(error);
    if (problem.getStatus() >= 500)
      PinoLogger.root.error({ err: problem.cause ?? problem, code: problem.code }, 'request failed');
    // Too late for a reply where a part of one is on its way already.
    if (!reply.sent && !reply.raw.headersSent)
      sendProblem(problem, http.getRequest<FastifyRequest>().id, reply);
  }
}

/** Written as bytes: to a string Fastify would add a charset, which this media type does not have. */
export function sendProblem(problem: Problem, requestId: string, reply: FastifyReply): void {
  const { status, title } = PROBLEMS[problem.code];
  const body = {
    type: problemType(problem.code),
    title,
    status,
    detail: problem.detail,
    instance: requestId,
    code: problem.code,
    ...problem.members,
  };
  void reply
    .code(status)
    .headers(problem.headers)
    .type('application/problem+json')
    .send(Buffer.from(JSON.stringify(body)));
}

export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const fastifyCode =
    (error as { cause?: { code?: unknown } } | undefined)?.cause?.code ?? (error as { code?: unknown })?.code;
  const status =
    error instanceof HttpException
      ? error.getStatus()
      : Number((error as { statusCode?: unknown })?.statusCode);
  const known = FASTIFY_PROBLEMS[String(fastifyCode)] ?? BY_STATUS[status];
  if (known) return new Problem(known.code, known.detail, { cause: error });
  if (status >= 400 && status < 500)
    return new Problem('malformed-request', BY_STATUS[400]!.detail, { cause: error });
  return new Problem('internal-error', 'Ask again later; the log tells more under the request id.', {
    cause: error,
  });
}
