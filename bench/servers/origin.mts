import { createServer } from 'node:http';
import { ORIGINAL, longPlaylist } from '../gate/playlist.mts';

/** An origin with the same playlist for every stream id, but for the long ones, whose ids end in a number each. */
const body = Buffer.from(ORIGINAL);
const reads = new Map<string, number>();

createServer(({ url = '' }, reply) => {
  const [, stream] = /^\/([a-z0-9-]+?)(?:-\d+)?\/index\.m3u8/.exec(url) ?? [];
  if (stream === undefined) {
    reply.writeHead(404).end();
    return;
  }
  const before = reads.get(url) ?? 0;
  const long = longPlaylist(stream, before);
  if (long !== undefined) reads.set(url, before + 1);
  reply.end(long ?? body);
}).listen(Number(process.env.PORT), '127.0.0.1');
