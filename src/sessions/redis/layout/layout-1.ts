import { type StoredEvent } from './stored-event.js';

/** An event as layout-1.lua writes it. */
export function readEvent1(text: string): StoredEvent | undefined {
  const [type = '', at, userId = '', sessionId = '', streamId = '', started, active, phase, version, reason] =
    text.split(' ');
  return {
    type,
    at: Number(at),
    userId,
    subject: undefined,
    sessionId,
    streamId,
    startedAt: Number(started),
    lastActivityAt: Number(active),
    plays: undefined,
    device: undefined,
    phase: Number(phase),
    version: Number(version),
    reason: reason === '-' ? undefined : reason,
    replacedBy: undefined,
    refusal: undefined,
  };
}
