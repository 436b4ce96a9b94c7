import { setImmediate as turn } from 'node:timers/promises';
import { type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo } from 'node:net';
import { SchedulerRegistry } from '@nestjs/schedule';
import fc from 'fast-check';
import type * as client from '../../client/src/watch.js';
import { createApp } from '../../src/app.js';
import { readConfig } from '../../src/config/config.js';
import { LocalServer } from '../support/local-server.js';
import { ManualClock } from '../support/manual-clock.js';

/** The number of streams that are watched for an hour each. `LIVE_HOURS=100 npm test -- test/client/live-hour` for more. */
const HOURS = Number(process.env.LIVE_HOURS ?? 2);
const HOUR_MS = 3_600_000;

interface Programme {
  /** X, in seconds. */
  readonly phaseSeconds: number;
  /** The target duration, in whole seconds. */
  readonly targetSeconds: number;
  /** Segments in the window. */
  readonly windowSegments: number;
  /** Milliseconds by which each segment is shorter than the target duration, over and over. */
  readonly shorter: readonly number[];
  readonly axis: 'dates' | 'one date' | 'numbers';
  /** The media sequence number of the first segment. */
  readonly first: number;
  /** Milliseconds from the end of a segment until the playlist lists it. */
  readonly encoderMs: number;
  /** Milliseconds that each request takes, there and back, over and over. */
  readonly networkMs: readonly number[];
}

/** A window of three target durations at least is what RFC 8216bis (6.2.2) asks for. */
const programmes: fc.Arbitrary<Programme> = fc
  .record({
    phaseSeconds: fc.oneof(fc.constant(10), fc.integer({ min: 2, max: 20 })),
    targetSeconds: fc.oneof(fc.constantFrom(2, 4, 6), fc.integer({ min: 1, max: 10 })),
    windowSegments: fc.integer({ min: 4, max: 30 }),
    shorter: fc.array(fc.oneof(fc.constant(0), fc.nat(499)), { minLength: 1, maxLength: 6 }),
    axis: fc.constantFrom('dates' as const, 'one date' as const, 'numbers' as const),
    first: fc.constantFrom(0, 1, 1_000, 1_764_448_000_000_000),
    encoderMs: fc.nat(400),
    networkMs: fc.array(fc.nat(300), { minLength: 1, maxLength: 5 }),
  })
  .filter(({ targetSeconds, windowSegments }) => targetSeconds * windowSegments >= 12);

/** Segments that are shorter than the target duration, without dates: a phase of 10 s holds 7.6 s of media. */
const SHORT: Programme = {
  phaseSeconds: 10,
  targetSeconds: 1,
  windowSegments: 26,
  shorter: [68, 403],
  axis: 'numbers',
  first: 1,
  encoderMs: 71,
  networkMs: [62, 100, 33],
};

/** A real origin whose live stream follows the clock of the test. */
class Encoder extends LocalServer {
  /** Where each segment starts, in milliseconds from the beginning of the programme. */
  private readonly starts: number[] = [0];
  private readonly began: number;

  constructor(
    private readonly clock: ManualClock,
    private readonly programme: Programme,
  ) {
    super();
    const { targetSeconds, windowSegments, shorter } = programme;
    // The first window is there when the test begins.
    this.began = clock.now() - (windowSegments + 5) * targetSeconds * 1_000;
    const length = 2 * HOUR_MS;
    for (let at = 0; this.starts[at]! < length; at++)
      this.starts.push(this.starts[at]! + targetSeconds * 1_000 - shorter[at % shorter.length]!);
  }

  /** The positions of the oldest segment in the window, and of the one behind the newest. */
  window(): { readonly from: number; readonly to: number } {
    const { encoderMs, windowSegments } = this.programme;
    const now = this.clock.now() - this.began - encoderMs;
    let to = 0;
    while (this.starts[to + 1]! <= now) to++;
    return { from: Math.max(0, to - windowSegments), to };
  }

  protected handle(_request: IncomingMessage, response: ServerResponse): void {
    const { targetSeconds, first, axis } = this.programme;
    const { from, to } = this.window();
    const lines = [
      '#EXTM3U',
      `#EXT-X-TARGETDURATION:${targetSeconds}`,
      `#EXT-X-MEDIA-SEQUENCE:${first + from}`,
    ];
    for (let at = from; at < to; at++) {
      const [start, end] = [this.starts[at]!, this.starts[at + 1]!];
      if (axis === 'dates' || (axis === 'one date' && at === from))
        lines.push(`#EXT-X-PROGRAM-DATE-TIME:${new Date(this.began + start).toISOString()}`);
      lines.push(`#EXTINF:${(end - start) / 1_000},`, `part-${at}.ts`);
    }
    response.end([...lines, ''].join('\n'));
  }
}

