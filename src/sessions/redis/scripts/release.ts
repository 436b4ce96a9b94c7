import { type OutboxKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const RELEASE = defineScript({ name: 'release', subject: 'partition', args: ['consumer', 'silence'] });

/** Gives back the unsettled events of an instance: see release.lua. `silence` is in milliseconds. */
export async function release(
  scripts: ScriptRunner,
  keys: OutboxKeys,
  args: { readonly consumer: string; readonly silence: number },
): Promise<void> {
  await scripts.run(RELEASE, keys.script, args);
}
