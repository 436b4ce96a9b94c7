/** An event as it is stored. */
export interface StoredEvent {
  /** Without `session.`. */
  readonly type: string;
  readonly at: number;
  readonly userId: string;
  readonly sessionId: string;
  readonly streamId: string;
  readonly startedAt: number;
  readonly lastActivityAt: number;
  readonly phase: number;
  readonly version: number;
  readonly reason: string | undefined;
}
