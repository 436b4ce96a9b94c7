import { createPrivateKey } from 'node:crypto';
import { type Config } from '../../config/config.js';
import { MediaSigner, wholeSeconds } from './media-signer.js';

type GetSignedUrl = typeof import('@aws-sdk/cloudfront-signer').getSignedUrl;

/** CloudFront's signed URLs, which cover the whole URL with its query. Decision 9 says why there are two policies. */
export class CloudFrontSigner extends MediaSigner {
  private readonly key: { readonly keyPairId: string; readonly privateKey: string };

  constructor(
    private readonly base: string,
    { CLOUDFRONT_KEY_PAIR_ID, CLOUDFRONT_PRIVATE_KEY }: Config,
    private readonly getSignedUrl: GetSignedUrl,
  ) {
    super();
    // The SDK's type asks for text but passes the key on to node:crypto. A key that is parsed once halves the cost of a
    // signature.
    const privateKey = createPrivateKey(CLOUDFRONT_PRIVATE_KEY!) as unknown as string;
    this.key = { keyPairId: CLOUDFRONT_KEY_PAIR_ID!, privateKey };
  }

  override endOf(expiresAt: number): number {
    return wholeSeconds(expiresAt) * 1_000;
  }

  override sign(path: string, expiresAt: number): string {
    // CloudFront takes an asterisk for a wildcard.
    const url = this.base + path.replaceAll('*', '%2A');
    // The SDK rounds to the nearest second, which may be up.
    const ends = this.endOf(expiresAt);
    const canned = this.getSignedUrl({ url, dateLessThan: new Date(ends), ...this.key });
    const kept = canned.startsWith(`${url}${url.includes('?') ? '&' : '?'}`);
    return (kept ? canned : this.signAsItIs(url, ends)).slice(this.base.length);
  }

  /** Uses a custom policy: with a canned one the SDK rewrites some URLs, `?v` to `?v=` and `+` to `%2B`. */
  private signAsItIs(url: string, ends: number): string {
    const Condition = { DateLessThan: { 'AWS:EpochTime': ends / 1_000 } };
    const policy = JSON.stringify({ Statement: [{ Resource: url, Condition }] });
    return this.getSignedUrl({ policy, ...this.key });
  }
}
