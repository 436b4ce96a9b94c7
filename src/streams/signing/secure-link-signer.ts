import { hash } from 'node:crypto';
import { posix } from 'node:path';
import { MediaSigner, splitQuery, wholeSeconds } from './media-signer.js';

/**
 * Signs as nginx checks by `secure_link_md5 "$secure_link_expires$uri SECRET"`: over the whole path as nginx sees it, the
 * path of MEDIA_BASE_URL included. The path's own query is not covered.
 */
export class SecureLinkSigner extends MediaSigner {
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
    const [name, own] = splitQuery(path);
    // nginx accepts a URL until the end of the second that it names.
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
    // These two come first: nginx takes the first of two arguments with the same name.
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
