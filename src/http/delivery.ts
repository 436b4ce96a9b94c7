import { type ServerResponse } from 'node:http';

/**
 * Whether a reply was delivered, as far as a server can know. True if the reply is no error and was handed to the kernel
 * completely. False if the connection broke first, or the reply is an error.
 *
 * Fastify's onResponse does not fire for a client that disconnected; `close` of the raw response always does.
 */
export async function delivered(response: ServerResponse): Promise<boolean> {
  if (!response.closed) await new Promise((resolve) => response.once('close', resolve));
  return response.writableFinished && response.statusCode < 400;
}
