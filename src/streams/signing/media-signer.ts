import { type ByteRange } from '../phases.js';

/** The parts of a query that the signature is in. */
export interface SignedQuery {
  readonly expires?: unknown;
  readonly signature?: unknown;
}

/** Whether this service may serve a path. `elsewhere`: never, because another server checks these URLs. */
export type Verdict = 'valid' | 'invalid' | 'expired' | 'elsewhere';

/**
 * Signs the URLs of media, so that the server of the media can check that this service issued them and that they have
 * not expired. The port of all signers, and the token by which Nest injects it.
 */
export abstract class MediaSigner {
  /**
   * Gives the path with its signature. `path` is below the origin's root, as in a URL; its own query stays. The result
   * belongs behind MediaUrls.base. The URL stops working at `endOf(expiresAt)`, Unix milliseconds. With a range, it is for
   * these bytes alone; only a signer whose URLs this service verifies knows ranges.
   */
  abstract sign(path: string, expiresAt: number, range?: ByteRange): string;

  /** `expiresAt`, or the last instant before it at which a URL of this kind can end; Unix milliseconds. */
  endOf(expiresAt: number): number {
    return expiresAt;
  }

  /** `path` and `query` are as the client sent them, the path still encoded; `now` is in Unix milliseconds. */
  verify(_path: string, _query: SignedQuery, _now: number): Verdict {
    return 'elsewhere';
  }

  /** The part of its file that a verified URL is for; undefined for the whole file. */
  rangeOf(_query: SignedQuery): ByteRange | undefined {
    return undefined;
  }
}

/** Whole seconds of an instant, rounded down, so that no URL lives longer than was promised. */
export function wholeSeconds(expiresAt: number): number {
  return Math.floor(expiresAt / 1_000);
}

/** Splits a path from its own query; the query is empty where there is none. */
export function splitQuery(path: string): [name: string, query: string] {
  const mark = path.indexOf('?');
  return mark < 0 ? [path, ''] : [path.slice(0, mark), path.slice(mark + 1)];
}
