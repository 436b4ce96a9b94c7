import { type BeforeApplicationShutdown, Inject, Logger, Module, type Provider } from '@nestjs/common';
import { AuditLog } from '../audit/audit-log.js';
import { Audit } from '../audit/audit.js';
import { AuthModule } from '../auth/auth.module.js';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { RateLimits } from '../http/rate-limits.js';
import { Network } from '../network.js';
import { Metrics } from '../observability/metrics.js';
import { ActivityController } from './activity.controller.js';
import { EventStreamsController } from './event-streams.controller.js';
import { EventStreams } from './event-streams.js';
import { OutageSessions } from './outage-sessions.js';
import { MemoryAuditLog } from './memory/memory-audit-log.js';
import { MemoryEventLog } from './memory/memory-event-log.js';
import { MemorySessionRepository } from './memory/memory-session.repository.js';
import { Availability } from './redis/availability.js';
import { connectRedis } from './redis/link.js';
import { type Loss } from './redis/losses.js';
import { openRedisStore } from './redis/redis-store.js';
import { CallbackOutboxes, SessionEvents } from './session-events.js';
import { StoreMeter, registerSessionMetrics } from './session-metrics.js';
import { SessionRepository } from './session.repository.js';
import { SessionsController } from './sessions.controller.js';
import { Admissions } from './admissions.js';

/** The ports to one store. */
interface Store {
  readonly sessions: SessionRepository;
  readonly events: SessionEvents;
  readonly outboxes: CallbackOutboxes;
  /** The rate limits of all instances are counted in the session store. */
  readonly limits: RateLimits;
  readonly audit: AuditLog;
  /** How many servers of the store have no connection to this instance now. */
  readonly nodesAway: () => number;
  /** Elects one of the instances on this store to report the metrics of the whole system. */
  readonly reporter: { elect(): Promise<boolean>; stop(): Promise<void> };
}

const STORE = Symbol('the session store');

/** The sessions of users and their store. No other module depends on a particular store. */
@Module({
  imports: [AuthModule],
  controllers: [SessionsController, EventStreamsController, ActivityController],
  providers: [
    EventStreams,
    Audit,
    { provide: Admissions, inject: [SessionRepository, Metrics, Config, Clock], useFactory: makeAdmissions },
    { provide: STORE, inject: [Config, Clock, Metrics], useFactory: openStore },
    {
      provide: SessionRepository,
      inject: [STORE, Network],
      useFactory: ({ sessions }: Store, network: Network) => network.toStore(sessions),
    },
    port(SessionEvents, ({ events }) => events),
    port(CallbackOutboxes, ({ outboxes }) => outboxes),
    port(RateLimits, ({ limits }) => limits),
    port(AuditLog, ({ audit }) => audit),
  ],
  exports: [SessionRepository, Admissions, CallbackOutboxes, RateLimits, Audit],
})
export class SessionsModule implements BeforeApplicationShutdown {
  constructor(
    metrics: Metrics,
    sessions: SessionRepository,
    @Inject(STORE) private readonly store: Store,
  ) {
    const { nodesAway, reporter } = store;
    registerSessionMetrics(metrics, sessions);
    metrics.electReporterBy(async () => reporter.elect());
    metrics.gauge(
      'store_nodes_away',
      'Nodes of the store that this instance has no connection to; their users get 503.',
      nodesAway,
    );
  }

  /** Before the connection to the store is closed. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.store.reporter.stop();
  }
}

function makeAdmissions(
  repository: SessionRepository,
  metrics: Metrics,
  { STORE_DOWN_POLICY, policy }: Config,
  clock: Clock,
): Admissions {
  const outages = STORE_DOWN_POLICY === 'open' ? new OutageSessions(policy, clock) : undefined;
  return new Admissions(repository, metrics, clock, outages);
}

function port<T>(token: abstract new (...args: never[]) => T, of: (store: Store) => T): Provider {
  return { provide: token, inject: [STORE], useFactory: of };
}

function openStore(config: Config, clock: Clock, metrics: Metrics): Store {
  const { policy, subscriptions } = config;
  if (config.SESSION_STORE === 'memory') {
    const events = new MemoryEventLog(policy, clock, subscriptions);
    return {
      sessions: new MemorySessionRepository(policy, clock, events),
      events,
      outboxes: events.outboxes,
      limits: new RateLimits(config, clock),
      audit: new MemoryAuditLog(),
      nodesAway: () => 0,
      reporter: { elect: async () => true, stop: async () => undefined },
    };
  }
  const availability = new Availability(new Logger('Redis'));
  const lost = metrics.counter(
    'store_lost_partitions_total',
    'Partitions of the store (of 256) that this instance found empty, or older than it had seen them.',
    ['loss'],
  );
  const countLoss = (loss: Loss, partitions: number): void => lost.inc({ loss }, partitions);
  const meter = new StoreMeter(metrics, clock);
  const link = connectRedis(config.redisEndpoint, availability, undefined, meter);
  link.onReady(() => meter.connected());
  const redis = openRedisStore(link, config, clock, availability, countLoss);
  return { ...redis, limits: new RateLimits(config, clock, redis.tally) };
}
