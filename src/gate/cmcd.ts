import { decodeCmcd } from '@svta/cml-cmcd';

/**
 * What players tell about themselves by Common Media Client Data (CTA-5004, -A and -B): with each request, in the query
 * parameter `CMCD` or in headers, and by reports to an event target.
 */
export interface PlayerReport {
  /** The id of the playback session, as the player chose it: up to 64 characters. */
  readonly sid: string | undefined;
  /** `over`: it ended, failed for good or was left. Undefined where the report says nothing about it. */
  readonly state: 'playing' | 'paused' | 'over' | undefined;
}

/** CTA-5004-B, player state: starting, playing, seeking, rebuffering and waiting players are all being watched. */
const STATES: ReadonlyMap<string, PlayerReport['state']> = new Map([
  ...['s', 'p', 'k', 'r', 'w'].map((sta) => [sta, 'playing'] as const),
  ['a', 'paused'] as const,
  ...['e', 'f', 'q'].map((sta) => [sta, 'over'] as const),
]);
const MAX_SID = 64;
/** Far more than a player sends with a request: CTA-5004 has some twenty short keys. */
const MAX_LENGTH = 2_048;
/** The headers of CTA-5004-B. Players send only those that they have keys for. */
const HEADERS = ['cmcd-session', 'cmcd-status', 'cmcd-request', 'cmcd-object'] as const;

/** Reads one report; undefined where it is malformed. An empty one says nothing. */
export function readReport(text: string): PlayerReport | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  let keys: Readonly<Record<string, unknown>>;
  try {
    keys = decodeCmcd(text) as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
  const { sid, sta, pr, e: event } = keys;
  return {
    sid: typeof sid === 'string' && sid !== '' && sid.length <= MAX_SID ? sid : undefined,
    state: stateOf(sta, pr, event),
  };
}

/** A playback rate of 0 is a pause (CTA-5004, `pr`); a report at a time interval (`e=t`) is of a player that runs. */
function stateOf(sta: unknown, rate: unknown, event: unknown): PlayerReport['state'] {
  if (typeof sta === 'string') return STATES.get(sta);
  if (rate === 0) return 'paused';
  return typeof rate === 'number' || event === 't' ? 'playing' : undefined;
}

/** What came with a request, in its query or its headers; undefined where nothing did. `malformed` is to be counted. */
export function readReportOfRequest(
  query: Readonly<Record<string, unknown>>,
  headers: Readonly<Record<string, unknown>>,
): PlayerReport | 'malformed' | undefined {
  const { CMCD: inQuery } = query;
  if (inQuery !== undefined) return (typeof inQuery === 'string' && readReport(inQuery)) || 'malformed';
  const inHeaders = HEADERS.map((name) => headers[name]).filter((text) => typeof text === 'string');
  return inHeaders.length === 0 ? undefined : (readReport(inHeaders.join(',')) ?? 'malformed');
}
