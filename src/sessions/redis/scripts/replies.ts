import { type EndReason } from '../../admission.js';
import { type ShownRecord } from '../../session.js';

/** The answers that several scripts give. */

/** `{2, ended at, reason}`: the session was ended. */
export interface SessionEnded {
  readonly outcome: 'session-ended';
  readonly endedAt: number;
  readonly reason: EndReason;
}

export function readEnded([, endedAt, reason]: readonly unknown[]): SessionEnded {
  return { outcome: 'session-ended', endedAt: endedAt as number, reason: reason as EndReason };
}

/** Sessions as append() of replies.lua puts them into a reply: so many values in a row. */
export function readSessions(flat: readonly unknown[]): ShownRecord[] {
  const records: ShownRecord[] = [];
  for (let at = 0; at < flat.length; at += 5) {
    const [sessionId, streamId, startedAt, lastActivityAt, phase] = flat.slice(at, at + 5) as [
      string,
      string,
      number,
      number,
      number,
    ];
    records.push({ sessionId, streamId, startedAt, lastActivityAt, phase });
  }
  return records;
}
