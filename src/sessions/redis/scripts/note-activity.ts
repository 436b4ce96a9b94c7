import { type UserKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';
import { type KeepingAnswer, readKeeping } from './replies.js';

const NOTE_ACTIVITY = defineScript({
  name: 'note-activity',
  subject: 'user',
  args: ['now', 'user', 'session', 'seen_at'],
});

/** Moves the last activity of a session forward: see note-activity.lua. */
export async function noteActivity(
  scripts: ScriptRunner,
  keys: UserKeys,
  now: number | '',
  { userId, sessionId, at }: { readonly userId: string; readonly sessionId: string; readonly at: number },
): Promise<KeepingAnswer> {
  const args = { now, user: userId, session: sessionId, seen_at: at };
  return readKeeping((await scripts.run(NOTE_ACTIVITY, keys.script, args)) as readonly unknown[]);
}
