import { AsyncLocalStorage } from 'node:async_hooks';
import { basename } from 'node:path';
import { getCallSites } from 'node:util';
import { type FastifyInstance, type FastifyRequest } from 'fastify';
import { type Params, PinoLogger } from 'nestjs-pino';
import pretty from 'pino-pretty';
import { type Config } from '../config/config.js';

const context = new AsyncLocalStorage<{ reqId: string }>();

/** pino through nestjs-pino. The hooks below log requests, at a fifth of the cost of the middleware of nestjs-pino. */
export function logParams(config: Config): Params {
  const readable = config.LOG_FORMAT === 'pretty';
  const options = {
    level: config.LOG_LEVEL,
    base: null,
    hooks: { streamWrite: harmless(config.secrets) },
    // A new object each time, because pino writes the fields of the line into it.
    mixin: readable ? () => ({ ...context.getStore(), at: callSite() }) : () => ({ ...context.getStore() }),
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

/** Adds the request id to each line, and logs each request once, after its reply. */
export function useHttpLog(fastify: FastifyInstance): void {
  const log = PinoLogger.root;
  fastify.addHook('onRequest', (request, reply, done) => {
    void reply.header('x-request-id', request.id);
    context.run({ reqId: request.id }, done);
  });
  if (!log.isLevelEnabled('info')) return;
  fastify.addHook('onResponse', (request, reply, done) => {
    // Load balancers and monitoring probe every few seconds.
    const level = request.url.startsWith('/health/') ? 'debug' : 'info';
    log[level]({ ...about(request), status: reply.statusCode, ms: Math.round(reply.elapsedTime) }, 'request');
    done();
  });
  fastify.addHook('onRequestAbort', (request, done) => {
    log.info(about(request), 'request aborted by its client');
    done();
  });
}

/** Names the pattern of the route and never the URL, because URLs contain ids of users. */
function about(request: FastifyRequest): object {
  return { reqId: request.id, method: request.method, route: request.routeOptions.url };
}
