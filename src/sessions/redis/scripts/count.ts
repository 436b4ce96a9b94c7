import { rateKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const COUNT = defineScript({ name: 'count', subject: 'rate', args: ['more', 'keep_ms'] });

/** Adds to a count of requests and returns the new count: see count.lua. */
export async function count(
  scripts: ScriptRunner,
  key: string,
  { more, keepMs }: { readonly more: number; readonly keepMs: number },
): Promise<number> {
  return (await scripts.run(COUNT, rateKeys(key), { more, keep_ms: keepMs })) as number;
}
