import { type Replacement } from '../../admission.js';
import { type Device } from '../../device.js';
import { type ShownRecord } from '../../session.js';

/** An event as it is stored. */
export interface StoredEvent {
  /** The type of the event without its prefix `session.`. */
  readonly type: string;
  readonly at: number;
  readonly userId: string;
  /** The issuer's name of the user; undefined if it is the id, or if the layout does not store it. */
  readonly subject: string | undefined;
  readonly sessionId: string;
  readonly streamId: string;
  readonly startedAt: number;
  readonly lastActivityAt: number;
  /** Milliseconds left to play at the last activity; undefined if the layout does not store it. */
  readonly plays: number | undefined;
  readonly device: Device | undefined;
  readonly phase: number;
  readonly version: number;
  readonly reason: string | undefined;
  readonly replacedBy: Replacement | undefined;
  /** If the event is a refusal that is kept for watchers: the limit, and the sessions that held the places. */
  readonly refusal: { readonly limit: number; readonly holders: readonly ShownRecord[] } | undefined;
}
