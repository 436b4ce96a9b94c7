/** The HTTP contract as a client sees it: fields in camelCase, refusals as data, everything else thrown. */

/** Instants are RFC 3339 on the server's clock: compare them only with each other, never with the clock of this machine. */
export interface Session {
  readonly sessionId: string;
  readonly userId: string;
  readonly streamId: string;
  readonly state: 'active' | 'idle';
  readonly startedAt: string;
  readonly lastActivityAt: string;
  readonly idleAt: string;
  readonly expiresAt: string;
  readonly phase: number;
}

export interface Segment {
  /** Signed; works until the phase's `expiresAt`. */
  readonly url: string;
  readonly durationSeconds: number;
  /** The initialisation section of fragmented MP4. */
  readonly initUrl?: string;
  /** Where the segment is a part of what the URL names. */
  readonly byteRange?: { readonly offset: number; readonly length: number };
}

export interface Phase {
  readonly index: number;
  readonly startSeconds: number;
  readonly durationSeconds: number;
  readonly last: boolean;
  readonly segments: readonly Segment[];
  readonly expiresAt: string;
}

export interface PhaseReply {
  readonly session: Session;
  readonly phase: Phase;
  readonly sessions: { readonly live: number; readonly limit: number };
  readonly nextRequestInSeconds: number;
  readonly playbackUrl: string;
}

/** All places of the user are taken (409). */
export interface Refused {
  readonly type: 'refused';
  readonly limit: number;
  /** The sessions that hold the places; the user can choose one to end. */
  readonly sessions: readonly Session[];
  /** The time until a place is free if all of these sessions stay silent. */
  readonly retryAfterSeconds: number;
}

/** Somebody ended this session (410). */
export interface Ended {
  readonly type: 'ended';
  readonly endedAt: string;
  /** `replaced`: another session took its place. */
  readonly reason: 'user' | 'operator' | 'replaced';
}

/** The body of an error as it was sent (RFC 9457). */
export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly instance: string;
  readonly code: string;
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
    request: Record<string, unknown>,
    signal: AbortSignal,
  ): Promise<(PhaseReply & { readonly type: 'phase'; readonly created: boolean }) | Refused | Ended> {
    const { status, body } = await this.#post('/v1/phases', request, signal);
    return refusal(body) ?? { ...(camelCased(body) as PhaseReply), type: 'phase', created: status === 201 };
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
      return (camelCased(body) as { session: Session }).session;
    } catch (error) {
      if (error instanceof StreamgateError && error.code === 'session-not-found') return undefined;
      throw error;
    }
  }

  /**
   * Ends the session. The request is on its way when this function returns, and the browser sends it even after the
   * page is closed; so there is no time to wait for a new token. Returns false if there was no such session. Never
   * rejects, because a place that is not given back expires.
   */
  async release(userId: string, sessionId: string): Promise<boolean> {
    try {
      const { status } = await this.#fetch(this.#baseUrl + sessionPath(userId, sessionId), {
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

/** The refusal in the body of a problem, or undefined. Its status is 409 or 410 from the API, and 403 from the gate. */
export function refusal(body: unknown): Refused | Ended | undefined {
  const { code } = (body ?? {}) as { code?: unknown };
  if (code === 'session-limit-reached') {
    const { limit, sessions, retryAfterSeconds } = camelCased(body) as Refused;
    return { type: 'refused', limit, sessions, retryAfterSeconds };
  }
  if (code === 'session-ended') {
    const { endedAt, reason } = camelCased(body) as Ended;
    return { type: 'ended', endedAt, reason };
  }
  return undefined;
}

function sessionPath(userId: string, sessionId: string): string {
  return `/v1/users/${encodeURIComponent(userId)}/sessions/${encodeURIComponent(sessionId)}`;
}

function camelCased(json: unknown): unknown {
  if (Array.isArray(json)) return json.map(camelCased);
  if (typeof json !== 'object' || json === null) return json;
  return Object.fromEntries(
    Object.entries(json).map(([name, value]) => [
      name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      camelCased(value),
    ]),
  );
}
