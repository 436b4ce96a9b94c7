import { Controller, Get, Res } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { type FastifyReply } from 'fastify';
import { Counter, Gauge, Registry } from 'prom-client';
import { NeedsScope } from '../auth/scope.guard.js';
import { Clock } from '../clock.js';
import { RateLimits } from '../http/rate-limits.js';
import { EventStreams } from '../sessions/event-streams.js';
import { CallbackOutbox } from '../sessions/session-events.js';
import { SessionRepository } from '../sessions/session.repository.js';

/** What the whole system holds, as any instance can tell it: for Prometheus, read from the store at each scrape. */
@ApiTags('platform')
@NeedsScope('metrics')
@Controller('metrics')
export class MetricsController {
  private readonly instance = new Registry();
  /** Left out where the store does not answer: a figure that nobody knows is no 0. */
  private readonly store = new Registry();
  private readonly storeUp = new Gauge({
    name: 'streamgate_store_up',
    help: 'Whether the session store answered this scrape.',
    registers: [this.instance],
  });
  private readonly streams = new Gauge({
    name: 'streamgate_event_streams',
    help: 'Streams of events open on this instance.',
    registers: [this.instance],
  });
  private readonly rateLimited = new Counter({
    name: 'streamgate_rate_limited_total',
    help: 'Requests that this instance refused because one user or address asked too often.',
    labelNames: ['limit'],
    registers: [this.instance],
  });
  private readonly live = this.gauge('sessions_live', 'Sessions that hold a place, or expired unclaimed.');
  private readonly started = this.counter('sessions_started_total', 'Sessions whose place was taken.');
  private readonly expired = this.counter('sessions_expired_total', 'Sessions whose expiry was claimed.');
  private readonly ended = this.counter('sessions_ended_total', 'Sessions that were ended on purpose.');
  private readonly undone = this.counter(
    'sessions_undone_total',
    'Sessions whose first phase never arrived.',
  );
  private readonly paused = this.gauge('expiry_paused', 'Whether the sweeps are paused.');
  private readonly pausedSeconds = this.gauge('expiry_paused_seconds', 'For how long they are.');
  private readonly waiting = this.gauge('callbacks_waiting', 'Events that are not delivered yet.');
  private readonly oldest = this.gauge('callbacks_oldest_seconds', 'How old the oldest of them is.');
  private readonly deadLetters = this.gauge('callbacks_dead_letters', 'Events that were given up.');
  private readonly lost = this.counter('callbacks_lost_total', 'Events that were dropped.');

  constructor(
    private readonly sessions: SessionRepository,
    private readonly outbox: CallbackOutbox,
    private readonly eventStreams: EventStreams,
    private readonly limits: RateLimits,
    private readonly clock: Clock,
  ) {}

  @Get()
  @ApiOperation({ operationId: 'getMetrics', summary: 'Metrics for Prometheus' })
  @ApiOkResponse({
    description:
      'All but those of the event streams and of the limits on asking are of the whole system, not of this instance.',
    content: { 'text/plain': { schema: { type: 'string' } } },
  })
  async showMetrics(@Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    this.streams.set(this.eventStreams.size);
    this.rateLimited.reset(); // the limits tell totals
    for (const [limit, refused] of Object.entries(this.limits.refused))
      this.rateLimited.inc({ limit }, refused);
    const answered = await this.readStore().then(
      () => true,
      () => false,
    );
    this.storeUp.set(answered ? 1 : 0);
    void reply.type(this.instance.contentType);
    const registries = answered ? [this.instance, this.store] : [this.instance];
    return (await Promise.all(registries.map((one) => one.metrics()))).join('\n');
  }

  private async readStore(): Promise<void> {
    const [{ started, expired, ended, undone }, pause, outbox] = await Promise.all([
      this.sessions.ledger(),
      this.sessions.expiryPause(),
      this.outbox.state(),
    ]);
    const now = this.clock.now();
    this.store.resetMetrics(); // the store tells totals, not what came on top
    this.live.set(started - expired - ended - undone);
    this.started.inc(started);
    this.expired.inc(expired);
    this.ended.inc(ended);
    this.undone.inc(undone);
    this.paused.set(pause ? 1 : 0);
    this.pausedSeconds.set(pause ? Math.max(0, now - pause.since) / 1_000 : 0);
    this.waiting.set(outbox.waiting);
    this.oldest.set(outbox.oldestAt === undefined ? 0 : Math.max(0, now - outbox.oldestAt) / 1_000);
    this.deadLetters.set(outbox.deadLetters);
    this.lost.inc(outbox.lost);
  }

  private gauge(name: string, help: string): Gauge {
    return new Gauge({ name: `streamgate_${name}`, help, registers: [this.store] });
  }

  private counter(name: string, help: string): Counter {
    return new Counter({ name: `streamgate_${name}`, help, registers: [this.store] });
  }
}
