import { type Clock } from '../../clock.js';
import { type Config } from '../../config/config.js';
import { Availability } from './availability.js';
import { LayoutChoice } from './layout/layout-choice.js';
import { type Layout } from './layout/layout.js';
import { type RedisLink } from './link.js';
import { type Loss, Losses } from './losses.js';
import { CallbackOutboxes } from '../session-events.js';
import { RedisAuditLog } from './redis-audit-log.js';
import { RedisCallbackOutbox } from './redis-callback-outbox.js';
import { RedisReporter } from './redis-reporter.js';
import { RedisRateTally } from './redis-rate-tally.js';
import { RedisSessionEvents } from './redis-session-events.js';
import { RedisSessionRepository } from './redis-session.repository.js';
import { ScriptRunner } from './script.js';
import { UnreadableValues } from './unreadable.js';

export interface RedisStore {
  readonly sessions: RedisSessionRepository;
  readonly events: RedisSessionEvents;
  readonly outboxes: CallbackOutboxes;
  readonly tally: RedisRateTally;
  readonly reporter: RedisReporter;
  readonly audit: RedisAuditLog;
  readonly nodesAway: () => number;
}

type StoreConfig = Pick<Config, 'policy' | 'subscriptions' | 'STORE_LAYOUT'>;

/** The store of one process, on one connection. */
export function openRedisStore(
  link: RedisLink,
  { policy, subscriptions, STORE_LAYOUT }: StoreConfig,
  clock: Clock,
  availability: Availability,
  countLoss: (loss: Loss, partitions: number) => void = () => undefined,
): RedisStore {
  const { log } = availability;
  const layout = STORE_LAYOUT === undefined ? undefined : (Number(STORE_LAYOUT) as Layout);
  // On a cluster, no older release has run.
  const known = layout ?? (link.sharded ? 2 : undefined);
  const scripts: ScriptRunner = new ScriptRunner(link, { policy, subscriptions, layout: known }, async () =>
    layouts.decide(),
  );
  const unreadable = new UnreadableValues(log);
  const losses = new Losses(log, countLoss);
  const layouts = new LayoutChoice(link, scripts, layout, log);
  return {
    sessions: new RedisSessionRepository(
      link,
      scripts,
      policy,
      clock,
      layouts,
      unreadable,
      losses,
      availability,
    ),
    events: new RedisSessionEvents(link, policy, unreadable),
    outboxes: new CallbackOutboxes(
      new Map(
        subscriptions.map(({ receiver }) => [
          receiver,
          new RedisCallbackOutbox(receiver, link, scripts, policy, unreadable),
        ]),
      ),
    ),
    tally: new RedisRateTally(scripts, log),
    reporter: new RedisReporter(scripts, clock),
    audit: new RedisAuditLog(link, log),
    nodesAway: () => link.serversAway(),
  };
}
