import { createHmac, createPrivateKey, hash, timingSafeEqual } from 'node:crypto';
import { posix } from 'node:path';
import { type Config } from '../../config/config.js';
import { mediaBaseOf } from '../origin.js';

/** Whether this service may serve a path; `elsewhere`: never, because another server checks these URLs. */
export type Verdict = 'valid' | 'invalid' | 'expired' | 'elsewhere';

/**
 * Signs the URLs of media, so that whoever serves them can tell that they were issued and have not expired. The port, and
 * its token for injection.
 */
export abstract class MediaSigner {
  /**
   * `path` is below the origin's root, as in a URL; a query of its own stays. The result belongs behind
   * Catalogue.mediaBase. It ceases to work at `endOf(expiresAt)`, in Unix milliseconds, however it is checked.
   */
  abstract sign(path: string, expiresAt: number): string;

  /** `expiresAt`, or the last instant before it at which a URL of this form can end. */
  endOf(expiresAt: number): number {
    return expiresAt;
  }

  /** `path` and `query` as they were sent, the path encoded; `now` in Unix milliseconds. */
  verify(_path: string, _query: { expires?: unknown; signature?: unknown }, _now: number): Verdict {
    return 'elsewhere';
  }
}

/** The signer that MEDIA_SIGNING names. */
export async function openSigner(config: Config): Promise<MediaSigner> {
  switch (config.MEDIA_SIGNING) {
    case 'none':
      return new NoSigner();
    case 'hmac':
      return new HmacSigner(config.MEDIA_SIGNING_SECRET);
    case 'secure-link':
      return new SecureLinkSigner(mediaBaseOf(config)!, config.MEDIA_SIGNING_SECRET);
    case 'cloudfront': {
      // Loaded for those who need it: it is 13 MB of memory.
      const { getSignedUrl } = await import('@aws-sdk/cloudfront-signer');
      return new CloudFrontSigner(mediaBaseOf(config)!, config, getSignedUrl);
    }
  }
}

class NoSigner extends MediaSigner {
  override sign(path: string): string {
    return path;
  }

  override verify(): Verdict {
    return 'valid';
  }
}

/** HMAC-SHA256 over path and expiry, which the query of a signed path carries; a query of its own is not covered. */
class HmacSigner extends MediaSigner {
  constructor(private readonly secret: string) {
    super();
  }

  override sign(path: string, expiresAt: number): string {
    const [name, own] = split(path);
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

/**
 * What nginx checks with `secure_link_md5 "$secure_link_expires$uri SECRET"`: the path as nginx sees it, the base's
 * included. A query of a path's own is not covered.
 */
class SecureLinkSigner extends MediaSigner {
  private readonly basePath: string;

  constructor(
    base: string,
    private readonly secret: string,
  ) {
    super();
    this.basePath = new URL(base).pathname;
  }

  override endOf(expiresAt: number): number {
    return wholeSeconds(expiresAt) * 1_000;
  }

  override sign(path: string, expiresAt: number): string {
    const [name, own] = split(path);
    // nginx takes a URL until the second that it names is over.
    const expires = wholeSeconds(expiresAt) - 1;
    const md5 = hash(
      'md5',
      Buffer.concat([
        Buffer.from(String(expires)),
        uriOfNginx(this.basePath + name),
        Buffer.from(` ${this.secret}`),
      ]),
      'base64url',
    );
    // Ours first: of two arguments of one name nginx takes the first.
    return `${name}?md5=${md5}&expires=${expires}${own === '' ? '' : `&${own}`}`;
  }
}

/** nginx's `$uri`: bytes decoded, slashes merged, dots resolved. */
function uriOfNginx(path: string): Buffer {
  const decoded = path.replace(/%([0-9a-f]{2})/gi, (_, byte: string) =>
    String.fromCharCode(Number.parseInt(byte, 16)),
  );
  return Buffer.from(posix.normalize(decoded), 'latin1');
}

type GetSignedUrl = typeof import('@aws-sdk/cloudfront-signer').getSignedUrl;

/** CloudFront's signed URLs, which cover the whole URL with its query. Decision 9 says why two policies. */
class CloudFrontSigner extends MediaSigner {
  private readonly key: { readonly keyPairId: string; readonly privateKey: string };

  constructor(
    private readonly base: string,
    { CLOUDFRONT_KEY_PAIR_ID, CLOUDFRONT_PRIVATE_KEY }: Config,
    private readonly getSignedUrl: GetSignedUrl,
  ) {
    super();
    // The SDK's type wants text, and passes on to node:crypto what it is given: parsed once, a signature costs half.
    const privateKey = createPrivateKey(CLOUDFRONT_PRIVATE_KEY!) as unknown as string;
    this.key = { keyPairId: CLOUDFRONT_KEY_PAIR_ID!, privateKey };
  }

  override endOf(expiresAt: number): number {
    return wholeSeconds(expiresAt) * 1_000;
  }

  override sign(path: string, expiresAt: number): string {
    // To CloudFront an asterisk stands for anything.
    const url = this.base + path.replaceAll('*', '%2A');
    // The SDK would round to the nearest second, up as well.
    const ends = this.endOf(expiresAt);
    const canned = this.getSignedUrl({ url, dateLessThan: new Date(ends), ...this.key });
    const kept = canned.startsWith(`${url}${url.includes('?') ? '&' : '?'}`);
    return (kept ? canned : this.signAsItIs(url, ends)).slice(this.base.length);
  }

  /** By a custom policy: with a canned one, the SDK spells some URLs anew, `?v` as `?v=` and `+` as `%2B`. */
  private signAsItIs(url: string, ends: number): string {
    const Condition = { DateLessThan: { 'AWS:EpochTime': ends / 1_000 } };
    const policy = JSON.stringify({ Statement: [{ Resource: url, Condition }] });
    return this.getSignedUrl({ policy, ...this.key });
  }
}

/** Rounded down: no URL lives longer than was promised. */
function wholeSeconds(expiresAt: number): number {
  return Math.floor(expiresAt / 1_000);
}

/** A path, and the query of its own. */
function split(path: string): [name: string, own: string] {
  const mark = path.indexOf('?');
  return mark < 0 ? [path, ''] : [path.slice(0, mark), path.slice(mark + 1)];
}
