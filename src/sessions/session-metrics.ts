import { type Metrics } from '../observability/metrics.js';
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
    },
    async () => {
      const { admitted, expired, ended, undone, unreadable } = await sessions.ledger();
      return {
        sessions_live: admitted - expired - ended - undone,
        sessions_admitted_total: admitted,
        sessions_expired_total: expired,
        sessions_ended_total: ended,
        sessions_undone_total: undone,
        store_unreadable_values_total: unreadable,
      };
    },
  );
}
