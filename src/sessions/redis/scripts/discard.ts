import { type OutboxKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const DISCARD = defineScript({ name: 'discard', subject: 'partition', args: ['stream', 'entry'] });

/** Moves an unreadable event to the quarantine: see discard.lua. */
export async function discard(
  scripts: ScriptRunner,
  keys: OutboxKeys,
  args: { readonly stream: 'outbox' | 'dead_letters'; readonly entry: string },
): Promise<void> {
  await scripts.run(DISCARD, keys.script, args);
}
