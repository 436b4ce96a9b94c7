import { type Place } from '../../session.js';
import { type UserKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const CONFIRM = defineScript({
  name: 'confirm',
  subject: 'user',
  args: ['now', 'user', 'session', 'started'],
});

/** Makes a new session permanent: see confirm.lua. */
export async function confirm(
  scripts: ScriptRunner,
  keys: UserKeys,
  now: number | '',
  { userId, sessionId, startedAt }: Place,
): Promise<void> {
  const args = { now, user: userId, session: sessionId, started: startedAt };
  await scripts.run(CONFIRM, keys.script, args);
}
