import { type Ledger } from '../../src/sessions/session.repository.js';
import { type OutboxState } from '../../src/sessions/session-events.js';
import { type Report } from '../prove/checker.js';
import { type Arrival, type Outage, SETTLED_MS, isDuring } from './network.js';
import { type Admitted } from './viewers.js';

/** All that a simulation showed. */
export interface Shown {
  readonly report: Report;
  readonly ledger: Ledger;
  readonly admitted: readonly Admitted[];
  readonly arrivals: readonly Arrival[];
  /** What the service did that it never does, whatever happened before. */
  readonly unexpected: readonly string[];
  /** The ids of the events that live listeners got. */
  readonly heard: readonly string[];
  /** When the store was away. */
  readonly outages: readonly Outage[];
  /** What was left after the last session had expired. */
  readonly end: {
    readonly left: number;
    readonly due: number;
    readonly more: boolean;
    readonly outbox: OutboxState;
  };
}

const ENDS: readonly string[] = ['session.ended', 'session.expired'];

/** What is wrong, a sentence each. */
export function faultsOf(shown: Shown): string[] {
  const { violated, undecided, overfull, incomplete } = shown.report;
  return [
    ...violated.map((fault) => `violated: ${fault}`),
    ...undecided.map((fault) => `undecided: ${fault}`),
    ...overfull,
    ...incomplete,
    ...shown.unexpected.map((reply) => `unexpected: ${reply}`),
    ...faultsOfTelling(shown),
    ...faultsOfLives(shown),
    ...faultsOfOutages(shown.admitted),
    ...faultsOfBalance(shown),
  ];
}

/** Every event is told once: to the receiver until it has taken it, and to live listeners. */
function faultsOfTelling({ arrivals, heard }: Shown): string[] {
  const faults: string[] = [];
  const taken = new Set<string>();
  for (const { id, acknowledged, event } of arrivals) {
    // Two refusals of a session within a millisecond are one event.
    if (taken.has(id) && event.type !== 'session.refused')
      faults.push(`told again after it was taken: ${nameOf(event)}`);
    if (acknowledged) taken.add(id);
  }
  const counts = new Map<string, number>();
  for (const id of heard) counts.set(id, (counts.get(id) ?? 0) + 1);
  for (const [id, count] of counts) {
    if (count > 1) faults.push(`live listeners got ${id} ${count} times`);
    if (!taken.has(id)) faults.push(`the receiver did not take ${id}`);
  }
  const arrived = new Map(arrivals.map(({ id, event }) => [id, event]));
  for (const [id, event] of arrived)
    if (event.type !== 'session.refused' && !counts.has(id))
      faults.push(`live listeners did not get: ${nameOf(event)}`);
  return faults;
}

/** A life starts if, and only if, a reply that gave it its place was delivered. Nothing is told of it after its end. */
function faultsOfLives({ admitted, arrivals, outages }: Shown): string[] {
  const faults: string[] = [];
  const told = Map.groupBy(new Map(arrivals.map(({ id, event }) => [id, event])).values(), ({ data }) =>
    lifeOf(data.user_id, data.session_id, data.started_at),
  );
  const promised = Map.groupBy(
    admitted.filter(({ isDegraded }) => !isDegraded),
    ({ session }) => lifeOf(session.user_id, session.session_id, session.started_at),
  );
  for (const [life, events] of told) {
    const types = events.map(({ type }) => type).filter((type) => type !== 'session.refused');
    const ends = types.filter((type) => ENDS.includes(type));
    const started = types.indexOf('session.started');
    const text = `${life}: ${types.join(', ')}`;
    if (ends.length > 1) faults.push(`ended more than once: ${text}`);
    if (started > 0) faults.push(`started late: ${text}`);
    if (started < 0 && types.some((type) => type !== 'session.ended')) faults.push(`never started: ${text}`);
    if (started >= 0 && ends.length === 0) faults.push(`never ended: ${text}`);
    if (ends.length > 0 && !ENDS.includes(types.at(-1)!)) faults.push(`goes on after its end: ${text}`);
    if (started >= 0 && !promised.get(life)?.some(({ isWhole }) => isWhole))
      faults.push(`started although no reply was delivered: ${text}`);
  }
  for (const [life, replies] of promised) {
    const events = told.get(life) ?? [];
    const first = replies.find(({ isWhole }) => isWhole);
    if (first === undefined || events.length > 0) continue;
    const { sent, received } = first.line;
    if (!isDuring(outages, sent, received + SETTLED_MS)) faults.push(`delivered, and never started: ${life}`);
  }
  return faults;
}

/** A session that continues without the store holds no place for longer than the store has promised. */
function faultsOfOutages(admitted: readonly Admitted[]): string[] {
  const lives = Map.groupBy(admitted, ({ session }) =>
    lifeOf(session.user_id, session.session_id, session.started_at),
  );
  return [...lives].flatMap(([life, replies]) => {
    const promised = replies
      .filter(({ isDegraded }) => !isDegraded)
      .map(({ session }) => Date.parse(session.expires_at));
    return replies
      .filter(
        ({ isDegraded, session }) => isDegraded && Date.parse(session.expires_at) > Math.max(...promised),
      )
      .map(() => `continued in an outage for longer than the store had promised: ${life}`);
  });
}

function faultsOfBalance({ ledger, arrivals, end }: Shown): string[] {
  const { admitted, expired, ended, undone } = ledger;
  const told = [...new Map(arrivals.map(({ id, event }) => [id, event.type])).values()];
  const count = (type: string): number => told.filter((one) => one === type).length;
  const expected: [string, unknown, unknown][] = [
    ['admitted sessions that neither expired, ended nor were undone', admitted - expired - ended - undone, 0],
    ['expiries that were told', count('session.expired'), expired],
    ['ends that were told', count('session.ended'), ended],
    ['sessions that are left', end.left, 0],
    ['sessions that are due', end.due, 0],
    ['more is due', end.more, false],
    ['callbacks that wait', end.outbox.waiting, 0],
    ['callbacks that were given up', end.outbox.deadLetters + end.outbox.lost, 0],
  ];
  return expected
    .filter(([, is, should]) => is !== should)
    .map(([what, is, should]) => `${what}: ${String(is)}, not ${String(should)}`);
}

function lifeOf(...parts: unknown[]): string {
  return parts.join(' ');
}

function nameOf({ type, data }: Arrival['event']): string {
  return `${type} of ${lifeOf(data.user_id, data.session_id, data.started_at)}`;
}
