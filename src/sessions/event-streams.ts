import { type ServerResponse } from 'node:http';
import { type BeforeApplicationShutdown, Injectable } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { Clock } from '../clock.js';
import { Problem, retryAfter } from '../http/problem.js';
import { Metrics } from '../observability/metrics.js';
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
/** How soon a client that was cut off asks again. */
const RETRY_MS = 2_000;

interface EventStream {
  readonly userId: string;
  readonly response: ServerResponse;
  /** When whoever listens has to show a token anew, Unix milliseconds. */
  readonly until: number;
  /** Where it would resume. */
  last: string;
}

/** The open streams of events (Server-Sent Events): a bounded number, none of which is ever waited for. */
@Injectable()
export class EventStreams implements BeforeApplicationShutdown {
  /** Those of each user, oldest first. */
  private readonly byUser = new Map<string, EventStream[]>();
  private open = 0;
  private stopping = false;

  constructor(
    private readonly events: SessionEvents,
    private readonly clock: Clock,
    metrics: Metrics,
  ) {
    metrics.gauge('event_streams', 'Streams of events open on this instance.', () => this.open);
  }

  get size(): number {
    return this.open;
  }

  /**
   * Sends the user's events to `response`: those after `lastEventId`, where that is given, and all new ones. The stream
   * ends when the client disconnects, or at `until` (Unix milliseconds). Throws a Problem, before anything is sent, while
   * the service stops or has too many streams. Where one user has too many, the oldest stream is ended, because its
   * client has most likely disconnected long ago.
   */
  async stream(
    userId: string,
    lastEventId: string | undefined,
    response: ServerResponse,
    until = Infinity,
  ): Promise<void> {
    if (this.stopping) throw new Problem('not-ready', 'The service is draining: ask again.');
    if (this.open >= MAX_STREAMS)
      throw new Problem('too-many-streams', 'Ask again after the time in Retry-After.', {
        headers: { 'retry-after': retryAfter(RETRY_MS / 1_000) },
      });
    this.open++;
    const stream: EventStream = { userId, response, until, last: '' };
    let early: SessionEvent[] | undefined = [];
    try {
      const watch = await this.events.watch(userId, lastEventId, (event) => {
        if (early) early.push(event);
        else send(stream, event);
      });
      if (this.stopping) {
        watch.stop();
        throw new Problem('not-ready', 'The service is draining: ask again.');
      }
      if (response.destroyed) {
        // The client disconnected while the store was asked. Its `close` event is over, so nothing would end this stream.
        watch.stop();
        this.open--;
        return;
      }
      stream.last = lastEventId ?? watch.position;
      this.begin(stream, watch);
      for (const event of early) send(stream, event);
      early = undefined;
    } catch (error) {
      this.open--;
      throw error;
    }
  }

  /** Streams hardly end by themselves: without this, a shutdown would wait for all of them. */
  beforeApplicationShutdown(): void {
    this.stopping = true;
    for (const streams of this.byUser.values()) for (const { response } of streams) response.end();
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
    while (streams.length > MAX_STREAMS_PER_USER) streams.shift()!.response.end();
    response.writeHead(200);
    // The empty event tells EventSource where to resume from, before there was any.
    write(stream, `retry: ${RETRY_MS}\nid: ${stream.last}\n\n`);
    if (complete && missed.length <= MAX_MISSED_EVENTS) {
      for (const event of missed) send(stream, event);
    } else {
      stream.last = position;
      write(stream, `id: ${position}\nevent: resync\ndata: {}\n\n`);
    }
  }

  /**
   * Moves on where a quiet stream would resume from, so that its client is not taken for one that missed much. Ends those
   * whose token has expired: they resume with a fresh one.
   */
  @Interval('event-streams-heartbeat', HEARTBEAT_MS)
  async beat(): Promise<void> {
    if (this.open === 0) return;
    await this.events.refresh().catch(() => undefined); // the store says itself that it is away
    for (const stream of [...this.byUser.values()].flat()) {
      if (stream.until <= this.clock.now()) stream.response.end();
      const position = this.events.position(stream.userId);
      if (isAfter(position, stream.last)) stream.last = position;
      write(stream, `:\nid: ${stream.last}\n\n`);
    }
  }
}

function send(stream: EventStream, event: SessionEvent): void {
  stream.last = event.id;
  write(stream, `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(eventDataJson(event))}\n\n`);
}

/** Never waits: what a client does not read in time, it has to ask for again. */
function write({ response }: EventStream, text: string): void {
  if (response.writableEnded || response.destroyed) return;
  response.write(text);
  if (response.writableLength > MAX_UNREAD_BYTES) response.destroy();
}
