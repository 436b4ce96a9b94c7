import {
  AUDIT_KEY,
  LAYOUT_KEY,
  type PartitionKeys,
  bucketKeys,
  fenceKeyOf,
  probeChannel,
  rateKeys,
} from '../keys.js';
import { NOT_REPLICATED, type RedisLink, allOf } from '../link.js';
import { type ScriptRunner, defineScript } from '../script.js';

const PROBE = defineScript({
  name: 'probe',
  subject: 'partition',
  args: ['records', 'index', 'rate', 'layout', 'audit', 'channel'],
});

/** What a server lacks for all that requests need. */
interface Lacks {
  /** The commands that the ACL user may not run. */
  readonly rights: readonly string[];
  /** Whether new sessions wait for a replica in vain. */
  readonly replica: boolean;
}

/**
 * Probes the first and the last partition of one server. No single node of a cluster holds the first and the last of all
 * partitions, so that this also fails if such a node is configured as the only server.
 */
export async function probeServer(
  scripts: ScriptRunner,
  link: RedisLink,
  held: readonly PartitionKeys[],
): Promise<Lacks> {
  const ends = [...new Set([held[0]!, held.at(-1)!])];
  const rights = (await allOf(ends.map(async (keys) => probe(scripts, keys, link.sharded)))).flat();
  try {
    await link.awaitReplica(fenceKeyOf(held[0]!.state));
    return { rights, replica: false };
  } catch (error) {
    if ((error as Error).message !== NOT_REPLICATED) throw error;
    return { rights, replica: true };
  }
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
