import { AUDIT_KEY, LAYOUT_KEY, type PartitionKeys, bucketKeys, probeChannel, rateKeys } from '../keys.js';
import { allOf } from '../link.js';
import { type ScriptRunner, defineScript } from '../script.js';

const PROBE = defineScript({
  name: 'probe',
  subject: 'partition',
  args: ['records', 'index', 'rate', 'layout', 'audit', 'channel'],
});

/**
 * Probes the first and the last partition of one server. No single node of a cluster holds the first and the last of all
 * partitions, so that this also fails if such a node is configured as the only server.
 */
export async function probeServer(
  scripts: ScriptRunner,
  held: readonly PartitionKeys[],
  sharded: boolean,
): Promise<readonly string[]> {
  const ends = [...new Set([held[0]!, held.at(-1)!])];
  return (await allOf(ends.map(async (keys) => probe(scripts, keys, sharded)))).flat();
}

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
    audit: AUDIT_KEY,
    channel: probeChannel(keys, sharded),
  };
  return (await scripts.run(PROBE, keys.script, args)) as string[];
}
