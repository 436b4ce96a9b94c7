import { type PartitionKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const EXPIRE = defineScript({
  name: 'expire',
  subject: 'partition',
  args: ['now', 'records_prefix', 'index_prefix', 'max_users'],
});

/** The result of one step of a sweep. */
export interface ExpireAnswer {
  /** How many expiries it claimed. */
  readonly expired: number;
  /** Whether more records are due: `now` if another step can claim them, `later` if they must wait. */
  readonly more: 'no' | 'now' | 'later';
  /** Whether the partition's sweeps are paused; then nothing was claimed. */
  readonly paused: boolean;
  /** How many unreadable values were set aside, by this step and in all. */
  readonly unreadable: { readonly now: number; readonly total: number };
  /** The first sweep since the partition was created (Unix ms). If it changes, Redis lost the partition. */
  readonly epoch: number;
  /** The previous sweep (Unix ms), or 0. */
  readonly sweptBefore: number;
  /** When this step ran (Unix ms). */
  readonly sweptAt: number;
  /** For each expiry, how long ago it was due. */
  readonly latenessMs: readonly number[];
}

type Expired = [
  expired: number,
  more: 0 | 1 | 2,
  paused: 0 | 1,
  setAside: number,
  total: number,
  epoch: number,
  sweptBefore: number,
  sweptAt: number,
  latenessMs: number[],
];

const MORE = ['no', 'now', 'later'] as const;

/** Claims the due records of at most `maxUsers` users of a partition: see expire.lua. */
export async function expire(
  scripts: ScriptRunner,
  keys: PartitionKeys,
  now: number | '',
  maxUsers: number,
): Promise<ExpireAnswer> {
  const args = {
    now,
    records_prefix: keys.recordsPrefix,
    index_prefix: keys.indexPrefix,
    max_users: maxUsers,
  };
  const reply = (await scripts.run(EXPIRE, keys.script, args)) as Expired;
  const [expired, more, paused, setAside, total, epoch, sweptBefore, sweptAt, latenessMs] = reply;
  return {
    expired,
    more: MORE[more],
    paused: paused === 1,
    unreadable: { now: setAside, total },
    epoch,
    sweptBefore,
    sweptAt,
    latenessMs,
  };
}
