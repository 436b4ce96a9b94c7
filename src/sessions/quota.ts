/**
 * The limits of one user. The value goes from the token, the ticket or the configuration to the rule, and is shown
 * with the user's sessions. A new kind of limit is therefore a field here, and no new argument elsewhere.
 */
export interface Quota {
  /** How many sessions the user may hold at the same time: 1 or more. */
  readonly maxSessions: number;
}
