import { LAYOUT_KEY, type PartitionKeys, bucketKeys, probeChannel, rateKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const PROBE = defineScript({
  name: 'probe',
  subject: 'partition',
  args: ['records', 'index', 'rate', 'layout', 'channel'],
});

/** Tests everything that requests need, and returns the commands that the ACL user may not run: see probe.lua. */
export async function probe(
  scripts: ScriptRunner,
  keys: PartitionKeys,
  sharded: boolean,
): Promise<readonly string[]> {
  const args = {
    ...bucketKeys(keys, 0),
    rate: rateKeys('probe').first,
    layout: LAYOUT_KEY,
    channel: probeChannel(keys, sharded),
  };
  return (await scripts.run(PROBE, keys.script, args)) as string[];
}
