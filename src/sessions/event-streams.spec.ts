import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { Clock } from '../clock.js';
import { Metrics } from '../observability/metrics.js';
import { EventStreams } from './event-streams.js';
import { SessionEvents, type Watch } from './session-events.js';

/** Answers `watch` when the test calls `letGo`. */
class HeldEvents extends SessionEvents {
  readonly answer = Promise.withResolvers<Watch>();
  watching = 0;

  override async watch(): Promise<Watch> {
    this.watching++;
    return this.answer.promise;
  }

  letGo(): void {
    const stop = (): void => {
      this.watching--;
    };
    this.answer.resolve({ missed: [], complete: true, position: '1-1', stop });
  }

  override position(): string {
    return '1-1';
  }

  override async refresh(): Promise<void> {}
}

describe('a stream of events', () => {
  it('is not opened for a client that disconnects while the store is asked, and leaves nothing behind', async () => {
    const events = new HeldEvents();
    const streams = new EventStreams(events, new Clock(), new Metrics());
    const response = new ServerResponse(new IncomingMessage(new Socket()));
    const opened = streams.stream('ana', undefined, response);
    expect([streams.size, events.watching]).toEqual([1, 1]);
    response.destroy();
    events.letGo();
    await opened;
    expect([streams.size, events.watching, response.headersSent]).toEqual([0, 0, false]);
  });

  it('is opened for a client that stays, and ends when it disconnects', async () => {
    const events = new HeldEvents();
    const streams = new EventStreams(events, new Clock(), new Metrics());
    const response = new ServerResponse(new IncomingMessage(new Socket()));
    events.letGo();
    await streams.stream('ana', undefined, response);
    expect([streams.size, events.watching, response.headersSent]).toEqual([1, 1, true]);
    response.destroy();
    await new Promise((resolve) => setImmediate(resolve));
    expect([streams.size, events.watching]).toEqual([0, 0]);
  });
});
