import { type OutboxKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const REPLAY = defineScript({ name: 'replay', subject: 'partition', args: [] });

/** Puts dead letters back into the outbox, and tells how many: see replay.lua. */
export async function replay(
  scripts: ScriptRunner,
  keys: OutboxKeys,
  letters: readonly string[],
): Promise<number> {
  return (await scripts.run(REPLAY, keys.script, {}, letters)) as number;
}
