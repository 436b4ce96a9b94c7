import { type Target } from './target.js';
import { CliError } from './terminal.js';

const TIMEOUT_MS = 15_000;

/** A problem (RFC 9457) of the service. */
interface ProblemJson {
  readonly code?: string;
  readonly title?: string;
  readonly detail?: string;
  readonly instance?: string;
  readonly errors?: readonly { readonly field: string; readonly message: string }[];
}

/** The service did not answer at all. */
export class Unreachable extends CliError {}

/** Sends requests to a running service with the token of the target. Each failure is a CliError that says what to do. */
export class ServiceClient {
  constructor(
    private readonly target: Target,
    private readonly interrupted: AbortSignal,
  ) {}

  async get<T>(path: string): Promise<T> {
    return this.json('GET', path);
  }

  /** The values of a reply that has one a line (NDJSON). */
  async lines<T>(path: string): Promise<readonly T[]> {
    const text = await (await this.send('GET', path)).text();
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as T);
  }

  async post<T>(path: string, body?: object, headers: Record<string, string> = {}): Promise<T> {
    return this.json('POST', path, { body, headers });
  }

  async delete(path: string, headers: Record<string, string> = {}): Promise<void> {
    await (await this.send('DELETE', path, { headers })).body?.cancel();
  }

  /** A reply that does not end by itself. */
  async open(path: string, headers: Record<string, string>): Promise<Response> {
    return this.send('GET', path, { headers, endless: true });
  }

  private async json<T>(
    method: string,
    path: string,
    content: { body?: object | undefined; headers?: Record<string, string> } = {},
  ): Promise<T> {
    return (await (await this.send(method, path, content)).json()) as T;
  }

  private async send(
    method: string,
    path: string,
    {
      body,
      headers = {},
      endless = false,
    }: { body?: object | undefined; headers?: Record<string, string>; endless?: boolean } = {},
  ): Promise<Response> {
    const { url, token } = this.target;
    let reply: Response;
    try {
      reply = await fetch(url + path, {
        method,
        redirect: 'manual',
        headers: {
          ...headers,
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: body === undefined ? null : JSON.stringify(body),
        signal: endless
          ? this.interrupted
          : AbortSignal.any([this.interrupted, AbortSignal.timeout(TIMEOUT_MS)]),
      });
    } catch (error) {
      if (this.interrupted.aborted) throw new CliError('Interrupted.');
      throw new Unreachable(
        `${url} cannot be reached (${reasonOf(error as Error)}): check the URL of the target.`,
      );
    }
    if (reply.ok) return reply;
    throw await this.refusal(reply, path);
  }

  private async refusal(reply: Response, path: string): Promise<CliError> {
    const text = await reply.text();
    const { url, token } = this.target;
    const problem = problemOf(text);
    if (problem?.code === undefined)
      return new CliError(
        `${url}${path} answered ${reply.status}, and not as Streamgate does: ` +
          'a proxy answered, or the URL is not that of the service. Load balancers should not forward /internal.',
      );
    const fields = (problem.errors ?? []).map(({ field, message }) => ` ${field} ${message}.`).join('');
    const advice =
      reply.status === 401
        ? token === undefined
          ? ' Give a token: --token-file, STREAMGATE_TOKEN_FILE, or "token_file" of the target.'
          : ' The service does not know the token of this target: check it with `streamgate token check`.'
        : '';
    return new CliError(
      `${problem.title ?? 'The service refused'} (${reply.status} ${problem.code}).` +
        `${problem.detail === undefined ? '' : ` ${problem.detail}`}${fields}${advice}` +
        (problem.instance === undefined ? '' : ` Request ${problem.instance}.`),
    );
  }
}

function problemOf(text: string): ProblemJson | undefined {
  try {
    return JSON.parse(text) as ProblemJson;
  } catch {
    return undefined;
  }
}

/** The message of an error with the code of its cause, because `fetch failed` alone does not explain anything. */
export function reasonOf(error: Error): string {
  const { code, message } = (error.cause ?? {}) as { code?: string; message?: string };
  return code ?? message ?? (error.name === 'TimeoutError' ? 'no answer in time' : error.message);
}
