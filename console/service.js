/** Requests to the service. The token is only in this variable: never in a URL, a cookie or the storage of the browser. */
let token = '';

const TIMEOUT_MS = 10_000;
const RETRY_MS = 2_000;

/** The service refused a request, or did not answer (status 0). */
export class Failure extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function useToken(text) {
  token = text;
}

function headers(more = {}) {
  return { ...more, ...(token === '' ? {} : { authorization: `Bearer ${token}` }) };
}

/** The body of the reply, and the server's time when it was sent. Throws a Failure. */
export async function ask(path, { method = 'GET', ...more } = {}) {
  let reply;
  try {
    reply = await fetch(path, {
      method,
      headers: headers(more),
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Failure(0, 'The service does not answer.');
  }
  if (!reply.ok) throw await failureOf(reply);
  const body = reply.status === 204 ? undefined : await reply.json();
  return { body, at: Date.parse(reply.headers.get('date') ?? '') || Date.now() };
}

async function failureOf(reply) {
  const problem = await reply.json().catch(() => ({}));
  const fields = (problem.errors ?? []).map(({ field, message }) => `${field} ${message}`);
  const detail = [problem.detail ?? problem.title ?? `The service answered ${reply.status}.`, ...fields];
  return new Failure(reply.status, detail.join(' '));
}

/** The header that takes a note to the audit. A header is ASCII, and the note may be in any language. */
export function auditNote(note) {
  return note === '' ? {} : { 'x-audit-note': encodeURIComponent(note.toWellFormed()) };
}

/**
 * The events of a user, first those that the service still has, until `signal` is aborted. EventSource cannot send the token.
 * Between two connections it yields `{ type: 'away' }` and `{ type: 'open' }`. Throws a Failure if a repetition cannot help.
 */
export async function* eventsOf(user, signal) {
  const path = `/v1/users/${encodeURIComponent(user)}/events?explain=true`;
  let lastId = '0-0';
  let retryMs = RETRY_MS;
  while (!signal.aborted) {
    try {
      const reply = await fetch(path, { headers: headers({ 'last-event-id': lastId }), signal });
      if (reply.status >= 400 && reply.status < 500 && reply.status !== 429) throw await failureOf(reply);
      if (reply.ok) {
        yield { type: 'open' };
        for await (const { id, event, data, retry } of messages(reply.body)) {
          lastId = id ?? lastId;
          retryMs = retry ?? retryMs;
          if (event !== undefined) yield { type: event.replace('session.', ''), id, data: JSON.parse(data) };
        }
      }
    } catch (error) {
      if (error instanceof Failure) throw error;
    }
    if (signal.aborted) return;
    yield { type: 'away' };
    await new Promise((resolve) => setTimeout(resolve, retryMs * (1 + Math.random())));
  }
}

/** Reads Server-Sent Events. Heartbeats are messages with nothing but an id. */
async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2))
      yield messageOf(text.slice(0, end));
  }
}

function messageOf(text) {
  const message = {};
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) message[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
  }
  return { ...message, retry: message.retry === undefined ? undefined : Number(message.retry) };
}
