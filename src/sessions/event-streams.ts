import { type ServerResponse } from 'node:http';
import { type BeforeApplicationShutdown, Injectable, Logger } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { type Counter } from 'prom-client';
import { Clock } from '../clock.js';
import { instant } from '../http/fields.js';
import { Metrics } from '../observability/metrics.js';
import { StoreUnavailableError } from './session.repository.js';
import { SessionEvents, type SessionEvent, type Watch, isAfter } from './session-events.js';
import { eventDataJson } from './sessions.schemas.js';

const MAX_STREAMS = 10_000;
const MAX_STREAMS_PER_USER = 10;
/** A client with more unread bytes than this is disconnected. It can resume where it was. */
const MAX_UNREAD_BYTES = 64 * 1024;
/** A client that missed more than this gets `resync` instead, and then lists the sessions. */
const MAX_MISSED_EVENTS = 100;
const MAX_MISSED_BYTES = 48 * 1024;
/** Keeps proxies from closing quiet connections. Many proxies do so after 60 s. */
export const HEARTBEAT_MS = 15_000;
/** The delay, in milliseconds, after which a client whose connection broke reconnects. */
const RETRY_MS = 2_000;
const EVENT_ID = /^\d{1,15}-\d{1,15}$/;

/**
 * Why a stream cannot be served now, with the text for the client and the delay before its next try: between `fromMs` and
 * `toMs`, or twice `fromMs`, drawn for each client, so that the clients of one instance do not all reconnect in the same
 * second.
 */
const UNAVAILABLE = {
  'not-ready': {
    fromMs: 1_000,
    toMs: 5_000,
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
} as const satisfies Record<string, { fromMs: number; toMs?: number; detail: string }>;
type UnavailableCode = keyof typeof UNAVAILABLE;

interface EventStream {
  readonly userId: string;
  readonly response: ServerResponse;
  /** Whether the client explains refusals: it gets them, and the events before a gap too. */
  readonly explains: boolean;
  /** When the token or ticket of the caller expires (Unix milliseconds). The stream ends then. */
  readonly until: number;
  /** The id of the event after which the client would resume. */
  last: string;
}

/** The open event streams (Server-Sent Events). Their number is bounded, and no client makes the service wait. */
@Injectable()
export class EventStreams implements BeforeApplicationShutdown {
  /** The streams of each user, oldest first. */
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
   * ends when the client disconnects, or at `until` (Unix milliseconds). An invalid id, such as an empty one, gets the
   * event `resync`, because the events that the client missed are unknown. With `explains` the client gets refusals too,
   * and the newest kept events before `resync`.
   *
   * Never rejects. A standard EventSource gives up for good at any status but 200, so every fault of the service is a
   * short stream with status 200 (see `answerUnavailable`), after which the client reconnects by itself.
   *
   * A user has at most ten streams. A new one ends the oldest, because its client has most likely disconnected without
   * notice. A client that resumes ends none: it may be the one whose stream was just ended, and two clients would
   * otherwise end each other's streams for ever. It gets a delay of one to two minutes, and can reconnect once another
   * stream has closed.
   */
  async stream(
    userId: string,
    lastEventId: string | undefined,
    response: ServerResponse,
    { until = Infinity, explains = false }: Partial<Pick<EventStream, 'until' | 'explains'>> = {},
  ): Promise<void> {
    const resumes = lastEventId !== undefined;
    const refusal = this.open >= MAX_STREAMS ? 'too-many-streams' : this.refusalOf(userId, resumes);
    if (refusal !== undefined) return this.refuse(response, refusal);
    this.open++;
    const after = resumes && EVENT_ID.test(lastEventId) ? lastEventId : undefined;
    const stream: EventStream = { userId, response, explains, until, last: '' };
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
    // The client may disconnect while the store is asked. Its `close` event is past then, and cannot end the stream.
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

  /** Ends all streams. They seldom end by themselves, and a shutdown would wait for them. */
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
    const shown = missed.filter((event) => isShown(stream, event));
    const newest = newestThatFit(stream, shown);
    const isWhole = complete && newest.length === shown.length;
    if (isWhole || stream.explains) for (const message of newest) this.write(response, message);
    stream.last = isWhole ? (shown.at(-1)?.id ?? stream.last) : position;
    if (!isWhole) this.write(response, `id: ${position}\nevent: resync\ndata: {}\n\n`);
  }

  /**
   * Sends a heartbeat on each stream. It carries the newest position, so that the client of a quiet stream does not
   * seem to have missed many events when it resumes. Ends the streams whose token or ticket has expired.
   */
  @Interval('event-streams-heartbeat', HEARTBEAT_MS)
  async beat(): Promise<void> {
    if (this.open === 0) return;
    await this.events.refresh().catch(() => undefined); // the store logs its outages itself
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
    if (isShown(stream, event)) this.write(stream.response, messageOf(stream, event));
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

function isShown({ explains }: EventStream, { type }: SessionEvent): boolean {
  return explains || type !== 'session.refused';
}

function messageOf({ explains }: EventStream, event: SessionEvent): string {
  const data = explains ? { ...eventDataJson(event), at: instant(event.at) } : eventDataJson(event);
  return `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** The messages of the newest of these events that can be sent at once: more unread bytes would end the stream. */
function newestThatFit(stream: EventStream, events: readonly SessionEvent[]): readonly string[] {
  const messages: string[] = [];
  let bytes = 0;
  for (const event of events.slice(-MAX_MISSED_EVENTS).toReversed()) {
    const message = messageOf(stream, event);
    bytes += Buffer.byteLength(message);
    if (bytes > MAX_MISSED_BYTES) break;
    messages.push(message);
  }
  return messages.toReversed();
}

/** Sends a whole reply with status 200, so that a standard EventSource reconnects after it. */
export function answerUnavailable(response: ServerResponse, code: UnavailableCode): void {
  if (response.destroyed) return;
  response.writeHead(200);
  response.end(unavailable(code));
}

/** The comment is for people who look at the stream, the event for programs. Neither changes where the client resumes. */
function unavailable(code: UnavailableCode): string {
  const { detail, ...delay } = UNAVAILABLE[code];
  const { fromMs, toMs = 2 * fromMs }: { fromMs: number; toMs?: number } = delay;
  const retryMs = Math.round(fromMs + (toMs - fromMs) * Math.random());
  return `: ${detail}\nretry: ${retryMs}\nevent: unavailable\ndata: ${JSON.stringify({ code, detail })}\n\n`;
}
