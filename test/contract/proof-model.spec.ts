import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Ask,
  type Grant,
  type Policy,
  type SessionRecord,
  admit,
  confirm,
  expire,
  withdraw,
} from '../../src/sessions/admission.js';
import { type Question, missingSpin, simulate, verify } from '../support/spin.js';
import { filmOf } from '../support/windows.js';

/** The model of admissions, which spin checks exhaustively: test/prove/admission.pml. docs/proof.md explains it. */

// A search takes 13 s of CPU time at most. The machine may run much else.
jest.setTimeout(500_000);

const MODEL = join(process.cwd(), 'test/prove/admission.pml');
const text = readFileSync(MODEL, 'utf8');
const missing = missingSpin();
if (missing !== undefined) console.warn(`The model of admissions is not checked: ${missing}`);
const onSpin = missing === undefined ? describe : describe.skip;

const SAFE: Question = { property: 'safe', kind: 'always', macros: [] };
const ENDS: Question = { property: 'ends', kind: 'at last', macros: ['SILENCE'] };
const REPLICATED = ['FAILOVERS=1', 'REPLICATED'];

onSpin('in every state that the model can reach', () => {
  it.each<[string, Question]>([
    ['at most `limit` places are held, and each promised place is kept', SAFE],
    ['after the last request each session ends, and each confirmed one is reported', ENDS],
    [
      'the same is true of places after a failover with ADMIT_DURABILITY=replicated',
      { ...SAFE, macros: REPLICATED, isLong: true },
    ],
  ])('%s', async (_, question) => {
    const { holds, states } = await verify(MODEL, question);
    expect([holds, states > 10_000]).toEqual([true, true]);
  });
});

onSpin('the search finds', () => {
  it.each<[string, Question]>([
    [
      'that a failover with ADMIT_DURABILITY=primary breaks the limit',
      { ...SAFE, property: 'limit', macros: ['FAILOVERS=1'] },
    ],
    [
      'that a failover with ADMIT_DURABILITY=primary loses promised places',
      { ...SAFE, property: 'kept', macros: ['FAILOVERS=1'] },
    ],
    [
      'an admission that does not claim overdue sessions: late confirmations exceed the limit',
      { ...SAFE, property: 'limit', macros: ['ADMIT_CLAIMS_NOTHING'] },
    ],
    [
      'an undo that does not compare versions: it takes the place of another request',
      { ...SAFE, property: 'kept', macros: ['WITHDRAW_IGNORES_VERSION'] },
    ],
    ['a sweep in two steps', { ...SAFE, macros: ['SWEEP_IN_TWO_STEPS'] }],
    ['reservations that never lapse', { ...ENDS, macros: [...ENDS.macros, 'RESERVATIONS_NEVER_LAPSE'] }],
    [
      'a WAIT that another server answers than the one that has the session',
      { ...SAFE, property: 'kept', macros: [...REPLICATED, 'WAIT_BY_ANOTHER_SERVER'] },
    ],
  ])('%s', async (_, question) => {
    expect((await verify(MODEL, question)).holds).toBe(false);
  });
});

/** One tick of the model, in milliseconds. */
const TICK = 1_000;
const POLICY: Policy = {
  quota: { maxSessions: 2 },
  idleAfterMs: TICK,
  expireAfterMs: 2 * TICK,
  leaseMs: TICK,
  maxPauseMs: TICK,
  maxAheadMs: TICK,
  pacedAheadMs: TICK,
};
const STATUSES = ['none', 'reserved', 'permanent'];
const OLDEST = 250;

/** Makes the transitions of the model with the rule. */
class Replay {
  private records: readonly SessionRecord[] = [];
  private readonly grants: (Grant | undefined)[] = [];
  private now = 0;

