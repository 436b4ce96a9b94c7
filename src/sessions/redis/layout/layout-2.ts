import { type Device } from '../../device.js';
import { type StoredReplacement, replacementOf } from './device-text.js';
import { type StoredEvent } from './stored-event.js';

/** An event as layout-2.lua writes it; undefined if the text is no JSON object. */
export function readEvent2(text: string): StoredEvent | undefined {
  let json: Record<string, unknown> | null;
  try {
    json = JSON.parse(text) as Record<string, unknown> | null;
  } catch {
    return undefined;
  }
  if (typeof json !== 'object' || json === null) return undefined;
  return {
    type: json.type as string,
    at: json.at as number,
    userId: json.user as string,
    subject: json.subject as string | undefined,
    sessionId: json.session as string,
    streamId: json.stream as string,
    startedAt: json.started as number,
    lastActivityAt: json.active as number,
    plays: json.plays as number,
    device: json.device as Device | undefined,
    phase: json.phase as number,
    version: json.version as number,
    reason: json.reason as string | undefined,
    replacedBy: json.replaced_by ? replacementOf(json.replaced_by as StoredReplacement) : undefined,
    refusal: json.refusal as StoredEvent['refusal'],
  };
}
