import { type OutboxKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const DISCARD = defineScript({ name: 'discard', subject: 'partition', args: ['stream', 'entry'] });

/** Sets an event aside that cannot be read: see discard.lua. */
export async function discard(
  scripts: ScriptRunner,
  keys: OutboxKeys,
  args: { readonly stream: 'outbox' | 'dead_letters'; readonly entry: string },
): Promise<void> {
  await scripts.run(DISCARD, keys.script, args);
}
