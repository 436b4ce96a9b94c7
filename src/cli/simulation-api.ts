import { Agent } from 'undici';
import { reasonOf } from './service-client.js';

const TIMEOUT_MS = 10_000;
/** As many as the viewers of one instance behind a load balancer would share. */
const CONNECTIONS = 256;

/** The kinds of requests that the report has a line for. */
export const CALLS = ['start', 'renewal', 'seek', 'zap', 'keepalive', 'abort', 'end'] as const;
export type SimulatedCall = (typeof CALLS)[number];

/** The parts of a reply or of a problem that the simulation reads. */
export interface SimulatedReply {
  readonly status: number;
  readonly code?: string;
  readonly session?: { readonly expires_at: string; readonly last_activity_at: string };
  /** Of a refusal: the sessions that hold the places. */
  readonly sessions?: { readonly live: number; readonly limit: number } | readonly unknown[];
  readonly phase?: { readonly index: number };
  readonly next_request_in_seconds?: number;
  readonly retry_after_seconds?: number;
  readonly limit?: number;
}

/** The reply with a phase. */
export interface AdmittedReply extends SimulatedReply {
  readonly status: 200 | 201;
  readonly session: { readonly expires_at: string; readonly last_activity_at: string };
  readonly sessions: { readonly live: number; readonly limit: number };
  readonly phase: { readonly index: number };
  readonly next_request_in_seconds: number;
}

/** Sends the requests of all simulated viewers over a bounded number of connections. */
export class SimulationApi {
  private readonly agent = new Agent({
    connections: CONNECTIONS,
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
  });

  private readonly url: URL;

  constructor(url: string) {
    this.url = new URL(url);
  }

  /** Never rejects. A text is the reason why no whole reply came, such as `ECONNREFUSED`, or `aborted` by `giveUp`. */
  async send(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    token: string | undefined,
    body?: object,
    giveUp?: AbortSignal,
  ): Promise<SimulatedReply | string> {
    try {
      const { statusCode: status, body: reply } = await this.agent.request({
        origin: this.url.origin,
        method,
        path: this.url.pathname.replace(/\/$/, '') + path,
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: body === undefined ? null : JSON.stringify(body),
        signal: giveUp ?? null,
      });
      const text = await reply.text();
      const fields = text === '' ? {} : (JSON.parse(text) as Omit<SimulatedReply, 'status'>);
      return { ...fields, status };
    } catch (error) {
      if (giveUp?.aborted) return 'aborted';
      return (error as Error).name === 'SyntaxError'
        ? 'not JSON'
        : ((error as { code?: string }).code ?? reasonOf(error as Error));
    }
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }
}
