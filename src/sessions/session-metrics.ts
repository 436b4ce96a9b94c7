import { type Clock } from '../clock.js';
import { type Metrics } from '../observability/metrics.js';
import { type CountedSeries, type SeriesMetric, type TimedSeries } from '../observability/series.js';
import { type SessionRepository } from './session.repository.js';

/** Registers the counts of sessions. At any instant, admitted = live + expired + ended + undone. */
export function registerSessionMetrics(metrics: Metrics, sessions: SessionRepository): void {
  metrics.fromStore(
    {
      sessions_live: {
        type: 'gauge',
        help: 'Sessions that hold a place, and expired sessions that no sweep has claimed yet.',
      },
      sessions_admitted_total: { type: 'counter', help: 'Sessions that were admitted.' },
      sessions_expired_total: { type: 'counter', help: 'Sessions whose expiry was claimed.' },
      sessions_ended_total: { type: 'counter', help: 'Sessions that were ended on purpose.' },
      sessions_undone_total: { type: 'counter', help: 'Sessions whose first phase was not delivered.' },
      store_unreadable_values_total: {
        type: 'counter',
        help: 'Values in the store that could not be decoded and were set aside.',
      },
      store_may_evict: {
        type: 'gauge',
        help: 'Whether the eviction policy of Redis can drop sessions when its memory is full.',
      },
    },
    async () => {
      const { admitted, expired, ended, undone, unreadable } = await sessions.ledger();
      const mayEvict = await sessions.mayEvict();
      return {
        sessions_live: admitted - expired - ended - undone,
        sessions_admitted_total: admitted,
        sessions_expired_total: expired,
        sessions_ended_total: ended,
        sessions_undone_total: undone,
        store_unreadable_values_total: unreadable,
        store_may_evict: mayEvict ? 1 : 0,
      };
    },
  );
}

/** Measures the commands that this instance sends to its store. */
export class StoreMeter {
  private readonly durations: SeriesMetric<'command', TimedSeries>;
  private readonly byCommand = new Map<string, TimedSeries>();
  private readonly failures: Readonly<Record<'away' | 'refused', CountedSeries>>;
  private readonly connects: CountedSeries;
  private inFlight = 0;

  constructor(
    metrics: Metrics,
    private readonly clock: Clock,
  ) {
    this.durations = metrics.histogram(
      'store_command_duration_seconds',
      'From sending a command or a script to its reply or failure, by its name.',
    );
    const failures = metrics.seriesCounter<'kind'>(
      'store_errors_total',
      'Commands that failed: the store was away, or refused the command.',
    );
    this.failures = {
      away: failures.series({ kind: 'away' }),
      refused: failures.series({ kind: 'refused' }),
    };
    this.connects = metrics
      .seriesCounter(
        'store_connects_total',
        'Times that a connection to a node of the store became ready; the first time of each node is the start.',
      )
      .series({});
    metrics.gauge('store_commands_in_flight', 'Commands that wait for their reply.', () => this.inFlight);
  }

  started(): number {
    this.inFlight++;
    return this.clock.monotonic();
  }

  ended(name: string, start: number): void {
    this.inFlight--;
    let series = this.byCommand.get(name);
    if (series === undefined) this.byCommand.set(name, (series = this.durations.series({ command: name })));
    series.observe((this.clock.monotonic() - start) / 1_000);
  }

  failed(kind: 'away' | 'refused'): void {
    this.failures[kind].count++;
  }

  connected(): void {
    this.connects.count++;
  }
}
