import { type Config } from '../../config/config.js';
import { mediaBaseOf } from '../origin.js';
import { CloudFrontSigner } from './cloudfront-signer.js';
import { HmacSigner } from './hmac-signer.js';
import { MediaSigner, type Verdict } from './media-signer.js';
import { SecureLinkSigner } from './secure-link-signer.js';

/** Makes the signer that MEDIA_SIGNING names. */
export async function openSigner(config: Config): Promise<MediaSigner> {
  switch (config.MEDIA_SIGNING) {
    case 'none':
      return new NoSigner();
    case 'hmac':
      return new HmacSigner(config.MEDIA_SIGNING_SECRET);
    case 'secure-link':
      return new SecureLinkSigner(mediaBaseOf(config)!, config.MEDIA_SIGNING_SECRET);
    case 'cloudfront': {
      // Loaded only where it is needed: it takes 13 MB of memory.
      const { getSignedUrl } = await import('@aws-sdk/cloudfront-signer');
      return new CloudFrontSigner(mediaBaseOf(config)!, config, getSignedUrl);
    }
  }
}

/** Leaves paths as they are, and allows all of them. */
class NoSigner extends MediaSigner {
  override sign(path: string): string {
    return path;
  }

  override verify(): Verdict {
    return 'valid';
  }
}
