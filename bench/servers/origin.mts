import { createServer } from 'node:http';
import { ORIGINAL } from '../gate/playlist.mts';

/** Has the same playlist of every stream, whatever it is called; the gate asks an origin for nothing else. */
const body = Buffer.from(ORIGINAL);

createServer(({ url }, reply) => {
  if (url?.endsWith('/index.m3u8')) reply.end(body);
  else reply.writeHead(404).end();
}).listen(Number(process.env.PORT), '127.0.0.1');
