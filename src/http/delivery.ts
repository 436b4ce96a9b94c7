import { type ServerResponse } from 'node:http';

/**
 * Tells whether a reply reached its client, as far as a server can know: true when it was written out whole and handed
 * to the kernel, false when the connection broke first.
 *
 * Fastify's onResponse does not fire for a client that went away; the raw response's `close` always does.
 */
export async function delivered(response: ServerResponse): Promise<boolean> {
  if (response.closed) return response.writableFinished;
  return new Promise((resolve) => {
    response.once('close', () => {
      resolve(response.writableFinished);
    });
  });
}
