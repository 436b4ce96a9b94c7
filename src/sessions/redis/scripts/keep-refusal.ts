import { type AdmissionRequest, type ShownRecord } from '../../session.js';
import { type UserKeys } from '../keys.js';
import { deviceText } from '../layout/device-text.js';
import { type StoredEvent } from '../layout/stored-event.js';
import { type ScriptRunner, defineScript } from '../script.js';

const KEEP_REFUSAL = defineScript({
  name: 'keep-refusal',
  subject: 'user',
  args: ['now', 'user', 'session', 'stream', 'device', 'subject', 'refusal'],
});

/** Puts a refusal into the ring of live events: see keep-refusal.lua. */
export async function keepRefusal(
  scripts: ScriptRunner,
  keys: UserKeys,
  now: number,
  request: AdmissionRequest & { readonly holders: readonly ShownRecord[] },
): Promise<void> {
  const { userId, sessionId, streamId, device, subject = '', quota, holders } = request;
  const refusal: StoredEvent['refusal'] = { limit: quota.maxSessions, holders };
  await scripts.run(KEEP_REFUSAL, keys.script, {
    now,
    user: userId,
    session: sessionId,
    stream: streamId,
    device: deviceText(device),
    subject,
    refusal: JSON.stringify(refusal),
  });
}
