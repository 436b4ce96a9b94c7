import { type Pause } from '../../session.repository.js';
import { type PartitionKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const PAUSED = defineScript({ name: 'paused', subject: 'partition', args: ['now'] });

/** The pause of a partition, if its sweeps are paused: see paused.lua. */
export async function paused(
  scripts: ScriptRunner,
  keys: PartitionKeys,
  now: number | '',
): Promise<Pause | undefined> {
  const reply = await scripts.run(PAUSED, keys.script, { now });
  const [since, by, until] = reply as [number?, string?, string?];
  if (since === undefined) return undefined;
  return { since, by: by || undefined, until: until ? Number(until) : undefined };
}
