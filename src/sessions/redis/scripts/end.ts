import { type EndReason, ALL_SESSIONS } from '../../admission.js';
import { type ShownRecord } from '../../session.js';
import { type UserKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';
import { readSessions } from './replies.js';

const END = defineScript({ name: 'end', subject: 'user', args: ['now', 'user', 'reason', 'all'] });

export interface EndAnswer {
  readonly now: number;
  readonly ended: readonly ShownRecord[];
  readonly endedBefore: readonly string[];
}

/** Ends sessions on purpose: see end.lua. */
export async function end(
  scripts: ScriptRunner,
  keys: UserKeys,
  now: number | '',
  wanted: {
    readonly userId: string;
    readonly sessionIds: readonly string[] | typeof ALL_SESSIONS;
    readonly reason: EndReason;
  },
): Promise<EndAnswer> {
  const { userId, sessionIds, reason } = wanted;
  const all = sessionIds === ALL_SESSIONS;
  const args = { now, user: userId, reason, all: all ? 1 : 0 };
  const reply = await scripts.run(END, keys.script, args, all ? [] : sessionIds);
  const [at, ended, endedBefore] = reply as [number, unknown[], string[]];
  return { now: at, ended: readSessions(ended), endedBefore };
}
