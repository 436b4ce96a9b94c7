import { type ServerResponse } from 'node:http';
import { type BeforeApplicationShutdown, Injectable, Logger } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { type Counter } from 'prom-client';
import { Clock } from '../clock.js';
import { Metrics } from '../observability/metrics.js';
import { StoreUnavailableError } from './session.repository.js';
import { SessionEvents, type SessionEvent, type Watch, isAfter } from './session-events.js';
import { eventDataJson } from './sessions.schemas.js';

const MAX_STREAMS = 10_000;
const MAX_STREAMS_PER_USER = 10;
/** A reader that leaves so many bytes waiting is dropped; it can resume where it was. */
const MAX_UNREAD_BYTES = 64 * 1024;
/** With more than these, somebody who comes back does better to look at the list. */
const MAX_MISSED_EVENTS = 100;
/** Keeps proxies from taking the silence for the end; many cut a connection after 60 s of it. */
export const HEARTBEAT_MS = 15_000;
/** The delay, in milliseconds, after which a client whose connection broke reconnects. */
const RETRY_MS = 2_000;
const EVENT_ID = /^\d{1,15}-\d{1,15}$/;

/**
 * Why a stream cannot be served now, with the text for the client and the delay before its next try: between `fromMs` and
 * twice that, drawn for each client, so that the clients of one instance do not all reconnect in the same second.
 */
const UNAVAILABLE = {
  'not-ready': {
    fromMs: 1_000,
    detail: 'This instance is shutting down. Another one answers the next request.',
  },
  'store-unavailable': { fromMs: 2_000, detail: 'The session store does not answer.' },
  'internal-error': { fromMs: 5_000, detail: 'The service failed. Its log has the reason.' },
  'rate-limited': { fromMs: 5_000, detail: 'This user sends too many requests.' },
  'too-many-streams': { fromMs: 10_000, detail: 'This instance has too many event streams open.' },
  'too-many-streams-of-user': {
    fromMs: 60_000,
    detail: `This user has ${MAX_STREAMS_PER_USER} event streams open, and newer ones take precedence.`,
  },
} as const;
type UnavailableCode = keyof typeof UNAVAILABLE;

interface EventStream {
  readonly userId: string;
  readonly response: ServerResponse;
  /** The end of the caller's token or ticket, Unix milliseconds. The stream ends then. */
  readonly until: number;
  /** The id of the event from which the client would resume. */
  last: string;
}

/** The open streams of events (Server-Sent Events): a bounded number, none of which is ever waited for. */
@Injectable()
export class EventStreams implements BeforeApplicationShutdown {
  /** Those of each user, oldest first. */
  private readonly byUser = new Map<string, EventStream[]>();
  private open = 0;
  private stopping = false;
  private readonly cuts: Counter<'reason'>;
  private readonly log = new Logger(EventStreams.name);

  constructor(
    private readonly events: SessionEvents,
    private readonly clock: Clock,
    metrics: Metrics,
  ) {
    metrics.gauge('event_streams', 'Streams of events open on this instance.', () => this.open);
    this.cuts = metrics.counter(
      'event_streams_cut_total',
      'Streams of events that this instance refused or ended, by the reason.',
      ['reason'],
    );
  }

  get size(): number {
    return this.open;
  }

  /**
   * Sends the user's events to `response`: the events after `lastEventId`, if there is one, and all new ones. The stream
   * ends when the client disconnects, or at `until` (Unix milliseconds). An id that is not one of ours, an empty one
   * included, gets the event `resync`, since nobody can tell which events the client missed.
   *
   * Never rejects. A standard EventSource gives up for good at any status but 200, so every fault of the service is a
   * short stream with status 200 (see `answerUnavailable`), after which the client reconnects by itself.
   *
   * A user has at most ten streams. A new one ends the oldest, because that client has most likely gone without a word.
   * A client that resumes ends none: it may be the one whose stream was just ended, and two clients would otherwise push
   * each other out for ever. It is told to come back in a minute or two, and finds room once another stream has closed.
   */
  async stream(
    userId: string,
    lastEventId: string | undefined,
    response: ServerResponse,
    until = Infinity,
  ): Promise<void> {
    const resumes = lastEventId !== undefined;
    const refusal = this.open >= MAX_STREAMS ? 'too-many-streams' : this.refusalOf(userId, resumes);
    if (refusal !== undefined) return this.refuse(response, refusal);
    this.open++;
    const after = resumes && EVENT_ID.test(lastEventId) ? lastEventId : undefined;
    const stream: EventStream = { userId, response, until, last: '' };
    let early: SessionEvent[] | undefined = [];
    let watch: Watch;
    try {
      watch = await this.events.watch(userId, after, (event) => {
        if (early) early.push(event);
        else this.send(stream, event);
      });
    } catch (error) {
      this.open--;
      return this.refuse(response, this.codeOf(error as Error));
    }
    // The client may disconnect while the store is asked. Its `close` event is over then, and nothing would end the stream.
    const late = response.destroyed ? undefined : this.refusalOf(userId, resumes);
    if (response.destroyed || late !== undefined) {
      watch.stop();
      this.open--;
      if (late !== undefined) this.refuse(response, late);
      return;
    }
    stream.last = after ?? watch.position;
    this.begin(stream, after === lastEventId ? watch : { ...watch, complete: false });
    for (const event of early) this.send(stream, event);
    early = undefined;
  }

