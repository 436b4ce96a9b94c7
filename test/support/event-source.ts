import { createParser, type EventSourceMessage } from 'eventsource-parser';

/** A client of Server-Sent Events as a browser has it, with all that it was sent. */
export interface EventSourceClient {
  readonly status: number;
  readonly headers: Headers;
  readonly events: readonly EventSourceMessage[];
  /** How many comments came: they are heartbeats. */
  comments(): number;
  /** What it would resume from: browsers take it over from events that have nothing but an id as well. */
  lastEventId(): string | undefined;
  /** The last delay that it was told to wait before it reconnects, in milliseconds. */
  retryMs(): number | undefined;
  /** Resolves with the body of a reply that is no stream. */
  problem(): Promise<{ code: string }>;
  /** Resolves when the other side has ended the stream. */
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
