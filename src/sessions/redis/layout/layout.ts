import { type Policy } from '../../admission.js';
import { toSession } from '../../session.js';
import { EVENT_TYPES, type EventType, type SessionEvent, toEvent } from '../../session-events.js';
import { type StreamEntry } from '../link.js';
import { readEvent1 } from './layout-1.js';
import { readEvent2 } from './layout-2.js';
import { type StoredEvent } from './stored-event.js';

/** The layouts of stored values that this release can read and write: see docs/decisions/0015-layouts.md. */
export const LAYOUTS = [1, 2] as const;
export type Layout = (typeof LAYOUTS)[number];

/** The event of an entry, whose first field names the layout; undefined if the entry is unreadable. */
export function readEvent([id, [field, text = '']]: StreamEntry, policy: Policy): SessionEvent | undefined {
  const stored = field === 'e' ? readEvent1(text) : field === 'e2' ? readEvent2(text) : undefined;
  if (stored === undefined || !isWhole(stored)) return undefined;
  const {
    type,
    at,
    userId,
    subject,
    reason,
    replacedBy,
    refusal,
    plays = policy.idleAfterMs,
    ...record
  } = stored;
  const event = toEvent(
    id,
    `session.${type}` as EventType,
    at,
    { userId, subject },
    { ...record, playsUntil: record.lastActivityAt + plays },
    policy,
    reason as SessionEvent['reason'],
    replacedBy,
  );
  if (refusal === undefined) return event;
  const holders = refusal.holders.map((holder) => toSession(userId, holder, policy, at));
  return { ...event, refusal: { limit: refusal.limit, device: record.device, holders } };
}

function isWhole({ type, userId, subject, sessionId, streamId, refusal, ...stored }: StoredEvent): boolean {
  const { at, startedAt, lastActivityAt, plays = 0, phase, version } = stored;
  return (
    EVENT_TYPES.includes(`session.${type}` as EventType) &&
    [userId, sessionId, streamId].every((id) => typeof id === 'string' && id !== '') &&
    (subject === undefined || typeof subject === 'string') &&
    [at, startedAt, lastActivityAt, plays, phase, version].every((number) => Number.isInteger(number)) &&
    (refusal === undefined || (Number.isInteger(refusal.limit) && Array.isArray(refusal.holders)))
  );
}