  /** Streams hardly end by themselves, and a shutdown would wait for all of them. */
  beforeApplicationShutdown(): void {
    this.stopping = true;
    for (const stream of [...this.byUser.values()].flat()) this.end(stream, 'not-ready');
  }

  private refusalOf(userId: string, resumes: boolean): UnavailableCode | undefined {
    if (this.stopping) return 'not-ready';
    const full = (this.byUser.get(userId)?.length ?? 0) >= MAX_STREAMS_PER_USER;
    return full && resumes ? 'too-many-streams-of-user' : undefined;
  }

  private codeOf(error: Error): UnavailableCode {
    if (error instanceof StoreUnavailableError) return 'store-unavailable';
    this.log.error({ reason: error.message, stack: error.stack, msg: 'an event stream failed to open' });
    return 'internal-error';
  }

  private begin(stream: EventStream, { missed, complete, position, stop }: Watch): void {
    const { userId, response } = stream;
    const streams = this.byUser.get(userId) ?? [];
    this.byUser.set(userId, streams);
    streams.push(stream);
    response.once('close', () => {
      stop();
      this.open--;
      const at = streams.indexOf(stream);
      if (at >= 0) streams.splice(at, 1);
      if (streams.length === 0 && this.byUser.get(userId) === streams) this.byUser.delete(userId);
    });
    while (streams.length > MAX_STREAMS_PER_USER) this.end(streams.shift()!, 'too-many-streams-of-user');
    response.writeHead(200);
    // The empty event tells EventSource where to resume from, before there was any.
    this.write(response, `retry: ${RETRY_MS}\nid: ${stream.last}\n\n`);
    if (complete && missed.length <= MAX_MISSED_EVENTS) {
      for (const event of missed) this.send(stream, event);
    } else {
      stream.last = position;
      this.write(response, `id: ${position}\nevent: resync\ndata: {}\n\n`);
    }
  }

  /**
   * Sends a heartbeat on each stream. It moves the id to resume from forward on a quiet stream too, so that its client is
   * not taken for one that missed many events. Ends the streams whose token or ticket has expired.
   */
  @Interval('event-streams-heartbeat', HEARTBEAT_MS)
  async beat(): Promise<void> {
    if (this.open === 0) return;
    await this.events.refresh().catch(() => undefined); // the store says itself that it is away
    for (const stream of [...this.byUser.values()].flat()) {
      if (stream.until <= this.clock.now() && !stream.response.writableEnded) {
        this.cuts.inc({ reason: 'token-expired' });
        stream.response.end();
      }
      const position = this.events.position(stream.userId);
      if (isAfter(position, stream.last)) stream.last = position;
      this.write(stream.response, `:\nid: ${stream.last}\n\n`);
    }
  }

  private send(stream: EventStream, event: SessionEvent): void {
    stream.last = event.id;
    const data = JSON.stringify(eventDataJson(event));
    this.write(stream.response, `id: ${event.id}\nevent: ${event.type}\ndata: ${data}\n\n`);
  }

  private refuse(response: ServerResponse, code: UnavailableCode): void {
    this.cuts.inc({ reason: code });
    answerUnavailable(response, code);
  }

  /** Ends an open stream and says why. */
  private end({ response }: EventStream, code: UnavailableCode): void {
    this.cuts.inc({ reason: code });
    this.write(response, unavailable(code));
    response.end();
  }

  /** Never waits. A client that reads too slowly is cut off, and resumes from the last event that it has read. */
  private write(response: ServerResponse, text: string): void {
    if (response.writableEnded || response.destroyed) return;
    response.write(text);
    if (response.writableLength <= MAX_UNREAD_BYTES) return;
    this.cuts.inc({ reason: 'slow-reader' });
    response.destroy();
  }
}

/** A whole reply with status 200, so that a standard EventSource comes back from it. */
export function answerUnavailable(response: ServerResponse, code: UnavailableCode): void {
  if (response.destroyed) return;
  response.writeHead(200);
  response.end(unavailable(code));
}

/** The comment is for people who look at the stream, the event for programs. Neither changes where the client resumes. */
function unavailable(code: UnavailableCode): string {
  const { fromMs, detail } = UNAVAILABLE[code];
  const retryMs = Math.round(fromMs * (1 + Math.random()));
  return `: ${detail}\nretry: ${retryMs}\nevent: unavailable\ndata: ${JSON.stringify({ code, detail })}\n\n`;
}
