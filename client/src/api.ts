/** The HTTP contract as a client sees it: fields in camelCase, refusals as data, everything else thrown. */

import type * as contract from './contract.js';

type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

/** The type of a JSON value with the names of all members in camelCase: the result of `camelCased`. */
type CamelCased<Json> = Json extends readonly (infer Item)[]
  ? readonly CamelCased<Item>[]
  : Json extends object
    ? { readonly [Name in keyof Json as CamelCase<Name & string>]: CamelCased<Json[Name]> }
    : Json;

/** Instants are RFC 3339 on the server's clock: compare them only with each other, never with the clock of this machine. */
export interface Session extends CamelCased<contract.Session> {}
export interface Segment extends CamelCased<contract.Segment> {}
export interface Phase extends CamelCased<contract.Phase> {}
export interface PhaseReply extends CamelCased<contract.PhaseReply> {}

/** A member that is undefined is not sent. */
type PhaseRequest = {
  readonly [Name in keyof contract.PhaseRequest]: contract.PhaseRequest[Name] | undefined;
};

/** All places are taken (409). `sessions` hold them; one is free after `retryAfterSeconds` if they all stay silent. */
export interface Refused extends Pick<
  CamelCased<contract.SessionLimitReached>,
  'limit' | 'sessions' | 'retryAfterSeconds'
> {
  readonly type: 'refused';
}

/** Somebody ended this session (410). `replaced`: another session took its place. */
export interface Ended extends Pick<CamelCased<contract.SessionEnded>, 'endedAt' | 'reason'> {
  readonly type: 'ended';
}

/** The body of an error as it was sent (RFC 9457), with the further members that its code has. */
export interface ProblemDocument extends contract.Problem {
  readonly [member: string]: unknown;
}

/** Any answer that is neither a phase nor a refusal, and a missing answer. */
export class StreamgateError extends Error {
  override readonly name = 'StreamgateError';

  constructor(
    message: string,
    /** A code of docs/problems.md; `unreachable` if no answer came; `http-` and the status if the body was no problem. */
    readonly code: string,
    /** The HTTP status; 0 if no answer came. */
    readonly status: number,
    readonly problem?: ProblemDocument,
    /** The value of Retry-After; 0 if the server did not send one. */
    readonly retryAfterSeconds = 0,
    options?: { cause: unknown },
  ) {
    super(message, options);
  }

  /** True if the same request may succeed later. */
  get transient(): boolean {
    return [0, 429, 502, 503, 504].includes(this.status);
  }
}

export interface ApiOptions {
  /** The address of the service, without a slash at the end. Default: the page's own origin. */
  readonly baseUrl?: string;
  /** A bearer token, or a function that returns one; it is called before each request. */
  readonly token?: string | (() => string | Promise<string>);
  readonly fetch?: typeof fetch;
}

export class Api {
  readonly #baseUrl: string;
  readonly #token: ApiOptions['token'];
  readonly #fetch: typeof fetch;
  #lastToken: string | undefined;

  constructor({ baseUrl = '', token, fetch: given = (...request) => fetch(...request) }: ApiOptions) {
    this.#baseUrl = baseUrl;
    this.#token = token;
    this.#fetch = given;
  }

  async askForPhase(
    request: PhaseRequest,
    signal: AbortSignal,
  ): Promise<(PhaseReply & { readonly type: 'phase'; readonly created: boolean }) | Refused | Ended> {
    const { status, body } = await this.#post('/v1/phases', request, signal);
    return (
      refusal(body) ?? {
        ...camelCased(body as contract.PhaseReply),
        type: 'phase',
        created: status === 201,
      }
    );
  }

  /** Sends a keepalive. Returns the session, or undefined if the session has lost its place. */
  async keepAlive(
    userId: string,
    sessionId: string,
    signal: AbortSignal,
  ): Promise<Session | Ended | undefined> {
    try {
      const { body } = await this.#post(`${sessionPath(userId, sessionId)}/keepalive`, undefined, signal);
      const refused = refusal(body);
      if (refused?.type === 'ended') return refused;
      return camelCased(body as contract.KeptSession).session;
    } catch (error) {
      if (error instanceof StreamgateError && error.code === 'session-not-found') return undefined;
      throw error;
    }
  }

  /**
   * Ends the session. The request is on its way when this function returns, and the browser sends it even after the
   * page is closed; so there is no time to wait for a new token. Returns false if there was no such session. Never
   * rejects, because a place that is not given back expires. `left`: the session may come back.
   */
  async release(userId: string, sessionId: string, reason: 'user' | 'left'): Promise<boolean> {
    const query = reason === 'left' ? '?reason=left' : '';
    try {
      const { status } = await this.#fetch(this.#baseUrl + sessionPath(userId, sessionId) + query, {
        method: 'DELETE',
        headers: this.#headers(),
        keepalive: true,
      });
      return status !== 404;
    } catch {
      return true;
    }
  }

  async #post(
    path: string,
    body: object | undefined,
    signal: AbortSignal,
  ): Promise<{ status: number; body: unknown }> {
    this.#lastToken = typeof this.#token === 'function' ? await this.#token() : this.#token;
    let reply: Response;
    let json: unknown;
    try {
      reply = await this.#fetch(this.#baseUrl + path, {
        method: 'POST',
        headers: { ...this.#headers(), ...(body && { 'content-type': 'application/json' }) },
        ...(body && { body: JSON.stringify(body) }),
        signal,
      });
      json = await reply.json().catch((error: unknown) => {
        // A proxy answers errors with pages of its own, and a captive portal answers every request with one.
        if (reply.ok || signal.aborted) throw error;
      });
    } catch (error) {
      throw new StreamgateError('Streamgate did not answer', 'unreachable', 0, undefined, 0, {
        cause: error,
      });
    }
    if (reply.ok || refusal(json)) return { status: reply.status, body: json };
    const problem = json as ProblemDocument | undefined;
    throw new StreamgateError(
      problem?.detail ?? `Streamgate answered ${reply.status}`,
      problem?.code ?? `http-${reply.status}`,
      reply.status,
      problem,
      Number(reply.headers.get('retry-after')) || 0,
    );
  }

  #headers(): Record<string, string> {
    return this.#lastToken === undefined ? {} : { authorization: `Bearer ${this.#lastToken}` };
  }
}

/** The refusal in a problem's body, whatever its status: 409 and 410 of the API, 403 of the gate. */
export function refusal(body: unknown): Refused | Ended | undefined {
  const problem = (body ?? {}) as contract.SessionLimitReached | contract.SessionEnded | { code?: undefined };
  if (problem.code === 'session-limit-reached') {
    const { limit, sessions, retryAfterSeconds } = camelCased(problem);
    return { type: 'refused', limit, sessions, retryAfterSeconds };
  }
  if (problem.code === 'session-ended') {
    const { endedAt, reason } = camelCased(problem);
    return { type: 'ended', endedAt, reason };
  }
  return undefined;
}

function sessionPath(userId: string, sessionId: string): string {
  return `/v1/users/${encodeURIComponent(userId)}/sessions/${encodeURIComponent(sessionId)}`;
}

function camelCased<Json>(json: Json): CamelCased<Json> {
  return renamed(json) as CamelCased<Json>;
}

function renamed(json: unknown): unknown {
  if (Array.isArray(json)) return json.map(renamed);
  if (typeof json !== 'object' || json === null) return json;
  return Object.fromEntries(
    Object.entries(json).map(([name, value]) => [
      name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      renamed(value),
    ]),
  );
}
