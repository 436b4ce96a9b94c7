import { type SessionEnded } from '../../admission.js';
import { type AdmissionRequest, type AdmittedDecision, type ShownRecord, placeOf } from '../../session.js';
import { type UserKeys } from '../keys.js';
import { deviceText, readDevice } from '../layout/device-text.js';
import { NotReplicatedError } from '../link.js';
import { type ScriptRunner, defineScript } from '../script.js';
import { readEnded, readSessions } from './replies.js';
import { withdraw } from './withdraw.js';

const ADMIT = defineScript({
  name: 'admit',
  subject: 'user',
  args: [
    'now',
    'user',
    'session',
    'stream',
    'wanted',
    'window_end',
    'limit',
    'oldest',
    'start',
    'phase_ms',
    'last_phase_ms',
    'paced',
    'client',
    'device',
    'given_subject',
  ],
  goesOnWhenFull: true,
  needsReplica: (reply) => {
    const [code, , created, , reserved] = reply as Admitted;
    // A second request for a new session must not be answered before the first one is.
    return code === 1 && (created === 1 || reserved === 1);
  },
});

export type AdmitAnswer =
  | ({ readonly outcome: 'admitted'; readonly now: number } & AdmittedDecision)
  | SessionEnded
  | {
      readonly outcome: 'limit-reached';
      readonly now: number;
      readonly retryAt: number;
      readonly holders: readonly ShownRecord[];
    }
  | { readonly outcome: 'too-far-ahead'; readonly now: number; readonly retryAt: number }
  | { readonly outcome: 'phase-not-found' };

type Admitted = [
  code: 1,
  now: number,
  created: 0 | 1,
  live: number,
  reserved: 0 | 1,
  startedAt: number,
  phase: number | string,
  version: number,
  plays: number,
  device: string,
  ...former: readonly unknown[],
];
type Former = [
  active: number,
  phase: number | string,
  stream: string,
  pausedMs: number,
  plays: number,
  ahead: number,
  run: number,
];

/**
 * Decides on a request for a phase: see admit.lua. If a new session must be on a replica, and no replica receives it in
 * time, undoes the admission and rejects.
 */
export async function admit(
  scripts: ScriptRunner,
  keys: UserKeys,
  now: number | '',
  request: AdmissionRequest,
): Promise<AdmitAnswer> {
  const { userId, sessionId, streamId, phase, window, quota, endSessionIds } = request;
  const args = {
    now,
    user: userId,
    session: sessionId,
    stream: streamId,
    wanted: phase ?? '',
    window_end: window?.end ?? 0,
    limit: quota.maxSessions,
    oldest: window?.live === true ? window.oldest : '',
    start: window?.live === true ? window.start : '',
    phase_ms: window?.phaseMs ?? 0,
    last_phase_ms: window?.lastPhaseMs ?? 0,
    paced: request.paced === true ? 1 : '',
    client: request.client ?? '',
    device: deviceText(request.device),
    given_subject: request.subject ?? '',
  };
  // What the request ends could not be undone together with the admission.
  if (endSessionIds.length > 0) await scripts.requireReplica(keys.script);
  const reply = (await scripts.run(ADMIT, keys.script, args, endSessionIds).catch(async (error: unknown) => {
    if (error instanceof NotReplicatedError) {
      const { record, former } = readAdmitted(error.reply as Admitted, request);
      // If this fails, the place of a new session is free when its lease ends.
      await withdraw(scripts, keys, now, placeOf(userId, record, former)).catch(() => undefined);
    }
    throw error;
  })) as readonly unknown[];
  switch (reply[0]) {
    case 1:
      return readAdmitted(reply as Admitted, request);
    case 2:
      return readEnded(reply);
    case 3: {
      const [, at, retryAt, holders] = reply as [3, number, number, readonly unknown[]];
      return { outcome: 'limit-reached', now: at, retryAt, holders: readSessions(holders) };
    }
    case 5: {
      const [, at, retryAt] = reply as [5, number, number];
      return { outcome: 'too-far-ahead', now: at, retryAt };
    }
    default:
      return { outcome: 'phase-not-found' };
  }
}

function readAdmitted(
  reply: Admitted,
  { sessionId, streamId }: AdmissionRequest,
): Extract<AdmitAnswer, { outcome: 'admitted' }> {
  const [, now, created, live, reserved, startedAt, phase, version, plays, device, ...former] = reply;
  return {
    outcome: 'admitted',
    now,
    record: {
      status: reserved === 1 ? 'reserved' : 'permanent',
      sessionId,
      streamId,
      startedAt,
      lastActivityAt: now,
      playsUntil: now + plays,
      phase: Number(phase),
      device: readDevice(device),
      version,
    },
    created: created === 1,
    former: readFormer(former),
    live,
  };
}

function readFormer(former: readonly unknown[]): AdmittedDecision['former'] {
  if (former.length === 0) return undefined;
  const [active, phase, streamId, pausedMs, plays, ahead, run] = former as Former;
  return {
    lastActivityAt: active,
    phase: Number(phase),
    streamId,
    pausedMs,
    playsUntil: active + plays,
    ahead,
    run,
  };
}
