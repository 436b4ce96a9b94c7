import { type OutboxKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const SETTLE = defineScript({
  name: 'settle',
  subject: 'partition',
  args: ['entry', 'failure', 'tries', 'max_letters'],
});

/** Removes an event from the outbox. It was delivered, or with a `failure` becomes a dead letter: see settle.lua. */
export async function settle(
  scripts: ScriptRunner,
  keys: OutboxKeys,
  settled: {
    readonly entry: string;
    readonly failure: string | undefined;
    readonly tries: number;
    readonly maxLetters: number;
  },
): Promise<void> {
  const { entry, failure = '', tries, maxLetters } = settled;
  await scripts.run(SETTLE, keys.script, { entry, failure, tries, max_letters: maxLetters });
}
