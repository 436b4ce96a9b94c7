import { type Place } from '../../session.js';
import { type UserKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const CONFIRM = defineScript({
  name: 'confirm',
  subject: 'user',
  args: ['now', 'user', 'session', 'started'],
  // Otherwise a new primary would have the reservation only, and its lease would lapse.
  needsReplica: () => true,
});

/** Makes a new session permanent: see confirm.lua. Returns whether it is permanent now. It may be repeated. */
export async function confirm(
  scripts: ScriptRunner,
  keys: UserKeys,
  now: number | '',
  { userId, sessionId, startedAt }: Place,
): Promise<boolean> {
  const args = { now, user: userId, session: sessionId, started: startedAt };
  return (await scripts.run(CONFIRM, keys.script, args)) === 1;
}
