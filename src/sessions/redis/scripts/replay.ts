import { type OutboxKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const REPLAY = defineScript({ name: 'replay', subject: 'partition', args: [] });

/** Puts dead letters back into the outbox, and returns their number: see replay.lua. */
export async function replay(
  scripts: ScriptRunner,
  keys: OutboxKeys,
  letters: readonly string[],
): Promise<number> {
  return (await scripts.run(REPLAY, keys.script, {}, letters)) as number;
}
