import { type Pause } from '../../session.repository.js';
import { type PartitionKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const PAUSE = defineScript({ name: 'pause', subject: 'partition', args: ['now', 'by', 'until_ms'] });

/** Pauses the sweeps of a partition, and returns the start of the pause (Unix ms): see pause.lua. */
export async function pause(
  scripts: ScriptRunner,
  keys: PartitionKeys,
  now: number | '',
  { by, until }: Pick<Pause, 'by' | 'until'>,
): Promise<number> {
  const args = { now, by: by ?? '', until_ms: until ?? '' };
  return (await scripts.run(PAUSE, keys.script, args)) as number;
}
