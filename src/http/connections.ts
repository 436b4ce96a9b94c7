import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, STATUS_CODES, type ServerResponse } from 'node:http';
import { type Server, type Socket, createServer } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { type FastifyInstance, type FastifyRequest } from 'fastify';
import { PinoLogger } from 'nestjs-pino';
import { Problem, problemBody } from './problem.js';
import { requestIdOf } from './request-notes.js';

/** A request must arrive completely within this time; otherwise it is answered 408. */
export const REQUEST_TIMEOUT_MS = 10_000;
/** How often Node looks for slow requests. By default it looks every 30 s, so that a slow request would get 40 s. */
export const CHECK_CONNECTIONS_MS = 1_000;
/**
 * How long a connection stays open between two requests. It is longer than the idle time-out of most load balancers
 * (60 s), so that the load balancer closes the connection. If the service closed it first, the load balancer could send a
 * request on a closing connection, and would answer its client 502.
 */
export const KEEP_ALIVE_MS = 72_000;
/** A client that reads nothing of its reply for this long, at most twice this, is disconnected to free the memory. */
export const STALLED_MS = 30_000;
/** How many pipelined requests may wait on one connection. Usual clients wait for each reply and have none waiting. */
const MAX_PIPELINED = 10;
/** Turns of the event loop in which a graceful shutdown accepts what has arrived before it stops listening: one each. */
const MAX_LAST_TURNS = 1_000;
/** How long a graceful shutdown waits for requests in progress after it stopped listening. */
export const DRAIN_MS = 5_000;

/** Why the service closes a connection that its client would have kept. */
export const CUT_REASONS = [
  'malformed-request',
  'headers-too-large',
  'request-timeout',
  'pipelining',
  'stalled',
] as const;
export type CutReason = (typeof CUT_REASONS)[number];

/** Counts connections that the service closes. */
export type CountCut = (reason: CutReason) => void;

/**
 * Logs a request that is refused before it has a route, and so before the hook that logs requests. No rate limit counts
 * such requests, so that the line is at the level debug.
 */
export function logUnrouted(problem: Problem, reqId: string): void {
  PinoLogger.root.debug({ reqId, status: problem.getStatus(), code: problem.code }, 'request');
}

