import { createParser, type EventSourceMessage } from 'eventsource-parser';

/** A client of Server-Sent Events, like that of a browser, which records all events. */
export interface EventSourceClient {
  readonly status: number;
  readonly headers: Headers;
  readonly events: readonly EventSourceMessage[];
  /** How many comments were received: they are heartbeats. */
  comments(): number;
  /** The id to resume after. Browsers also take it from events that have only an id. */
  lastEventId(): string | undefined;
  /** The last delay before a new connection that the server sent, in milliseconds. */
  retryMs(): number | undefined;
  /** Resolves with the body of a reply that is no event stream. */
  problem(): Promise<{ code: string }>;
  /** Resolves when the server has ended the stream. */
  readonly ended: Promise<void>;
  close(): void;
}

export async function openEventSource(
  url: string,
  headers: Record<string, string> = {},
): Promise<EventSourceClient> {
  const leaving = new AbortController();
  const reply = await fetch(url, { headers, signal: leaving.signal });
  const events: EventSourceMessage[] = [];
  let [comments, text] = [0, ''];
  let retryMs: number | undefined;
  const parser = createParser({
    onEvent: (event) => events.push(event),
    onComment: () => comments++,
    onRetry: (ms) => (retryMs = ms),
  });
  const read = async (): Promise<void> => {
    if (!reply.ok) return;
    for await (const chunk of reply.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      parser.feed(chunk);
    }
  };
  return {
    status: reply.status,
    headers: reply.headers,
    events,
    comments: () => comments,
    lastEventId: () => [...text.matchAll(/^id: (.*)$/gm)].at(-1)?.[1],
    retryMs: () => retryMs,
    problem: async () => (await reply.json()) as { code: string },
    ended: read().catch(() => undefined),
    close: () => {
      leaving.abort();
    },
  };
}