  /** Returns what the rule did, in the words of the model. */
  make(transition: string, at: number, session: number): string {
    switch (transition) {
      case 'admit':
        return this.admit(at, session);
      case 'confirm':
        this.records = confirm(this.records, this.grants[at]!).records;
        return '';
      case 'withdraw':
        this.records = withdraw(this.records, this.grants[at]!).records;
        return '';
      case 'sweep':
        this.records = expire(this.records, POLICY, this.now).records;
        return '';
      case 'tick':
        this.now += TICK;
        return '';
      case 'forget':
        this.grants[at] = undefined;
        return '';
      default:
        throw new Error(`unknown transition: ${transition}`);
    }
  }

  /** The status and the age in ticks of each session, as the model prints them. */
  get state(): string {
    const all = [0, 1, 2].flatMap((session) => {
      const record = this.records.find(({ sessionId }) => sessionId === String(session));
      if (record === undefined || record.status === 'ended') return [0, 0];
      const age = (this.now - record.lastActivityAt) / TICK;
      return [STATUSES.indexOf(record.status), Math.min(OLDEST, age)];
    });
    return all.join(' ');
  }

  private admit(at: number, session: number): string {
    const ask: Ask = {
      sessionId: String(session),
      streamId: 'film',
      // This adds nothing to what is left to play, so that only the activity counts.
      phase: 'same',
      window: filmOf(1),
      endSessionIds: [],
      quota: POLICY.quota,
    };
    const decision = admit(this.records, ask, POLICY, this.now);
    if (decision.outcome !== 'admitted') return 'refused';
    const { record, former, created, records } = decision;
    this.records = records;
    const kind = former === undefined ? 1 : created ? 3 : record.status === 'reserved' ? 2 : 0;
    if (kind > 0) this.grants[at] = { ...record, former };
    return `kind${kind}`;
  }
}

onSpin('a random run of the model', () => {
  it.each([1, 2, 3, 4, 5, 6])('does what the rule does (seed %d)', async (seed) => {
    const lines = await simulate(MODEL, seed, 60_000, ['EXACT', `MOST=${OLDEST}`]);
    const replay = new Replay();
    const seen = new Set<string>();
    let compared = 0;
    const differences: unknown[] = [];
    const compare = (at: number, ours: string, ofModel: string): void => {
      compared++;
      if (ours !== ofModel) differences.push({ at, ours, ofModel });
    };
    for (const [at, line] of lines.entries()) {
      const [tag, ...words] = line.split(' ');
      if (tag === 'STATE') compare(at, replay.state, words.join(' '));
      if (tag !== 'TRACE') continue;
      const [transition = '', instance, session, outcome = ''] = words;
      compare(at, replay.make(transition, Number(instance), Number(session)), outcome);
      seen.add(`${transition} ${outcome}`.trim());
    }
    expect(differences.slice(0, 3)).toEqual([]);
    expect(compared).toBeGreaterThan(1_000);
    for (const outcome of ['refused', 'kind0', 'kind1', 'kind2', 'kind3'])
      expect(seen).toContain(`admit ${outcome}`);
    for (const transition of ['confirm', 'withdraw', 'sweep']) expect(seen).toContain(transition);
  });
});

describe('the model', () => {
  it('names each function of the rule that changes records, as a transition or as one that it leaves out', () => {
    const rule = readFileSync('src/sessions/admission.ts', 'utf8');
    const functions = [
      ...rule.matchAll(/^export function (\w+)\([^)]*\): (Decision|Outcome|Ending|Keeping|number) /gm),
    ].flatMap(([, name, returned]) => (returned === 'number' && !name!.startsWith('grace') ? [] : [name!]));
    const table = text.slice(0, text.indexOf('*/'));
    const transitions = [...table.matchAll(/^ \* {3}\w+ +(\w+) +(\S+\.lua)$/gm)];
    const leftOut = [...table.slice(table.indexOf('Not in the model')).matchAll(/^ \* {3}(\w+) {2,}/gm)];
    const named = [...transitions, ...leftOut].map(([, name]) => name!);
    expect(functions.filter((name) => !named.includes(name))).toEqual([]);
    expect(functions.length).toBeGreaterThan(7);
    for (const [, name, script] of transitions) {
      expect(functions).toContain(name);
      expect(readFileSync(join('src/sessions/redis/scripts', script!), 'utf8')).not.toBe('');
    }
  });
});