/** Answers when Node refuses a request before Fastify sees it: malformed HTTP, headers too large, or a time-out. */
export function refuseConnection(
  error: Error & { code?: string },
  socket: Socket,
  countCut: CountCut,
  requestId: string = randomUUID(),
): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const problem =
    error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? new Problem('request-timeout', `Send the whole request within ${REQUEST_TIMEOUT_MS / 1_000} s.`)
      : error.code === 'HPE_HEADER_OVERFLOW'
        ? new Problem('headers-too-large', 'Send a shorter path and fewer or shorter headers.')
        : new Problem('malformed-request', 'Send well-formed HTTP/1.1.');
  countCut(problem.code as CutReason);
  logUnrouted(problem, requestId);
  const body = problemBody(problem, requestId);
  const status = problem.getStatus();
  const headers = Object.entries(headersOf(body, requestId)).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${headers.join('')}\r\n${body}`);
}

/** The headers of a problem that Fastify does not send. */
function headersOf(body: string, requestId: string): Readonly<Record<string, string | number>> {
  return {
    'Content-Type': 'application/problem+json',
    'Cache-Control': 'no-store',
    // The page that sent the request is not known by now, and this reply says nothing about a user.
    'Access-Control-Allow-Origin': '*',
    'X-Request-Id': requestId,
    'Content-Length': Buffer.byteLength(body),
    // A body that may follow is not read, so the connection cannot go on.
    Connection: 'close',
  };
}

/** Answers the requests that Node would answer by itself, before Fastify and without a body: an `Expect`, and `CONNECT`. */
export function refuseUnanswered({ server }: FastifyInstance, countCut: CountCut): void {
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    const problem = new Problem('expectation-failed', 'Send no Expect header, or Expect: 100-continue.');
    const requestId = requestIdOf(request);
    logUnrouted(problem, requestId);
    const body = problemBody(problem, requestId);
    response.writeHead(problem.getStatus(), headersOf(body, requestId)).end(body);
  });
  server.on('connect', (request: IncomingMessage, socket: Socket) => {
    refuseConnection(new Error('CONNECT is for proxies'), socket, countCut, requestIdOf(request));
  });
}

/**
 * Handles pipelined requests of one connection one after the other, and closes a connection with too many of them.
 * Node would start all of them at once, hundreds from a single packet, and buffer the replies for a client that reads none.
 */
export function answerInTurn(fastify: FastifyInstance, countCut: CountCut): void {
  const waiting = new WeakMap<Socket, number>();
  fastify.addHook('onRequest', ({ raw: { socket } }, { raw: response }, done) => {
    // A response gets its socket when the responses before it are written.
    if (response.socket !== null) return done();
    const ahead = waiting.get(socket) ?? 0;
    if (ahead >= MAX_PIPELINED) {
      countCut('pipelining');
      socket.destroy();
      return;
    }
    waiting.set(socket, ahead + 1);
    response.once('socket', () => {
      waiting.set(socket, waiting.get(socket)! - 1);
      if (!socket.destroyed) done();
    });
  });
}

/**
 * Closes connections whose client does not read its reply. It checks all connections at intervals, because Node's socket
 * time-out, which each write resets, costs 10 µs of CPU per request: a fifth of the total.
 */
export function cutStalled(fastify: FastifyInstance, countCut: CountCut): void {
  /** For each connection, how many bytes had been sent at the last check. */
  const sent = new Map<Socket, number>();
  fastify.server.on('connection', (socket: Socket) => {
    sent.set(socket, -1);
    socket.once('close', () => sent.delete(socket));
  });
  const checks = setInterval(() => {
    for (const [socket, before] of sent) {
      const now = socket.bytesWritten - socket.writableLength;
      sent.set(socket, now);
      if (socket.writableLength === 0 || now !== before) continue;
      countCut('stalled');
      socket.destroy();
    }
  }, STALLED_MS).unref();
  fastify.addHook('onClose', (_instance, done) => {
    clearInterval(checks);
    done();
  });
}

/**
 * Makes the graceful shutdown end in time, and lose no request. While the service drains, each reply closes its connection:
 * a load balancer then opens its next connection to another instance, and a client that keeps its connection does not delay
 * the shutdown by KEEP_ALIVE_MS (fastify/fastify#7044). DRAIN_MS after the service stopped listening the remaining
 * connections are closed, because one with an incomplete request would delay the shutdown for ever.
 */
export function drainOnClose(fastify: FastifyInstance, isDraining: () => boolean): void {
  let connections = 0;
  fastify.server.on('connection', () => connections++);
  fastify.addHook('preClose', async () => {
    // The kernel resets the connections that wait to be accepted when the service stops listening.
    for (let before = -1, turns = 0; before !== connections && turns < MAX_LAST_TURNS; turns += 2) {
      before = connections;
      await turn();
      await turn();
    }
    setTimeout(() => {
      fastify.server.closeAllConnections();
    }, DRAIN_MS).unref();
  });
  fastify.addHook('onSend', (_request, reply, payload, done) => {
    if (isDraining()) void reply.header('connection', 'close');
    done(null, payload);
  });
}

/**
 * Listens on a second port, for probes and operators. Connections wait to be accepted in a queue for each port, and Node
 * accepts one of each in a turn of the event loop. When more clients connect than the service can answer, a probe at the
 * clients' port waits behind them for seconds. Call it when the application listens.
 */
export async function listenForOperators(
  fastify: FastifyInstance,
  port: number,
  host: string,
): Promise<void> {
  const door: Server = createServer({ noDelay: true }, (socket) => fastify.server.emit('connection', socket));
  fastify.server.once('close', () => door.close());
  door.listen(port, host);
  await once(door, 'listening');
}

/** The address that the client used, as `https://host:port`, for URLs in replies. Throws a problem if Host is invalid. */
export function addressOf({ protocol: given, host }: FastifyRequest): string {
  // The name of a scheme has no case (RFC 3986, 3.1), and proxies send `HTTPS`.
  const protocol = given.toLowerCase();
  // A trusted proxy may pass on the client's own X-Forwarded-Host, so that its value is checked as well.
  const isAddress = /^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$/.test(host);
  if (isAddress && /^https?$/.test(protocol)) return `${protocol}://${host}`;
  throw new Problem('malformed-request', 'Send a valid Host header.');
}
