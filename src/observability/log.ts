import { AsyncLocalStorage } from 'node:async_hooks';
import { basename } from 'node:path';
import { getCallSites } from 'node:util';
import { type FastifyInstance, type FastifyRequest } from 'fastify';
import { type Params, PinoLogger } from 'nestjs-pino';
import pretty from 'pino-pretty';
import { type Config } from '../config/config.js';

const context = new AsyncLocalStorage<{ reqId: string }>();

/** pino by way of nestjs-pino; requests are logged by the hooks below, at a fifth of the cost of its middleware. */
export function logParams(config: Config): Params {
  const readable = config.LOG_FORMAT === 'pretty';
  const options = {
    level: config.LOG_LEVEL,
    base: null,
    hooks: { streamWrite: harmless(config.secrets) },
    // A fresh object each time: pino writes the line's own fields into it.
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
 * What a line must not hold, whoever wrote it. No line is meant to hold a secret; but messages of libraries do as they
 * like, and errors are logged whole. And JSON leaves characters as they are that end a line to some readers, or that a
 * terminal obeys.
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
 * File and line of the statement that logs, as the source has them: the first frame of ours beyond the logger's. It
 * costs a stack trace each line, so only where a developer reads the log.
 */
function callSite(): string | undefined {
  const frames = getCallSites(40, { sourceMap: true });
  const isForeign = (name: string): boolean => name.includes('node_modules') || name.startsWith('node:');
  const logger = frames.findIndex(({ scriptName }) => isForeign(scriptName));
  const site = frames.slice(logger).find(({ scriptName }) => !isForeign(scriptName));
  return site && `${basename(site.scriptName)}:${site.lineNumber}`;
}

/** Gives each line the id of its request, and logs each request once when its reply is out. */
export function useHttpLog(fastify: FastifyInstance): void {
  const log = PinoLogger.root;
  fastify.addHook('onRequest', (request, reply, done) => {
    void reply.header('x-request-id', request.id);
    context.run({ reqId: request.id }, done);
  });
  if (!log.isLevelEnabled('info')) return;
  fastify.addHook('onResponse', (request, reply, done) => {
    // Probes come every few seconds, from every side.
    const level = request.url.startsWith('/health/') ? 'debug' : 'info';
    log[level]({ ...about(request), status: reply.statusCode, ms: Math.round(reply.elapsedTime) }, 'request');
    done();
  });
  fastify.addHook('onRequestAbort', (request, done) => {
    log.info(about(request), 'request aborted by its client');
    done();
  });
}

/** By the pattern of the route, never by the URL: URLs hold the ids of users. */
function about(request: FastifyRequest): object {
  return { reqId: request.id, method: request.method, route: request.routeOptions.url };
}
