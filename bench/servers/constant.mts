import Fastify from 'fastify';
import { PHASE_REQUEST } from './phase-request.mts';

/**
 * The lower bound: Fastify accepts the request and sends a constant reply of the usual size. `REPLY` is the reply to a
 * renewal, whose body is validated. `LOCATION` and `PLAYLIST_BYTES` are for the gate.
 */
const { PORT, REPLY, LOCATION = '', PLAYLIST_BYTES = '0' } = process.env;
const fastify = Fastify();

if (REPLY !== undefined) {
  const reply = JSON.parse(REPLY) as object;
  fastify.post('/v1/phases', { schema: { body: PHASE_REQUEST } }, async () => reply);
}

const playlist = '#'.repeat(Number(PLAYLIST_BYTES));
fastify.get<{ Params: { name: string } }>('/v1/play/:stream_id/:rendition/:name', (request, reply) => {
  if (request.params.name === 'index.m3u8') void reply.type('application/vnd.apple.mpegurl').send(playlist);
  else void reply.redirect(LOCATION, 302);
});

await fastify.listen({ host: '127.0.0.1', port: Number(PORT) });
