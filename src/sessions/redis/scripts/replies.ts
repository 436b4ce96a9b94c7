import { type EndReason, type SessionEnded } from '../../admission.js';
import { type KeptRecord, type ShownRecord } from '../../session.js';
import { readDevice, readReplacement } from '../layout/device-text.js';

/** The replies that several scripts have in common. */

/** `{2, ended at, reason, replaced by}`: the session was ended. */
export function readEnded([, endedAt, reason, replacedBy]: readonly unknown[]): SessionEnded {
  return {
    outcome: 'session-ended',
    endedAt: endedAt as number,
    reason: reason as EndReason,
    replacedBy: readReplacement(replacedBy as string),
  };
}

/** The answer to a keepalive or to a report of activity. */
export type KeepingAnswer =
  | { readonly outcome: 'kept'; readonly now: number; readonly record: KeptRecord }
  | SessionEnded
  | { readonly outcome: 'session-not-found' };

export function readKeeping(reply: readonly unknown[]): KeepingAnswer {
  switch (reply[0]) {
    case 1: {
      const [, now, reserved, ...session] = reply;
      const status = reserved === 1 ? 'reserved' : 'permanent';
      return { outcome: 'kept', now: now as number, record: { ...readSessions(session)[0]!, status } };
    }
    case 2:
      return readEnded(reply);
    default:
      return { outcome: 'session-not-found' };
  }
}

/** How many values append() of replies.lua writes for a session. */
const VALUES = 7;

/** Reads the sessions of a reply, which append() of replies.lua writes as consecutive values. */
export function readSessions(flat: readonly unknown[]): ShownRecord[] {
  const records: ShownRecord[] = [];
  for (let at = 0; at < flat.length; at += VALUES) {
    const [sessionId, streamId, startedAt, lastActivityAt, phase, plays, device] = flat.slice(
      at,
      at + VALUES,
    ) as [string, string, number, number, number | string, number, string];
    const playsUntil = lastActivityAt + plays;
    records.push({
      sessionId,
      streamId,
      startedAt,
      lastActivityAt,
      playsUntil,
      phase: Number(phase),
      device: readDevice(device),
    });
  }
  return records;
}
