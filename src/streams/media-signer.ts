import { createHmac, timingSafeEqual } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Config } from '../config.js';

export type Verdict = 'valid' | 'invalid' | 'expired';

/**
 * Signs the paths of media, so that whoever serves them can tell that a phase was issued and has not expired.
 * HMAC-SHA256 over path and expiry; the query of a signed path carries both. With MEDIA_SIGNING=none it signs nothing
 * and takes everything.
 */
@Injectable()
export class MediaSigner {
  private readonly secret: string | undefined;

  constructor(config: Config) {
    this.secret = config.MEDIA_SIGNING === 'none' ? undefined : config.MEDIA_SIGNING_SECRET;
  }

  /** `path` is below the origin's root, as in a URL; a query of its own stays and is not covered. */
  sign(path: string, expiresAt: number): string {
    if (this.secret === undefined) return path;
    const [, name, own] = /^([^?]*)\??(.*)$/s.exec(path) as unknown as [string, string, string];
    const query = `expires=${expiresAt}&signature=${this.signature(this.secret, name, expiresAt)}`;
    return `${name}?${own === '' ? '' : `${own}&`}${query}`;
  }

  verify(path: string, query: { expires?: unknown; signature?: unknown }, now: number): Verdict {
    if (this.secret === undefined) return 'valid';
    const { expires, signature } = query;
    if (typeof expires !== 'string' || !/^\d{1,15}$/.test(expires)) return 'invalid';
    const expected = Buffer.from(this.signature(this.secret, path, Number(expires)));
    const given = Buffer.from(typeof signature === 'string' ? signature : '');
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return 'invalid';
    return now < Number(expires) ? 'valid' : 'expired';
  }

  private signature(secret: string, path: string, expiresAt: number): string {
    return createHmac('sha256', secret).update(`${path}\n${expiresAt}`).digest('base64url');
  }
}
