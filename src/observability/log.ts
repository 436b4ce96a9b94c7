import { basename } from 'node:path';
import { getCallSites } from 'node:util';
import { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { type Params, PinoLogger } from 'nestjs-pino';
import pretty from 'pino-pretty';
import { subjectOfCaller, tokenNameOf, userIdOfCaller } from '../auth/access.js';
import { type Clock } from '../clock.js';
import { type Config } from '../config/config.js';
import { currentNotes, runWithNotes } from '../http/request-notes.js';
import { userNaming } from './pseudonym.js';
import { RenewalSample } from './renewal-sample.js';

/** https://www.w3.org/TR/trace-context/#traceparent-header */
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/;
/** What AWS load balancers send, for example `Root=1-67891233-abcdef012345678912345678;Self=…`. */
const AMAZON_TRACE = /^[\w=;.:-]{1,256}$/;

/** pino through nestjs-pino. The hooks below log requests, at a fifth of the cost of the middleware of nestjs-pino. */
export function logParams(config: Config): Params {
  const readable = config.LOG_FORMAT === 'pretty';
  const options = {
    level: config.LOG_LEVEL,
    base: null,
    formatters: { level: (label: string) => ({ level: label }) },
    hooks: { streamWrite: harmless(config.secrets) },
    // A new object each time, because pino writes the fields of the line into it.
    mixin: readable || config.LOG_CALLER === 'true' ? () => ({ ...ofRequest(), at: callSite() }) : ofRequest,
  };
  if (!readable) return { forRoutes: [], pinoHttp: options };
  const stream = pretty({
    colorize: process.stdout.isTTY,
    translateTime: 'SYS:HH:MM:ss.l',
    singleLine: true,
    ignore: 'reqId,at,context',
    messageFormat: (log, key) => [log.at, log.reqId, log[key]].filter(Boolean).join(' '),
    sync: true,
  });
  return { forRoutes: [], pinoHttp: [options, stream] };
}

/**
 * Removes secrets from a line and escapes control characters. No line of this service contains a secret on purpose, but
 * errors of libraries are logged in full. JSON does not escape some characters that end a line for some readers, or that
 * control a terminal.
 */
function harmless(secrets: readonly string[]): (line: string) => string {
  const written = secrets.map((secret) => JSON.stringify(secret).slice(1, -1));
  return (line) => {
    for (const secret of written) if (line.includes(secret)) line = line.replaceAll(secret, '[secret]');
    return line.replace(
      /[\u007f-\u009f\u2028\u2029]/g,
      (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
  };
}

/**
 * File and line, in the TypeScript source, of the statement that logs: the first frame of this project above those of the
 * logger. Each line costs a stack trace, so that only the `pretty` format has it.
 */
function callSite(): string | undefined {
  const frames = getCallSites(40, { sourceMap: true });
  const isForeign = (name: string): boolean => name.includes('node_modules') || name.startsWith('node:');
  const logger = frames.findIndex(({ scriptName }) => isForeign(scriptName));
  const site = frames.slice(logger).find(({ scriptName }) => !isForeign(scriptName));
  return site && `${basename(site.scriptName)}:${site.lineNumber}`;
}

function ofRequest(): object {
  const notes = currentNotes();
  if (notes === undefined) return {};
  return { reqId: notes.reqId, trace: notes.trace, caller_trace: notes.callerTrace };
}

/** Adds the request id to each line, answers the ids of the caller, and logs each request once, after its reply. */
export function useHttpLog(fastify: FastifyInstance, config: Config, clock: Clock): void {
  const log = PinoLogger.root;
  const nameUser = userNaming(config);
  const sample = new RenewalSample(config.LOG_SAMPLE_RENEWALS, clock);
  fastify.addHook('onRequest', (request, reply, done) => {
    void reply.header('x-request-id', request.id);
    runWithNotes({ reqId: request.id, trace: traceOf(request, reply) }, done);
  });
  fastify.addHook('onResponse', (request, reply, done) => {
    logReply(request, reply);
    done();
  });
  fastify.addHook('onRequestAbort', (request, done) => {
    // One client can do this thousands of times, and it is no fault of the service.
    log.debug(about(request), 'request aborted by its client');
    done();
  });

  function logReply(request: FastifyRequest, reply: FastifyReply): void {
    // Load balancers and monitoring probe every few seconds.
    const level = request.url.startsWith('/health/') ? 'debug' : reply.statusCode === 503 ? 'warn' : 'info';
    if (!log.isLevelEnabled(level)) return;
    const { decision, problem } = currentNotes() ?? {};
    const isRenewal =
      problem === undefined && (decision?.decision === 'renewed' || decision?.decision === 'kept');
    const standsFor = isRenewal ? sample.next() : 1;
    if (standsFor === undefined) return;
    const userId = userIdOfCaller(request);
    log[level](
      {
        ...about(request),
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
        ...decision,
        code: problem,
        user: userId === undefined ? undefined : nameUser(userId),
        subject: config.LOG_USER_IDS === 'plain' ? subjectOfCaller(request) : undefined,
        by: tokenNameOf(request),
        sampled: standsFor > 1 ? standsFor : undefined,
      },
      'request',
    );
  }
}

/** The trace id of the caller, whose header is also answered; undefined without one. */
function traceOf({ headers }: FastifyRequest, reply: FastifyReply): string | undefined {
  const { traceparent, 'x-amzn-trace-id': amazon } = headers;
  const trace = typeof traceparent === 'string' ? TRACEPARENT.exec(traceparent)?.[1] : undefined;
  if (trace !== undefined) void reply.header('traceparent', traceparent);
  if (typeof amazon !== 'string' || !AMAZON_TRACE.test(amazon)) return trace;
  void reply.header('x-amzn-trace-id', amazon);
  return trace ?? amazon;
}

/** Names the pattern of the route and never the URL, because URLs contain ids of users. */
function about(request: FastifyRequest): object {
  return { reqId: request.id, method: request.method, route: request.routeOptions.url };
}