interface Watched {
  /** The positions of all segments that the client was given, in order. */
  readonly segments: number[];
  /** Segments that the origin need not have any more when the client was given them. */
  readonly late: number[];
  /** Milliseconds for which a player that starts with the first phase had nothing to play. */
  stalledMs: number;
}

describe('a client that watches a live stream for an hour', () => {
  let watch: typeof client.watch;
  beforeAll(async () => {
    // The built client. The path is a variable so that the compiler does not resolve it: the file may not exist yet.
    const path: string = '../../client/dist/watch.js';
    ({ watch } = (await import(path)) as typeof client);
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  /** Runs the client on simulated time against the real service and a real origin. */
  async function watchForAnHour(programme: Programme): Promise<Watched> {
    const clock = new ManualClock();
    const encoder = new Encoder(clock, programme);
    await encoder.start();
    const config = readConfig({
      LOG_LEVEL: 'silent',
      STREAM_ORIGIN: `${encoder.url}/live/{stream_id}/index.m3u8`,
      PHASE_SECONDS: String(programme.phaseSeconds),
      RATE_LIMIT_PER_USER: '0',
      RATE_LIMIT_PER_ADDRESS: '0',
    });
    const app = await createApp(config, clock);
    await app.get(SchedulerRegistry).getCronJob('expire-idle-sessions').stop();
    await app.listen(0, '127.0.0.1');
    const baseUrl = `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}`;
    jest.useFakeTimers({ now: clock.now(), doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
    let underWay = 0;
    let sent = 0;
    const travel = async (): Promise<void> => {
      const ms = programme.networkMs[sent++ % programme.networkMs.length]!;
      await new Promise((resolve) => setTimeout(resolve, ms));
    };
    const viewing = watch({
      baseUrl,
      userId: 'ana',
      streamId: 'news',
      fetch: async (url, init) => {
        await travel();
        underWay++;
        try {
          const reply = await fetch(url, init);
          const body = await reply.arrayBuffer();
          return new Response(reply.status === 204 ? null : body, reply);
        } finally {
          underWay--;
        }
      },
    });
    const watched: Watched = { segments: [], late: [], stalledMs: 0 };
    const watching = { over: false };
    let playedTo: number | undefined;
    const consume = async (): Promise<void> => {
      for await (const result of viewing) {
        if (result.type !== 'phase') throw new Error(`it was told ${result.type}`);
        if (result.readmitted) throw new Error('it had lost its place');
        const positions = result.phase.segments.map(({ url }) => Number(/part-(\d+)\.ts/.exec(url)![1]));
        const { from } = encoder.window();
        watched.segments.push(...positions);
        watched.late.push(...positions.filter((at) => at < from - programme.windowSegments));
        playedTo ??= clock.now();
        watched.stalledMs += Math.max(0, clock.now() - playedTo);
        const seconds = result.phase.segments.reduce((sum, { durationSeconds }) => sum + durationSeconds, 0);
        playedTo = Math.max(playedTo, clock.now()) + seconds * 1_000;
      }
    };
    const begun = clock.now();
    const consumed = consume().finally(() => {
      watching.over = true;
    });
    consumed.catch(() => undefined);
    while (!watching.over) {
      if (clock.now() - begun > HOUR_MS) void viewing.stop();
      // Time stands still while a request is under way.
      if (underWay === 0) {
        jest.advanceTimersToNextTimer();
        // A timer of less than a millisecond is over at once.
        if (Date.now() === clock.now()) jest.advanceTimersByTime(1);
        clock.advance(Date.now() - clock.now());
      }
      await turn();
    }
    jest.useRealTimers();
    await app.close();
    await encoder.stop();
    await consumed;
    return watched;
  }

  it('gets each segment once, in order and in time, without an error', async () => {
    await fc.assert(
      fc.asyncProperty(programmes, async (programme) => {
        const { segments, late, stalledMs } = await watchForAnHour(programme);
        const [begin = 0] = segments;
        expect(segments).toEqual(segments.map((_, at) => begin + at));
        expect(segments.length).toBeGreaterThan(0.9 * (HOUR_MS / 1_000 / programme.targetSeconds));
        expect(late).toEqual([]);
        // At its beginning a player waits once until it is far enough behind the edge.
        const { phaseSeconds, targetSeconds } = programme;
        expect(stalledMs).toBeLessThan(1_000 * (phaseSeconds + 2 * targetSeconds));
      }),
      { examples: [[SHORT]], numRuns: HOURS, endOnFailure: true },
    );
  }, 1_000_000);
});
