import { type AdmissionRequest, type AdmittedDecision, type ShownRecord } from '../../session.js';
import { type UserKeys } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';
import { type SessionEnded, readEnded, readSessions } from './replies.js';

const ADMIT = defineScript({
  name: 'admit',
  subject: 'user',
  args: ['now', 'user', 'session', 'stream', 'wanted', 'window_end', 'limit', 'oldest', 'start'],
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
  | { readonly outcome: 'phase-not-found' };

type Admitted = [
  code: 1,
  now: number,
  created: 0 | 1,
  live: number,
  reserved: 0 | 1,
  startedAt: number,
  phase: number,
  version: number,
  formerActive?: number,
  formerPhase?: number,
  formerStream?: string,
  formerPaused?: number,
];

/** Decides on a phase: see admit.lua. */
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
  };
  const reply = (await scripts.run(ADMIT, keys.script, args, endSessionIds)) as readonly unknown[];
  switch (reply[0]) {
    case 1:
      return readAdmitted(reply as Admitted, request);
    case 2:
      return readEnded(reply);
    case 3: {
      const [, at, retryAt, holders] = reply as [3, number, number, readonly unknown[]];
      return { outcome: 'limit-reached', now: at, retryAt, holders: readSessions(holders) };
    }
    default:
      return { outcome: 'phase-not-found' };
  }
}

function readAdmitted(reply: Admitted, { sessionId, streamId }: AdmissionRequest): AdmitAnswer {
  const [, now, created, live, reserved, startedAt, phase, version, active, formerPhase, stream, paused] =
    reply;
  return {
    outcome: 'admitted',
    now,
    record: {
      status: reserved === 1 ? 'reserved' : 'permanent',
      sessionId,
      streamId,
      startedAt,
      lastActivityAt: now,
      phase,
      version,
    },
    created: created === 1,
    former:
      active === undefined
        ? undefined
        : { lastActivityAt: active, phase: formerPhase!, streamId: stream!, pausedMs: paused! },
    live,
  };
}
