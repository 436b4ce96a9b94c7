import { type ShownRecord } from '../../session.js';
import { type UserKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';
import { type SessionEnded, readEnded, readSessions } from './replies.js';

const KEEPALIVE = defineScript({ name: 'keepalive', subject: 'user', args: ['now', 'user', 'session'] });

export type KeepAliveAnswer =
  | { readonly outcome: 'kept'; readonly now: number; readonly record: ShownRecord }
  | SessionEnded
  | { readonly outcome: 'session-not-found' };

/** Keeps the place of a paused player: see keepalive.lua. */
export async function keepAlive(
  scripts: ScriptRunner,
  keys: UserKeys,
  now: number | '',
  { userId, sessionId }: { readonly userId: string; readonly sessionId: string },
): Promise<KeepAliveAnswer> {
  const args = { now, user: userId, session: sessionId };
  const reply = (await scripts.run(KEEPALIVE, keys.script, args)) as readonly unknown[];
  switch (reply[0]) {
    case 1: {
      const [, at, ...session] = reply;
      return { outcome: 'kept', now: at as number, record: readSessions(session)[0]! };
    }
    case 2:
      return readEnded(reply);
    default:
      return { outcome: 'session-not-found' };
  }
}
