import { CALLS, type SimulatedCall, type SimulatedReply } from './simulation-api.js';
import { table } from './terminal.js';

const LISTED_WRONG = 20;
/** The answers that viewers get where everything works. */
const USUAL = new Set([
  'session-limit-reached',
  'session-ended',
  'session-not-found',
  'phase-not-found',
  'too-far-ahead',
]);

interface WrongAnswer {
  readonly user_id: string;
  readonly answer: string;
}

/** Collects latencies, decisions and wrong answers. */
export class SimulationReport {
  private readonly latencies = new Map<SimulatedCall, number[]>(CALLS.map((call) => [call, []]));
  private readonly decisions = new Map<string, number>();
  private readonly wrongAnswers: WrongAnswer[] = [];
  requests = 0;
  wrongs = 0;
  /** Unusual replies such as 401, 429 `rate-limited` and 503, and requests that got none and were not aborted. */
  failures = 0;

  /** `reply`: a text is the reason why there is none. */
  note(call: SimulatedCall, tookMs: number, reply: SimulatedReply | string): void {
    this.requests++;
    this.latencies.get(call)!.push(tookMs);
    const decision =
      typeof reply === 'string'
        ? `no reply: ${reply}`
        : `${reply.status} ${reply.code ?? DECISIONS[reply.status] ?? ''}`;
    this.decisions.set(decision.trim(), (this.decisions.get(decision.trim()) ?? 0) + 1);
    const failed =
      typeof reply === 'string' ? reply !== 'aborted' : reply.status >= 300 && !USUAL.has(reply.code ?? '');
    if (failed) this.failures++;
  }

  wrong(userId: string, answer: string): void {
    this.wrongs++;
    if (this.wrongAnswers.length < LISTED_WRONG) this.wrongAnswers.push({ user_id: userId, answer });
  }

  /** The times are milliseconds. */
  result(users: number, seconds: number) {
    const latencies = CALLS.flatMap((call) => {
      const sorted = this.latencies.get(call)!.toSorted((a, b) => a - b);
      const at = (share: number): number =>
        Math.round(10 * sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!) / 10;
      return sorted.length === 0
        ? []
        : [{ call, count: sorted.length, p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) }];
    });
    return {
      users,
      seconds: Math.round(10 * seconds) / 10,
      requests: this.requests,
      requests_per_second: Math.round(this.requests / Math.max(seconds, 0.1)),
      latencies,
      decisions: Object.fromEntries([...this.decisions].toSorted(([, a], [, b]) => b - a)),
      failures: this.failures,
      wrong: this.wrongs,
      wrong_answers: this.wrongAnswers,
    };
  }
}

const DECISIONS: Readonly<Record<number, string>> = { 200: 'continued', 201: 'admitted', 204: 'ended' };

export function resultText(result: ReturnType<SimulationReport['result']>): string {
  const { users, seconds, requests, requests_per_second, latencies, decisions, failures, wrong } = result;
  const times = latencies.map((one) => [one.call, one.count, one.p50, one.p95, one.p99, one.max]);
  const wrongLines = result.wrong_answers.map(({ user_id, answer }) => `  ${user_id}: ${answer}`);
  return [
    `${users} users for ${seconds} s: ${requests} requests, ${requests_per_second} a second.`,
    '',
    table([['REQUEST', 'COUNT', 'P50 MS', 'P95 MS', 'P99 MS', 'MAX MS'], ...times]),
    '',
    table([['ANSWER', 'COUNT'], ...Object.entries(decisions)]),
    '',
    `${failures} failures, ${wrong} wrong answers${wrong > wrongLines.length ? `, of which the first ${LISTED_WRONG}` : ''}.`,
    ...wrongLines,
  ].join('\n');
}
