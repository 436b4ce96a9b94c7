import { type UserKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';
import { type KeepingAnswer, readKeeping } from './replies.js';

const KEEPALIVE = defineScript({ name: 'keepalive', subject: 'user', args: ['now', 'user', 'session'] });

/** Keeps the place of a paused player: see keepalive.lua. */
export async function keepAlive(
  scripts: ScriptRunner,
  keys: UserKeys,
  now: number | '',
  { userId, sessionId }: { readonly userId: string; readonly sessionId: string },
): Promise<KeepingAnswer> {
  const args = { now, user: userId, session: sessionId };
  return readKeeping((await scripts.run(KEEPALIVE, keys.script, args)) as readonly unknown[]);
}
