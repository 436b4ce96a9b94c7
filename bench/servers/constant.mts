import Fastify from 'fastify';
import { PHASE_REQUEST } from './phase-request.mts';

/** The floor: Fastify takes the request, checks its body, and writes a reply of the usual size that is always the same. */
const { PORT, REPLY } = process.env;
const reply = JSON.parse(REPLY!) as object;

const fastify = Fastify();
fastify.post('/v1/phases', { schema: { body: PHASE_REQUEST } }, async () => reply);
await fastify.listen({ host: '127.0.0.1', port: Number(PORT) });
