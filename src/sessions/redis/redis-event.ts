import { type Policy } from '../admission.js';
import { type EventType, type SessionEvent, toEvent } from '../session-events.js';
import { type StreamEntry } from './redis-scripts.js';

/** An event as events.lua writes it. */
export function readEvent([id, [, text = '']]: StreamEntry, policy: Policy): SessionEvent {
  const [type, at, userId, sessionId, streamId, startedAt, lastActivityAt, phase, version, reason] =
    text.split(' ') as [string, string, string, string, string, string, string, string, string, string];
  const record = {
    sessionId,
    streamId,
    startedAt: Number(startedAt),
    lastActivityAt: Number(lastActivityAt),
    playsUntil: Number(lastActivityAt) + policy.idleAfterMs,
    device: undefined,
    phase: Number(phase),
    version: Number(version),
  };
  return toEvent(
    id,
    `session.${type}` as EventType,
    Number(at),
    userId,
    record,
    policy,
    reason === '-' ? undefined : (reason as SessionEvent['reason']),
  );
}
