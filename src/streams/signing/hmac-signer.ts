import { createHmac, timingSafeEqual } from 'node:crypto';
import { type ByteRange } from '../phases.js';
import { MediaSigner, type SignedQuery, type Verdict, splitQuery } from './media-signer.js';

/** An instant, and behind it the first and the last byte of a range. */
const EXPIRES = /^(\d{1,15})(?:\.(\d{1,15})-(\d{1,16}))?$/;

/**
 * HMAC-SHA256 over the path, the instant of expiry and the range, where there is one. The query of the signed path carries
 * them; the path's own query is not covered, and may have parameters of the same names in front.
 */
export class HmacSigner extends MediaSigner {
  constructor(private readonly secret: string) {
    super();
  }

  override sign(path: string, expiresAt: number, range?: ByteRange): string {
    const [name, own] = splitQuery(path);
    const part = range === undefined ? '' : `.${range.offset}-${range.offset + range.length - 1}`;
    const expires = `${expiresAt}${part}`;
    const query = `expires=${expires}&signature=${this.signature(name, expires)}`;
    return `${name}?${own === '' ? '' : `${own}&`}${query}`;
  }

  override verify(path: string, query: SignedQuery, now: number): Verdict {
    const [expires, signature] = [lastOf(query.expires), lastOf(query.signature)];
    const until = EXPIRES.exec(expires)?.[1];
    if (until === undefined) return 'invalid';
    const expected = Buffer.from(this.signature(path, expires));
    const given = Buffer.from(signature);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return 'invalid';
    return now < Number(until) ? 'valid' : 'expired';
  }

  override rangeOf({ expires }: SignedQuery): ByteRange | undefined {
    const [, , first, last] = EXPIRES.exec(lastOf(expires)) ?? [];
    if (first === undefined) return undefined;
    return { offset: Number(first), length: Number(last) - Number(first) + 1 };
  }

  private signature(path: string, expires: string): string {
    return createHmac('sha256', this.secret).update(`${path}\n${expires}`).digest('base64url');
  }
}

/** The last of the values that a query has for one name; an empty string where it has none. */
function lastOf(value: unknown): string {
  const last: unknown = Array.isArray(value) ? value.at(-1) : value;
  return typeof last === 'string' ? last : '';
}
