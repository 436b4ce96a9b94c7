import { type ServerResponse } from 'node:http';

/**
 * Tells whether what was asked for reached its client, as far as a server can know: true when a reply that is no error
 * was written out whole and handed to the kernel, false when the connection broke first or something failed.
 *
 * Fastify's onResponse does not fire for a client that went away; the raw response's `close` always does.
 */
export async function delivered(response: ServerResponse): Promise<boolean> {
  if (!response.closed) await new Promise((resolve) => response.once('close', resolve));
  return response.writableFinished && response.statusCode < 400;
}
