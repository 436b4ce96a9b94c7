import { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse, createServer } from 'node:http';

/**
 * Records callbacks and answers 204. It is a separate process, so that it and the benchmark do not slow each other
 * down. `GET /count` returns the number of callbacks, `GET /callbacks` returns all of them.
 */
export interface ReceivedCallback {
  /** When it had arrived completely, in Unix milliseconds on the clock of this machine. */
  readonly arrivedAt: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const received: ReceivedCallback[] = [];

function record(request: IncomingMessage, reply: ServerResponse): void {
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (chunk: string) => (body += chunk));
  request.on('end', () => {
    received.push({ arrivedAt: Date.now(), headers: request.headers, body });
    reply.writeHead(204).end();
  });
}

createServer((request, reply) => {
  if (request.method === 'POST') record(request, reply);
  else reply.end(JSON.stringify(request.url === '/callbacks' ? received : received.length));
}).listen(Number(process.env.PORT), '127.0.0.1');
