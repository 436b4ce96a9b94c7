import { type Socket } from 'node:net';
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
import { type Counter } from 'prom-client';
import { AppModule } from './app.module.js';
import { AccessControl } from './auth/access-control.js';
import { Clock } from './clock.js';
import { type Config } from './config/config.js';
import { VERSION } from './config/effective.js';
import { CALLBACKS } from './callbacks/callbacks.schemas.js';
import {
  CHECK_CONNECTIONS_MS,
  CUT_REASONS,
  type CutReason,
  KEEP_ALIVE_MS,
  REQUEST_TIMEOUT_MS,
  answerInTurn,
  cutStalled,
  drainOnClose,
  logUnrouted,
  refuseConnection,
  refuseUnanswered,
} from './http/connections.js';
import { keepOutOfCaches } from './http/caching.js';
import { CrossOrigin, forClients, forPlayers, forReports } from './http/cors.js';
import { DOCS, useDocs } from './http/docs.js';
import { HealthController } from './observability/health.controller.js';
import { useHttpLog } from './observability/log.js';
import { useHttpMetrics } from './observability/http-metrics.js';
import { useHttpTraces } from './observability/http-traces.js';
import { Metrics } from './observability/metrics.js';
import { Network } from './network.js';
import { Tracing } from './observability/tracing.js';
import { protectPages } from './http/pages.js';
import { Problem } from './http/problem.js';
import { ProblemFilter, sendProblem, toProblem } from './http/problem.filter.js';
import { RateLimits } from './http/rate-limits.js';
import { requestIdOf } from './http/request-notes.js';
import { MAX_PARAM_LENGTH, refuseUnknownRoutes } from './http/routing.js';
import { fieldErrorsOfBody, fieldErrorsOfParams } from './http/validation.js';
import { storeProblem } from './sessions/sessions.errors.js';
import { USER_ID } from './sessions/sessions.schemas.js';
import { PLAY_PATH } from './streams/playback.js';
import { MEDIA_PATH } from './streams/media-urls.js';

const BODY_LIMIT = 16 * 1024;
const CMCD_ROUTE = '/v1/cmcd';
/** The paths of the API that pages of the origins in CORS_ALLOWED_ORIGINS may use. */
const CONTROL_PATHS = ['v1/phases', 'v1/users', 'v1/tickets', 'v1/streams'];

/** Builds the whole application, ready for requests. The caller makes it listen. All wiring is here. */
export async function createApp(
  config: Config,
  clock = new Clock(),
  network = new Network(),
): Promise<NestFastifyApplication> {
  const { CORS_ALLOWED_ORIGINS, CORS_ALLOWED_HEADERS } = config;
  const crossOrigin = new CrossOrigin([
    forPlayers([PLAY_PATH, MEDIA_PATH], CORS_ALLOWED_HEADERS),
    forReports([CMCD_ROUTE.slice(1)], CORS_ALLOWED_HEADERS),
    forClients(CONTROL_PATHS, CORS_ALLOWED_ORIGINS, CORS_ALLOWED_HEADERS),
  ]);
  let cuts: Counter<'reason'> | undefined;
  const countCut = (reason: CutReason): void => cuts?.inc({ reason });
  const adapter = new FastifyAdapter({
    bodyLimit: BODY_LIMIT,
    // The service has no Express middleware; the layer for it would cost CPU for every request.
    skipMiddie: true,
    // Only these proxies may give the client's address, protocol and host in X-Forwarded-* headers.
    trustProxy: config.TRUSTED_PROXIES.length > 0 && [...config.TRUSTED_PROXIES],
    genReqId: requestIdOf,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    clientErrorHandler: (error: Error, socket: Socket) => refuseConnection(error, socket, countCut),
    // `addressOf` answers a missing Host with a problem, on the routes that need the host.
    http: {
      requireHostHeader: false,
      connectionsCheckingInterval: CHECK_CONNECTIONS_MS,
      // Node gives a body the longer of the two time-outs, and the default for headers is 60 s.
      headersTimeout: REQUEST_TIMEOUT_MS,
    },
    return503OnClosing: false,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    // An invalid body is refused, never corrected. The reply lists all its errors.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: true } },
    schemaErrorFormatter: (errors) => Problem.invalidRequest(fieldErrorsOfBody(errors)),
    frameworkErrors: (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
      // The router refuses before any hook runs, so that the headers are set here.
      crossOrigin.addHeaders(request, reply);
      const problem = toProblem(error);
      logUnrouted(problem, request.id);
      sendProblem(problem, request.id, reply.header('x-request-id', request.id));
    },
  });
  const app = await NestFactory.create<NestFastifyApplication>(
    AppModule.register(config, clock, network),
    adapter,
    {
      bodyParser: false,
      abortOnError: false,
      bufferLogs: true,
    },
  );
  const fastify: FastifyInstance = adapter.getInstance();
  const metrics = app.get(Metrics);
  cuts = metrics.counter('connections_cut_total', 'Connections that this instance closed, by the reason.', [
    'reason',
  ]);
  for (const reason of CUT_REASONS) cuts.inc({ reason }, 0);
  app.get(AccessControl).register(fastify, DOCS);
  acceptJsonOnly(fastify);
  answerInTurn(fastify, countCut);
  cutStalled(fastify, countCut);
  refuseUnanswered(fastify, countCut);
  if (config.AUTH_MODE === 'none') nameUsersById(fastify);
  useHttpLog(fastify, config, clock);
  useHttpTraces(fastify, app.get(Tracing));
  useHttpMetrics(fastify, metrics, config);
  const health = app.get(HealthController);
  drainOnClose(fastify, () => health.isDraining);
  crossOrigin.register(fastify);
  await app.get(RateLimits).register(fastify, metrics);
  await protectPages(fastify);
  keepOutOfCaches(fastify);
  refuseUnknownRoutes(fastify);
  // Adds `sendFile` to replies, for MediaController. It registers no route.
  await app.register(fastifyStatic, { root: __dirname, serve: false });
  app.useGlobalFilters(new ProblemFilter(storeProblem));
  app.useGlobalPipes(
    new ValidationPipe({
      exceptionFactory: (errors) => Problem.invalidRequest(fieldErrorsOfParams(errors)),
    }),
  );
  useDocs(app, CALLBACKS, VERSION);
  // Operators do not need the lines that Nest logs while it starts, except warnings and errors.
  const log = app.get(Logger);
  app.useLogger({ log: () => undefined, warn: log.warn.bind(log), error: log.error.bind(log) });
  await app.init();
  app.useLogger(log);
  await fastify.ready();
  return app;
}

