import { type Replacement } from '../../admission.js';
import { type Device } from '../../device.js';

/** A device as the store keeps it: JSON, or '' for none. Scripts decode it only to compare devices. */
export function deviceText(device: Device | undefined): string {
  if (device === undefined) return '';
  const { id, name, type, shared } = device;
  // The fields are always in this order, so that equal devices have equal texts.
  return JSON.stringify({ id, name, type, shared });
}

export function readDevice(text: string): Device | undefined {
  return text === '' ? undefined : (JSON.parse(text) as Device);
}

/** Reads `replaced_by` of admit.lua; undefined if no session replaced this one, or if the store does not know it. */
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
