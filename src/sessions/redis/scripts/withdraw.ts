import { type Place } from '../../session.js';
import { type UserKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const WITHDRAW = defineScript({
  name: 'withdraw',
  subject: 'user',
  args: [
    'now',
    'user',
    'session',
    'started',
    'version',
    'former_active',
    'former_phase',
    'former_stream',
    'former_paused',
    'former_plays',
    'former_ahead',
    'former_run',
  ],
});

/** Undoes an admission whose phase was not delivered: see withdraw.lua. */
export async function withdraw(
  scripts: ScriptRunner,
  keys: UserKeys,
  now: number | '',
  { userId, sessionId, startedAt, version, former }: Place,
): Promise<void> {
  await scripts.run(WITHDRAW, keys.script, {
    now,
    user: userId,
    session: sessionId,
    started: startedAt,
    version,
    former_active: former?.lastActivityAt ?? '',
    former_phase: former?.phase ?? '',
    former_stream: former?.streamId ?? '',
    former_paused: former?.pausedMs ?? '',
    former_plays: former ? former.playsUntil - former.lastActivityAt : '',
    former_ahead: former?.ahead ?? '',
    former_run: former?.run ?? '',
  });
}
