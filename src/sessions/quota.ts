/**
 * What one user may hold at once. The value travels from the token, the ticket or the configuration to the rule, and
 * back to readers of a user's sessions, so that a later kind of limit is a field here and no new argument elsewhere.
 */
export interface Quota {
  /** How many sessions the user may hold at the same time: 1 or more. */
  readonly maxSessions: number;
}
