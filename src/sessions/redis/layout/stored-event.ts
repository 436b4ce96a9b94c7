import { type Replacement } from '../../admission.js';
import { type Device } from '../../device.js';

/** An event as it is stored. */
export interface StoredEvent {
  /** The type of the event without its prefix `session.`. */
  readonly type: string;
  readonly at: number;
  readonly userId: string;
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
}
