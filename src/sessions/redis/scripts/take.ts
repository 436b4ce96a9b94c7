import { type OutboxKeys } from '../keys.js';
import { type StreamEntry } from '../link.js';
import { type ScriptRunner, defineScript } from '../script.js';

const TAKE = defineScript({
  name: 'take',
  subject: 'partition',
  args: ['consumer', 'known', 'room', 'silence'],
});

/** An entry of the outbox and its delivery count, which includes this delivery. */
export type GivenEntry = readonly [entry: StreamEntry, times: number];

/** Gives the next events of a partition to one instance: see take.lua. */
export async function take(
  scripts: ScriptRunner,
  keys: OutboxKeys,
  args: {
    readonly consumer: string;
    readonly known: number;
    readonly room: number;
    /** Milliseconds. */
    readonly silence: number;
  },
): Promise<readonly GivenEntry[]> {
  return (await scripts.run(TAKE, keys.script, args)) as readonly GivenEntry[];
}
