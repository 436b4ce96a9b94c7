import { randomUUID } from 'node:crypto';
import fastifyStatic from '@fastify/static';
import { ValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import {
  errorCodes as fastifyErrors,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import { Logger } from 'nestjs-pino';
import { AppModule } from './app.module.js';
import { AccessControl } from './auth/access-control.js';
import { Clock } from './clock.js';
import { type Config } from './config/config.js';
import { VERSION } from './config/effective.js';
import { CALLBACKS } from './callbacks/callbacks.schemas.js';
import {
  CHECK_CONNECTIONS_MS,
  KEEP_ALIVE_MS,
  REQUEST_TIMEOUT_MS,
  answerInTurn,
  cutStalled,
  drainOnClose,
  refuseConnection,
} from './http/connections.js';
import { CrossOrigin, forClients, forPlayers, forReports } from './http/cors.js';
import { DOCS, useDocs } from './http/docs.js';
import { useHttpLog } from './observability/log.js';
import { Metrics } from './observability/metrics.js';
import { protectPages } from './http/pages.js';
import { Problem } from './http/problem.js';
import { ProblemFilter, sendProblem, toProblem } from './http/problem.filter.js';
import { RateLimits } from './http/rate-limits.js';
import { MAX_PARAM_LENGTH, refuseUnknownRoutes } from './http/routing.js';
import { fieldErrorsOfBody, fieldErrorsOfParams } from './http/validation.js';
import { storeProblem } from './sessions/sessions.errors.js';
import { PLAY_PATH } from './streams/playback.js';
import { MEDIA_PATH } from './streams/media-urls.js';

const BODY_LIMIT = 16 * 1024;
const CMCD_ROUTE = '/v1/cmcd';
/** The API for clients, which pages of other origins may use where CORS_ALLOWED_ORIGINS names them. */
const CONTROL_PATHS = ['v1/phases', 'v1/users', 'v1/tickets', 'v1/streams'];

/** Builds the whole application, ready for requests; listening is the caller's. The only place where it is wired. */
export async function createApp(config: Config, clock = new Clock()): Promise<NestFastifyApplication> {
  const { CORS_ALLOWED_ORIGINS, CORS_ALLOWED_HEADERS } = config;
  const crossOrigin = new CrossOrigin([
    forPlayers([PLAY_PATH, MEDIA_PATH], CORS_ALLOWED_HEADERS),
    forReports([CMCD_ROUTE.slice(1)], CORS_ALLOWED_HEADERS),
    forClients(CONTROL_PATHS, CORS_ALLOWED_ORIGINS, CORS_ALLOWED_HEADERS),
  ]);
  const adapter = new FastifyAdapter({
    bodyLimit: BODY_LIMIT,
    // Nothing in here is Express middleware, which every request would pay for.
    skipMiddie: true,
    // Only these may say for whom they ask, and by which protocol and host.
    trustProxy: config.TRUSTED_PROXIES.length > 0 && [...config.TRUSTED_PROXIES],
    genReqId: () => randomUUID(),
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    clientErrorHandler: refuseConnection,
    // Told by a problem of ours, where it matters.
    http: { requireHostHeader: false, connectionsCheckingInterval: CHECK_CONNECTIONS_MS },
    return503OnClosing: false,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    // Bodies are refused, never mended; all their faults are told together.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: true } },
    schemaErrorFormatter: (errors) => Problem.invalidRequest(fieldErrorsOfBody(errors)),
    frameworkErrors: (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
      // The router refuses before any hook runs.
      crossOrigin.addHeaders(request, reply);
      sendProblem(toProblem(error), request.id, reply.header('x-request-id', request.id));
    },
  });
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.register(config, clock), adapter, {
    bodyParser: false,
    abortOnError: false,
    bufferLogs: true,
  });
  const fastify: FastifyInstance = adapter.getInstance();
  app.get(AccessControl).register(fastify, DOCS);
  takeJsonOnly(fastify);
  answerInTurn(fastify);
  cutStalled(fastify);
  if (config.AUTH_MODE === 'none') requireUserIds(fastify);
  useHttpLog(fastify);
  drainOnClose(fastify);
  crossOrigin.register(fastify);
  await app.get(RateLimits).register(fastify, app.get(Metrics));
  await protectPages(fastify);
  refuseUnknownRoutes(fastify);
  // Gives replies sendFile, for MediaController; serves nothing by itself.
  await app.register(fastifyStatic, { root: __dirname, serve: false });
  app.useGlobalFilters(new ProblemFilter(storeProblem));
  app.useGlobalPipes(
    new ValidationPipe({
      exceptionFactory: (errors) => Problem.invalidRequest(fieldErrorsOfParams(errors)),
    }),
  );
  app.enableShutdownHooks([], { useProcessExit: true });
  useDocs(app, CALLBACKS, VERSION);
  // What Nest says while it wires itself up is of no use to who runs it, but for what goes wrong.
  const log = app.get(Logger);
  app.useLogger({ log: () => undefined, warn: log.warn.bind(log), error: log.error.bind(log) });
  await app.init();
  app.useLogger(log);
  await fastify.ready();
  return app;
}

/** Where no token names the user, a body that can name the user must do so. */
function requireUserIds(fastify: FastifyInstance): void {
  fastify.addHook('onRoute', (route) => {
    const body = route.schema?.body as { properties?: object; required?: readonly string[] } | undefined;
    if (!body?.properties || !('user_id' in body.properties)) return;
    route.schema = { ...route.schema, body: { ...body, required: ['user_id', ...(body.required ?? [])] } };
  });
}

function takeJsonOnly(fastify: FastifyInstance): void {
  // A `__proto__` is a field like any other, which the schema refuses by name.
  const parse = fastify.getDefaultJsonParser('ignore', 'ignore');
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    // Many clients name the type on every request, with a body or without.
    if (body === '') done(null, undefined);
    else void parse(request, body as string, done);
  });
  // Reports of players, for the one route that takes them.
  fastify.addContentTypeParser('application/cmcd', { parseAs: 'string' }, (request, body, done) => {
    if (request.routeOptions.url === CMCD_ROUTE) done(null, body);
    else done(new fastifyErrors.FST_ERR_CTP_INVALID_MEDIA_TYPE());
  });
  // Read up to the limit all the same: too large is told before not JSON.
  fastify.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => {
    done(new fastifyErrors.FST_ERR_CTP_INVALID_MEDIA_TYPE());
  });
}
