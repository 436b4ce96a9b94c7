import { constants } from 'node:os';
import { Webhook } from 'standardwebhooks';
import { startServer } from './servers.mts';
import type { ReceivedCallback } from './servers/receiver.mts'; // only the type: the module starts a server

export const CALLBACK_SECRET = `whsec_${Buffer.from('only-for-the-benchmark-00').toString('base64')}`;

export interface Callback extends Pick<ReceivedCallback, 'arrivedAt'> {
  readonly type: string;
  readonly data: {
    readonly user_id: string;
    readonly session_id: string;
    readonly state: string;
    readonly expires_at: string;
  };
}

export interface Receiver extends AsyncDisposable {
  readonly url: string;
  /** How many callbacks have arrived so far. */
  count(): Promise<number>;
  /** The callbacks that have arrived, each with its signature checked. */
  read(): Promise<Callback[]>;
}

export async function startReceiver(): Promise<Receiver> {
  // In production the receiver has a machine of its own. Here it must not take CPU from the service.
  const server = await startServer('servers/receiver.mts', {}, constants.priority.PRIORITY_BELOW_NORMAL);
  const webhook = new Webhook(CALLBACK_SECRET);
  const ask = async <T,>(path: string): Promise<T> => (await fetch(server.url + path)).json() as Promise<T>;
  return {
    url: server.url,
    count: async () => ask<number>('/count'),
    read: async () =>
      (await ask<ReceivedCallback[]>('/callbacks')).map(({ arrivedAt, headers, body }) => ({
        arrivedAt,
        ...(webhook.verify(body, headers as Record<string, string>) as Omit<Callback, 'arrivedAt'>),
      })),
    [Symbol.asyncDispose]: async () => server[Symbol.asyncDispose](),
  };
}
