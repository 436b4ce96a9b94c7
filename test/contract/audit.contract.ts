import { type AuditEntry, type AuditLog, MAX_AGE_MS, MAX_ENTRIES } from '../../src/audit/audit-log.js';
import { type Policy } from '../../src/sessions/admission.js';
import { ManualClock } from '../support/manual-clock.js';
import { POLICY, type Store } from '../support/stores.js';

/** What the audit of every store must do. `open` returns the ports of the store under test, empty. */
export function describeAuditLog(open: (policy: Policy, clock: ManualClock) => Store): void {
  const START = Date.UTC(2026, 0, 1);
  const entry = (id: string, at: number): AuditEntry => ({
    id,
    at: new Date(at).toISOString(),
    by: 'support',
    scope: 'sessions:end',
    action: 'sessions.end',
    target: { user_id: 'ana' },
    before: { sessions: [{ session_id: 'tv' }] },
    after: { ended: 1 },
    outcome: 'done',
    note: 'Zoë, ticket 4711',
    request_id: 'r',
  });
  const read = async (since = 0, upTo = Number.MAX_SAFE_INTEGER): Promise<AuditEntry[]> => {
    const entries: AuditEntry[] = [];
    for await (const one of audit.read({ since, until: upTo })) entries.push(one);
    return entries;
  };
  const idsOf = async (...range: readonly number[]): Promise<string[]> =>
    (await read(...range)).map(({ id }) => id);

  let audit: AuditLog;
  beforeEach(() => {
    ({ audit } = open(POLICY, new ManualClock()));
  });

  it('gives back the entries of a time, newest first, as they were', async () => {
    for (const at of [1, 2, 3, 4]) await audit.append(entry(`e${at}`, START + at));
    expect(await read(START + 2, START + 3)).toEqual([entry('e3', START + 3), entry('e2', START + 2)]);
    expect(await idsOf()).toEqual(['e4', 'e3', 'e2', 'e1']);
  });

  it('has an entry once, however often it is stored', async () => {
    for (let n = 0; n < 3; n++) await audit.append(entry('e1', START));
    expect(await idsOf()).toEqual(['e1']);
  });

  it(`keeps the newest ${MAX_ENTRIES} entries`, async () => {
    const extra = 250;
    for (let at = 0; at < MAX_ENTRIES + extra; at += extra)
      await Promise.all(
        Array.from({ length: extra }, (_, n) => audit.append(entry(`e${at + n}`, START + at + n))),
      );
    const ids = await idsOf();
    expect([ids.length, ids[0], ids.at(-1)]).toEqual([
      MAX_ENTRIES,
      `e${MAX_ENTRIES + extra - 1}`,
      `e${extra}`,
    ]);
  });

  it('drops entries that are too old when a new one is stored', async () => {
    await audit.append(entry('old', START));
    await audit.append(entry('kept', START + 1));
    await audit.append(entry('new', START + 1 + MAX_AGE_MS));
    expect(await idsOf()).toEqual(['new', 'kept']);
  });
}