/**
 * Without tokens, each body or path that can name the user must do so, with a user id. Subjects exist only in tokens.
 */
function nameUsersById(fastify: FastifyInstance): void {
  fastify.addHook('onRoute', (route) => {
    for (const part of ['body', 'params'] as const) {
      const schema = route.schema?.[part] as NamingSchema | undefined;
      if (schema?.properties === undefined || !('user_id' in schema.properties)) continue;
      const required = ['user_id', ...(schema.required ?? [])];
      const properties = { ...schema.properties, user_id: USER_ID };
      route.schema = { ...route.schema, [part]: { ...schema, properties, required } };
    }
  });
}

interface NamingSchema {
  readonly properties?: object;
  readonly required?: readonly string[];
}

function acceptJsonOnly(fastify: FastifyInstance): void {
  // A `__proto__` is a field like any other, which the schema refuses by name.
  const parse = fastify.getDefaultJsonParser('ignore', 'ignore');
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    const problem = codingProblem(request, body);
    if (problem !== undefined) done(problem);
    // Many clients send Content-Type with every request, even without a body.
    else if (body === '') done(null, undefined);
    else if (isForReports(request)) done(typeError(request));
    else void parse(request, body as string, done);
  });
  // Reports of players are accepted by one route only.
  fastify.addContentTypeParser('application/cmcd', { parseAs: 'string' }, (request, body, done) => {
    if (isForReports(request)) done(codingProblem(request, body) ?? null, body);
    else done(typeError(request));
  });
  // A body of another type is still read up to the limit, because 413 comes before 415.
  fastify.addContentTypeParser('*', { parseAs: 'buffer' }, (request, _body, done) => {
    done(typeError(request));
  });
}

function isForReports({ routeOptions }: FastifyRequest): boolean {
  return routeOptions.url === CMCD_ROUTE;
}

/** The error (415) of a body of a type that the route does not take. */
function typeError(request: FastifyRequest): Error {
  if (!isForReports(request)) return new fastifyErrors.FST_ERR_CTP_INVALID_MEDIA_TYPE();
  return new Problem(
    'unsupported-media-type',
    'Send the reports with the header Content-Type: application/cmcd.',
  );
}

/** The problem (415) of a body that is compressed. An empty body has no coding, whatever the header says. */
function codingProblem({ headers }: FastifyRequest, body: string | Buffer): Problem | undefined {
  const { 'content-encoding': coding = '' } = headers;
  if (body.length === 0 || coding === '' || coding.toLowerCase() === 'identity') return undefined;
  return new Problem('unsupported-media-type', 'Send the body as it is, without Content-Encoding.', {
    headers: { 'accept-encoding': 'identity' },
  });
}
