import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import { type Socket } from 'node:net';
import { type FastifyInstance, type FastifyRequest } from 'fastify';
import { Problem, problemBody } from './problem.js';

/** How long a request may take to arrive whole; then it is answered 408. */
export const REQUEST_TIMEOUT_MS = 10_000;
/** How often that is looked for: at Node's own pace, every 30 s, a slow request would have four times as long. */
export const CHECK_CONNECTIONS_MS = 1_000;
/**
 * How long a connection stays open between two requests. Longer than a load balancer keeps it (60 s, most of them): the
 * one who ends it must be the one who sends, or a request meets the end of its connection and is answered 502.
 */
export const KEEP_ALIVE_MS = 72_000;
/** Who takes nothing of a reply for so long, or for twice that at most, is cut: it would have the rest kept for good. */
export const STALLED_MS = 30_000;
/** How many requests may wait on a connection for the one before them. Clients send the next when they have the reply. */
const MAX_PIPELINED = 10;
/** How long a shutdown waits for requests under way. */
export const DRAIN_MS = 5_000;

/** Answers what Node refuses before there is a request: no HTTP, headers that are too large, or too slow. */
export function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
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
  const body = problemBody(problem, randomUUID());
  const status = problem.getStatus();
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/problem+json\r\n` +
      // Nobody can tell the path or the page by now, and this reply says nothing of a user.
      `Access-Control-Allow-Origin: *\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

/**
 * Answers what was sent on one connection one after the other, and cuts a connection on which too much was sent ahead.
 * Node would take up all of it at once, hundreds of requests in one packet, and keep the replies of whoever reads none.
 */
export function answerInTurn(fastify: FastifyInstance): void {
  const waiting = new WeakMap<Socket, number>();
  fastify.addHook('onRequest', ({ raw: { socket } }, { raw: response }, done) => {
    // A response has its connection once those before it are written out.
    if (response.socket !== null) return done();
    const ahead = waiting.get(socket) ?? 0;
    if (ahead >= MAX_PIPELINED) {
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
 * Cuts connections whose reply goes nowhere. By looking now and then: Node's own time-out, which each write winds up
 * anew, took ten microseconds of CPU a request, a fifth of the whole.
 */
export function cutStalled(fastify: FastifyInstance): void {
  /** What had left each connection at the last look. */
  const sent = new Map<Socket, number>();
  fastify.server.on('connection', (socket: Socket) => {
    sent.set(socket, -1);
    socket.once('close', () => sent.delete(socket));
  });
  const looking = setInterval(() => {
    for (const [socket, before] of sent) {
      const gone = socket.bytesWritten - socket.writableLength;
      sent.set(socket, gone);
      if (socket.writableLength > 0 && gone === before) socket.destroy();
    }
  }, STALLED_MS).unref();
  fastify.addHook('onClose', (_instance, done) => {
    clearInterval(looking);
    done();
  });
}

/**
 * Lets a shutdown come to its end. Requests under way are answered, each with `connection: close`: a client that keeps
 * its connection would hold it up for KEEP_ALIVE_MS (fastify/fastify#7044). A connection on which no request ever arrives
 * whole would hold it up for good, so that what is left after DRAIN_MS is cut.
 */
export function drainOnClose(fastify: FastifyInstance): void {
  let closing = false;
  fastify.addHook('preClose', (done) => {
    closing = true;
    setTimeout(() => {
      fastify.server.closeAllConnections();
    }, DRAIN_MS).unref();
    done();
  });
  fastify.addHook('onSend', (_request, reply, payload, done) => {
    if (closing) void reply.header('connection', 'close');
    done(null, payload);
  });
}

/** The address that the client used, for the URLs that it is given; a problem where its Host is none. */
export function addressOf({ protocol, host }: FastifyRequest): string {
  // What a trusted proxy passes on may be what its client wrote.
  const isAddress = /^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$/.test(host);
  if (isAddress && /^https?$/.test(protocol)) return `${protocol}://${host}`;
  throw new Problem('malformed-request', 'Say in the header Host where the request is sent.');
}
