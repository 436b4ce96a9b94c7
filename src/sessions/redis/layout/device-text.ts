import { type Replacement } from '../../admission.js';
import { type Device } from '../../device.js';

/** Devices as the store keeps them: JSON, '' for none. Scripts decode it only where they compare devices. */
export function deviceText(device: Device | undefined): string {
  if (device === undefined) return '';
  const { id, name, type, shared } = device;
  // Always in this order: the same device has the same text.
  return JSON.stringify({ id, name, type, shared });
}

export function readDevice(text: string): Device | undefined {
  return text === '' ? undefined : (JSON.parse(text) as Device);
}

/** Of `replaced_by`, as admit.lua writes it; undefined where nothing replaced the session, or the store does not know. */
export function readReplacement(text: string): Replacement | undefined {
  return text === '' ? undefined : replacementOf(JSON.parse(text) as StoredReplacement);
}

export interface StoredReplacement {
  readonly session: string;
  readonly device?: Device;
}

export function replacementOf({ session, device }: StoredReplacement): Replacement {
  return { sessionId: session, device };
}
