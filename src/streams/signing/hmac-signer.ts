import { createHmac, timingSafeEqual } from 'node:crypto';
import { MediaSigner, type Verdict, splitQuery } from './media-signer.js';

/**
 * HMAC-SHA256 over the path and the instant of expiry. The query of the signed path carries both; the path's own query is
 * not covered.
 */
export class HmacSigner extends MediaSigner {
  constructor(private readonly secret: string) {
    super();
  }

  override sign(path: string, expiresAt: number): string {
    const [name, own] = splitQuery(path);
    const query = `expires=${expiresAt}&signature=${this.signature(name, expiresAt)}`;
    return `${name}?${own === '' ? '' : `${own}&`}${query}`;
  }

  override verify(path: string, query: { expires?: unknown; signature?: unknown }, now: number): Verdict {
    const { expires, signature } = query;
    if (typeof expires !== 'string' || !/^\d{1,15}$/.test(expires)) return 'invalid';
    const expected = Buffer.from(this.signature(path, Number(expires)));
    const given = Buffer.from(typeof signature === 'string' ? signature : '');
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return 'invalid';
    return now < Number(expires) ? 'valid' : 'expired';
  }

  private signature(path: string, expiresAt: number): string {
    return createHmac('sha256', this.secret).update(`${path}\n${expiresAt}`).digest('base64url');
  }
}
