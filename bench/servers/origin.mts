import { createServer } from 'node:http';
import { ORIGINAL } from '../gate/playlist.mts';

/** An origin with the same playlist for every stream id. The gate requests only playlists from an origin. */
const body = Buffer.from(ORIGINAL);

createServer(({ url }, reply) => {
  if (url?.endsWith('/index.m3u8')) reply.end(body);
  else reply.writeHead(404).end();
}).listen(Number(process.env.PORT), '127.0.0.1');
