import { createPrivateKey, randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { IsIn, ValidateIf } from 'class-validator';
import { HTTP, Lines, List, Satisfies, isHttpOrigin, isText, isUrl } from './checks.js';
import { type Given, Section, Variable, guessable, isProduction, withoutEffect } from './variable.js';

const MEDIA_SIGNERS = ['hmac', 'secure-link', 'cloudfront', 'none'] as const;

/** The origin of streams, and the signing of media URLs. */
export class StreamsSection extends Section {
  static readonly title = 'Streams and media';

  static warnings(given: Given): string[] {
    return [
      ...guessable(given, ['MEDIA_SIGNING_SECRET']),
      ...(given.MEDIA_SIGNING === 'secure-link' && given.MEDIA_SIGNING_SECRET === undefined
        ? [
            'MEDIA_SIGNING_SECRET is not set: URLs are signed with one generated at start, which nginx cannot check',
          ]
        : []),
      ...(given.MEDIA_SIGNING === 'cloudfront'
        ? []
        : withoutEffect(
            given,
            ['CLOUDFRONT_KEY_PAIR_ID', 'CLOUDFRONT_PRIVATE_KEY'],
            'MEDIA_SIGNING is not cloudfront',
          )),
    ];
  }

  @Variable(
    {
      meaning:
        'a folder with `{stream_id}/index.m3u8`, or a URL template: `http(s)://…/{stream_id}/index.m3u8`',
      default: resolve(__dirname, '../../samples/streams'),
      defaultText: 'the bundled sample',
      shared: true,
    },
    Satisfies(
      'must be an existing folder, or an http(s):// URL without credentials and with {stream_id} in its path',
      isOrigin,
    ),
  )
  readonly STREAM_ORIGIN: string;

  @Variable(
    {
      meaning:
        'other origins that a URL origin may redirect playlists to: `https://host`, separated by commas',
      default: [],
      defaultText: 'none',
      shared: true,
    },
    List(
      'must be origins of the form https://host or https://host:port, separated by commas, to which STREAM_ORIGIN may redirect',
      isHttpOrigin,
    ),
  )
  readonly STREAM_ORIGIN_REDIRECTS: readonly string[];

  @Variable(
    {
      meaning:
        "other addresses of the origin's root, such as those of a CDN: playlists may name media by them. Separated by commas; `MEDIA_BASE_URL` is always one",
      default: [],
      defaultText: 'none',
      shared: true,
    },
    List(
      'must be http(s):// URLs without credentials or query, separated by commas, at which playlists name the media of STREAM_ORIGIN',
      isPlainUrl,
    ),
  )
  readonly STREAM_ORIGIN_ALIASES: readonly string[];

  @Variable(
    {
      meaning: 'the beginning of segment URLs; `secure-link` and `cloudfront` need it for a folder',
      defaultText: 'this service for a folder, the origin for a URL template',
    },
    ValidateIf(
      ({ MEDIA_BASE_URL, STREAM_ORIGIN, signsForAnother }: StreamsSection) =>
        MEDIA_BASE_URL !== undefined || (signsForAnother && !/^https?:/.test(STREAM_ORIGIN)),
    ),
    Satisfies(
      'must be an http(s):// URL without credentials or query; ' +
        'secure-link and cloudfront need it where STREAM_ORIGIN is a folder, because another server must check their URLs',
      isPlainUrl,
    ),
  )
  readonly MEDIA_BASE_URL?: string;

  @Variable(
    {
      meaning:
        '`hmac`, `secure-link` (for nginx), `cloudfront` or `none`. With `none`, `/media` serves every file of the folder to every client',
      default: 'hmac',
      shared: true,
    },
    IsIn(MEDIA_SIGNERS, { message: `must be one of ${MEDIA_SIGNERS.join(', ')}` }),
  )
  readonly MEDIA_SIGNING: (typeof MEDIA_SIGNERS)[number];

  @Variable(
    {
      meaning: 'the key for `hmac` and `secure-link`; the log warns if it has fewer than 16 characters',
      default: (given) =>
        isProduction(given) && !['none', 'cloudfront'].includes(given.MEDIA_SIGNING ?? '')
          ? undefined
          : randomBytes(32).toString('base64url'),
      defaultText: 'generated at start; required in production',
      secret: true,
      shared: true,
    },
    Satisfies('is missing: production needs it, the same for all instances', isText),
  )
  readonly MEDIA_SIGNING_SECRET: string;

  @Variable(
    {
      meaning: 'the id of the public key in CloudFront',
      defaultText: 'none; for `cloudfront` required',
    },
    ValidateIf((config: StreamsSection) => config.MEDIA_SIGNING === 'cloudfront'),
    Satisfies(
      'must be the id of a public key in CloudFront, of letters and digits',
      (value) => isText(value) && /^[A-Za-z0-9]+$/.test(value),
    ),
  )
  readonly CLOUDFRONT_KEY_PAIR_ID?: string;

  @Variable(
    {
      meaning: 'the private key (RSA, 2048 bits) in PEM; `\\n` may stand for its line ends',
      defaultText: 'none; for `cloudfront` required',
      secret: true,
    },
    Lines(),
    ValidateIf((config: StreamsSection) => config.MEDIA_SIGNING === 'cloudfront'),
    Satisfies('must be a private RSA key of 2048 bits in PEM, without a passphrase', isCloudFrontKey),
  )
  readonly CLOUDFRONT_PRIVATE_KEY?: string;

  /** Whether another server serves the media and checks the signed URLs. */
  get signsForAnother(): boolean {
    return this.MEDIA_SIGNING === 'secure-link' || this.MEDIA_SIGNING === 'cloudfront';
  }
}

function isOrigin(value: unknown): boolean {
  if (!isText(value)) return false;
  if (!/^https?:/.test(value)) return statSync(value, { throwIfNoEntry: false })?.isDirectory() ?? false;
  // The id must be in the path: the root of the origin is the part before it.
  return isUrl(value, HTTP, 'refused') && /^https?:\/\/[^/?#]+\/[^?#]*\{stream_id\}/.test(value);
}

/** CloudFront accepts RSA keys of 2048 bits only. */
function isCloudFrontKey(value: unknown): boolean {
  if (!isText(value)) return false;
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = createPrivateKey(value);
    return asymmetricKeyType === 'rsa' && asymmetricKeyDetails?.modulusLength === 2_048;
  } catch {
    return false;
  }
}

function isPlainUrl(value: unknown): boolean {
  return isUrl(value, HTTP, 'refused') && !/[?#]/.test(value);
}
