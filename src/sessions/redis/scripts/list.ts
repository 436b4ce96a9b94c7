import { type Quota } from '../../quota.js';
import { type ShownRecord } from '../../session.js';
import { type UserKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';
import { readSessions } from './replies.js';

const LIST = defineScript({ name: 'list', subject: 'user', args: ['now', 'user'] });

export interface Listing {
  readonly now: number;
  readonly quota: Quota | undefined;
  readonly records: readonly ShownRecord[];
  readonly subject: string | undefined;
}

/** The sessions of a user that hold a place: see list.lua. */
export async function list(
  scripts: ScriptRunner,
  keys: UserKeys,
  now: number | '',
  userId: string,
): Promise<Listing> {
  const reply = await scripts.run(LIST, keys.script, { now, user: userId });
  const [at, limit, sessions, subject] = reply as [number, number, readonly unknown[], string];
  return {
    now: at,
    quota: limit === 0 ? undefined : { maxSessions: limit },
    records: readSessions(sessions),
    subject: subject || undefined,
  };
}
