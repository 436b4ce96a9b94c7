/** `fault`: requests fail or will. `warning`: probably a mistake. `skipped`: this could not be checked. */
export type Level = 'ok' | 'warning' | 'fault' | 'skipped';

/** One result of a check. */
export interface Finding {
  /** The name of the check, such as `redis.role`. */
  readonly check: string;
  readonly level: Level;
  /** One sentence, without secrets. */
  readonly finding: string;
  /** How to mend it; for each fault and each warning. */
  readonly remedy?: string;
}
