import { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse, createServer } from 'node:http';

/**
 * Takes callbacks down and says yes; a process of its own, so that it neither waits for the benchmark nor holds it up.
 * `GET /count` tells how many have come, `GET /taken` tells them all.
 */
export interface Taken {
  /** By this machine's clock, in Unix milliseconds: when it was there whole. */
  readonly arrivedAt: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const taken: Taken[] = [];

function takeDown(request: IncomingMessage, reply: ServerResponse): void {
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (chunk: string) => (body += chunk));
  request.on('end', () => {
    taken.push({ arrivedAt: Date.now(), headers: request.headers, body });
    reply.writeHead(204).end();
  });
}

createServer((request, reply) => {
  if (request.method === 'POST') takeDown(request, reply);
  else reply.end(JSON.stringify(request.url === '/taken' ? taken : taken.length));
}).listen(Number(process.env.PORT), '127.0.0.1');
