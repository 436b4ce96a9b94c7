import { decodeCmcd } from '@svta/cml-cmcd';

/**
 * The state of a player, as it reports it by Common Media Client Data (CTA-5004, -A and -B): with each request, in the
 * query parameter `CMCD` or in headers, or by reports to an event target.
 */
export interface PlayerReport {
  /** The id of the playback session, which the player chooses: up to 64 characters. */
  readonly sid: string | undefined;
  /** `over`: the playback ended, failed for good or was closed. Undefined if the report does not contain the state. */
  readonly state: 'playing' | 'paused' | 'over' | undefined;
}

/** The player states of CTA-5004-B. Starting, playing, seeking, rebuffering and waiting all count as playing. */
const STATES: ReadonlyMap<string, PlayerReport['state']> = new Map([
  ...['s', 'p', 'k', 'r', 'w'].map((sta) => [sta, 'playing'] as const),
  ['a', 'paused'] as const,
  ...['e', 'f', 'q'].map((sta) => [sta, 'over'] as const),
]);
const MAX_SID = 64;
/** Far more than a player sends: CTA-5004 has about twenty short keys. */
const MAX_LENGTH = 2_048;
/** The headers of CTA-5004-B. Players send only headers for which they have keys. */
const HEADERS = ['cmcd-session', 'cmcd-status', 'cmcd-request', 'cmcd-object'] as const;

/** Reads one report; undefined if it is malformed. An empty report is valid. */
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

/** A playback rate of 0 is a pause (CTA-5004, `pr`). A report at a time interval (`e=t`) comes from a playing player. */
function stateOf(sta: unknown, rate: unknown, event: unknown): PlayerReport['state'] {
  if (typeof sta === 'string') return STATES.get(sta);
  if (rate === 0) return 'paused';
  return typeof rate === 'number' || event === 't' ? 'playing' : undefined;
}

/** The report in the query or the headers of a request; undefined if there is none. */
export function readReportOfRequest(
  query: Readonly<Record<string, unknown>>,
  headers: Readonly<Record<string, unknown>>,
): PlayerReport | 'malformed' | undefined {
  const { CMCD: inQuery } = query;
  if (inQuery !== undefined) return (typeof inQuery === 'string' && readReport(inQuery)) || 'malformed';
  const inHeaders = HEADERS.map((name) => headers[name]).filter((text) => typeof text === 'string');
  return inHeaders.length === 0 ? undefined : (readReport(inHeaders.join(',')) ?? 'malformed');
}
