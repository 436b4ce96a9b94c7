import { createPublicKey, randomBytes } from 'node:crypto';
import { IsIn, IsOptional, IsString, ValidateIf } from 'class-validator';
import { HTTP, Lines, Satisfies, WholeNumber, isText, isUrl } from './checks.js';
import { type SessionsSection } from './sessions.js';
import { type StreamsSection } from './streams.js';
import { type Given, Section, Variable, guessable, isProduction, withoutEffect } from './variable.js';

/** In bytes: a key of HS256 must be as long as the hash (RFC 7518, 3.2). */
const SHORTEST_JWT_SECRET = 32;

/** The sources of the keys for viewers' tokens. Exactly one of them must be set. */
const JWT_KEYS = ['AUTH_JWKS_URL', 'AUTH_JWT_PUBLIC_KEY', 'AUTH_JWT_SECRET'] as const;
/** The variables that have no effect if viewers send no tokens. */
const OF_JWT = [
  ...JWT_KEYS,
  'AUTH_ISSUER',
  'AUTH_AUDIENCE',
  'AUTH_AUDIENCE_CLAIM',
  'AUTH_CLOCK_TOLERANCE_SECONDS',
  'STREAM_LIMIT_CLAIM',
  'USER_ID_CLAIM',
  'DEVICE_ID_CLAIM',
  'MAX_SESSIONS_CEILING',
] as const;

/** The scopes that an API token can have. */
export const SCOPES = [
  'sessions:read',
  'sessions:end',
  'expiry:run',
  'expiry:pause',
  'activity:write',
  'config:read',
  'log:write',
  'audit:read',
  'metrics',
] as const;
export type Scope = (typeof SCOPES)[number];

/** One entry of API_TOKENS. Several may have the same name while a token is being replaced. */
export interface ApiToken {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly sha256: Buffer;
}

/** How viewers, services and players are identified. */
export class AuthSection extends Section {
  static readonly title = 'Callers';

  static warnings(given: Given): string[] {
    return [
      ...(authenticates(given) ? [] : withoutEffect(given, OF_JWT, 'AUTH_MODE is none')),
      ...guessable(given, ['INTERNAL_API_TOKEN', 'TICKET_SECRET']),
      ...(isProduction(given) && namesOf(given.AUTH_JWKS_URL).some((url) => url.startsWith('http:'))
        ? ['AUTH_JWKS_URL is not https: an attacker in the network could replace the keys']
        : []),
    ];
  }

  @Variable(
    {
      meaning:
        '`jwt`: viewers send tokens of an issuer; `none`: the request names the user, and nothing checks it',
      default: (given) => (authenticates(given) ? 'jwt' : 'none'),
      defaultText: '`none`, in production `jwt`',
      shared: true,
    },
    IsIn(['jwt', 'none'], {
      message:
        'must be jwt, or none if a proxy authenticates users; in production none must be set explicitly',
    }),
  )
  readonly AUTH_MODE: 'jwt' | 'none';

  @Variable(
    {
      meaning:
        'where the issuer publishes its keys; fetched every 10 minutes, and for an unknown key; one URL for each issuer',
      defaultText: 'none; for `jwt` one of three',
      shared: true,
    },
    ValidateIf((config: AuthSection) => config.givesJwtKey('AUTH_JWKS_URL') || config.lacksJwtKey),
    Satisfies(
      'must be an http(s):// URL without credentials, one for each of AUTH_ISSUER in the same order; AUTH_MODE=jwt, the default in production, needs it, or ' +
        'AUTH_JWT_PUBLIC_KEY or AUTH_JWT_SECRET instead; use AUTH_MODE=none only behind something that authenticates',
      (value, { issuers }: AuthSection) => {
        const urls = namesOf(value);
        return (
          urls.every((url) => isUrl(url, HTTP, 'refused')) &&
          urls.length > 0 &&
          // A missing AUTH_ISSUER is reported separately.
          (issuers.length === 0 ? urls.length === 1 : urls.length === issuers.length)
        );
      },
    ),
  )
  readonly AUTH_JWKS_URL?: string;

  @Variable(
    {
      meaning:
        "instead of AUTH_JWKS_URL: the issuer's public key in PEM (RSA, P-256, P-384, P-521 or Ed25519); `\\n` may stand for its line ends",
      secret: true,
      shared: true,
    },
    Lines(),
    ValidateIf((config: AuthSection) => config.givesJwtKey('AUTH_JWT_PUBLIC_KEY')),
    Satisfies(
      'must not be set together with AUTH_JWKS_URL: set only one of them',
      (_, config: AuthSection) => config.AUTH_JWKS_URL === undefined,
    ),
    Satisfies(
      'must be a public key in PEM: RSA of 2048 bits or more, EC on P-256, P-384 or P-521, or Ed25519',
      isPublicKey,
    ),
  )
  readonly AUTH_JWT_PUBLIC_KEY?: string;

  @Variable(
    {
      meaning:
        'instead of both: the secret that the issuer shares with this service, for HS256; 32 characters or more',
      secret: true,
      shared: true,
    },
    ValidateIf((config: AuthSection) => config.givesJwtKey('AUTH_JWT_SECRET')),
    Satisfies(
      'must not be set together with AUTH_JWKS_URL or AUTH_JWT_PUBLIC_KEY: set only one of them',
      (_, config: AuthSection) => (config.AUTH_JWKS_URL ?? config.AUTH_JWT_PUBLIC_KEY) === undefined,
    ),
    Satisfies(
      `must have at least ${SHORTEST_JWT_SECRET} random characters: it is the key of HS256`,
      (value) => isText(value) && value.length >= SHORTEST_JWT_SECRET,
    ),
  )
  readonly AUTH_JWT_SECRET?: string;

  @Variable(
    {
      meaning: '`iss` of its tokens; several with commas or spaces between',
      defaultText: 'none; for `jwt` required',
      shared: true,
    },
    ValidateIf((config: AuthSection) => config.AUTH_MODE === 'jwt'),
    Satisfies(
      'is missing or has a duplicate: AUTH_MODE=jwt accepts tokens whose iss is one of the values here',
      isListOfNames,
    ),
  )
  readonly AUTH_ISSUER?: string;

  @Variable(
    {
      meaning: '`aud` of its tokens; several with commas or spaces between',
      defaultText: 'none; for `jwt` required',
      shared: true,
    },
    ValidateIf((config: AuthSection) => config.AUTH_MODE === 'jwt'),
    Satisfies(
      'is missing or has a duplicate: AUTH_MODE=jwt accepts tokens whose aud is one of the values here',
      isListOfNames,
    ),
  )
  readonly AUTH_AUDIENCE?: string;

  @Variable(
    {
      meaning: 'the claim that has the audience in a token without `aud`: `client_id` for Amazon Cognito',
      defaultText: 'none: `aud` is required',
      shared: true,
    },
    IsOptional(),
    IsString(),
  )
  readonly AUTH_AUDIENCE_CLAIM?: string;

  @Variable(
    {
      meaning: "seconds by which the issuer's clock may differ, for `exp` and `nbf`",
      default: '5',
      shared: true,
    },
    WholeNumber(0, 300),
  )
  readonly AUTH_CLOCK_TOLERANCE_SECONDS: number;

  @Variable(
    {
      meaning: "the claim of the user's plan; where a token has none, `MAX_SESSIONS_PER_USER` holds",
      default: 'max_sessions',
      shared: true,
    },
    IsString(),
  )
  readonly STREAM_LIMIT_CLAIM: string;

  @Variable(
    {
      meaning: 'the claim that names the user; a subject without the form of an id is mapped to one',
      default: 'sub',
      shared: true,
    },
    IsString(),
  )
  readonly USER_ID_CLAIM: string;

  @Variable(
    {
      meaning: 'the claim that names the device; it wins over the device that a request names',
      defaultText: 'none',
      shared: true,
    },
    IsOptional(),
    IsString(),
  )
  readonly DEVICE_ID_CLAIM?: string;

  @Variable(
    { meaning: 'the largest plan that a token can give', default: '20', shared: true },
    ValidateIf((config: AuthSection) => config.AUTH_MODE === 'jwt'),
    Satisfies(
      'must be at least MAX_SESSIONS_PER_USER',
      (value, config: SessionsSection) => (value as number) >= config.MAX_SESSIONS_PER_USER,
    ),
    WholeNumber(1, 1_000),
  )
  readonly MAX_SESSIONS_CEILING: number;

  @Variable(
    {
      meaning:
        'the key that signs playback tickets; required in production with `jwt`, unless `MEDIA_SIGNING_SECRET` is set',
      default: (given) =>
        given.MEDIA_SIGNING_SECRET ??
        (isProduction(given) && authenticates(given) ? undefined : randomBytes(32).toString('base64url')),
      defaultText: '`MEDIA_SIGNING_SECRET`, else made at start',
      secret: true,
      shared: true,
    },
    // If MEDIA_SIGNING_SECRET, the default, is missing, only that is reported.
    ValidateIf((config: StreamsSection) => config.MEDIA_SIGNING_SECRET !== undefined),
    Satisfies(
      'is missing: production needs it with AUTH_MODE=jwt, the same for all instances, unless MEDIA_SIGNING_SECRET is set',
      isText,
    ),
  )
  readonly TICKET_SECRET: string;

  @Variable(
    {
      meaning: 'guards `/internal`, with every scope; the log warns of fewer than 16 characters',
      defaultText: 'none; in production required',
      secret: true,
      shared: true,
    },
    ValidateIf((config: AuthSection) => config.production || config.INTERNAL_API_TOKEN !== undefined),
    Satisfies(
      'must be a token without a space; production does not start with /internal unguarded',
      (value) => isText(value) && /^\S+$/.test(value),
    ),
  )
  readonly INTERNAL_API_TOKEN?: string;

  @Variable(
    {
      meaning: 'tokens with [scopes](#who-may-ask): `name:scope,scope:sha256-hex`, white space between them',
      secret: true,
      shared: true,
    },
    IsOptional(),
    Satisfies(
      `must be name:scope,scope:hash, separated by white space; the hash is SHA-256 in hex, the scopes are ${SCOPES.join(', ')}`,
      areApiTokens,
    ),
  )
  readonly API_TOKENS?: string;

  givesJwtKey(name: (typeof JWT_KEYS)[number]): boolean {
    return this.AUTH_MODE === 'jwt' && this[name] !== undefined;
  }

  get lacksJwtKey(): boolean {
    return this.AUTH_MODE === 'jwt' && !JWT_KEYS.some((name) => this.givesJwtKey(name));
  }

  /** The accepted values of `iss`. */
  get issuers(): readonly string[] {
    return namesOf(this.AUTH_ISSUER);
  }

  /** The accepted values of `aud`. */
  get audiences(): readonly string[] {
    return namesOf(this.AUTH_AUDIENCE);
  }

  /** The URLs of the issuers' keys, in the order of `issuers`. Empty if a key or a secret is set instead. */
  get jwksUrls(): readonly string[] {
    return namesOf(this.AUTH_JWKS_URL);
  }

  /** The accepted algorithms for viewers' tokens, which depend only on the kind of key. */
  get jwtAlgorithms(): readonly string[] {
    if (this.AUTH_JWT_SECRET !== undefined) return ['HS256'];
    return this.AUTH_JWT_PUBLIC_KEY === undefined ? ASYMMETRIC : algorithmsOf(this.AUTH_JWT_PUBLIC_KEY);
  }

  get apiTokens(): readonly ApiToken[] {
    return (
      this.API_TOKENS?.trim()
        .split(/\s+/)
        .map((entry) => apiToken(entry)!) ?? []
    );
  }

  /** Logged as an error, because LOG_LEVEL may hide warnings: in production, requests need no token. */
  get alarm(): string | undefined {
    return this.production && this.AUTH_MODE === 'none'
      ? 'AUTH_MODE is none: every client that reaches this service can watch, list and end sessions as any user'
      : undefined;
  }
}

/** Whether viewers must send tokens. */
export function authenticates(given: Given): boolean {
  return given.AUTH_MODE === undefined ? isProduction(given) : given.AUTH_MODE === 'jwt';
}

/** Splits a list of values, separated by commas or white space. */
function namesOf(value: unknown): readonly string[] {
  return isText(value) ? value.split(/[\s,]+/).filter((name) => name !== '') : [];
}

function isListOfNames(value: unknown): boolean {
  const names = namesOf(value);
  return names.length > 0 && new Set(names).size === names.length;
}

/** Refuses a private key, although a public key can be read from it, because it was probably set by mistake. */
function isPublicKey(value: unknown): boolean {
  if (!isText(value) || value.includes('PRIVATE KEY')) return false;
  try {
    return algorithmsOf(value).length > 0;
  } catch {
    return false;
  }
}

/**
 * The algorithms for a public key (RFC 7518, 3.1; RFC 8037); none if the key is unsuitable. They must not depend on the
 * token, because an attacker could choose the algorithm.
 */
function algorithmsOf(publicKey: string): readonly string[] {
  const { asymmetricKeyType, asymmetricKeyDetails = {} } = createPublicKey(publicKey);
  const { modulusLength = 0, namedCurve } = asymmetricKeyDetails;
  if (asymmetricKeyType === 'rsa' && modulusLength >= 2_048) return RSA;
  if (asymmetricKeyType === 'ec')
    return { prime256v1: ['ES256'], secp384r1: ['ES384'], secp521r1: ['ES512'] }[namedCurve ?? ''] ?? [];
  return asymmetricKeyType === 'ed25519' ? EDWARDS : [];
}

const RSA = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
const EDWARDS = ['EdDSA', 'Ed25519'];
const ASYMMETRIC = [...RSA, 'ES256', 'ES384', 'ES512', ...EDWARDS];

function areApiTokens(value: unknown): boolean {
  return (
    isText(value) &&
    value
      .trim()
      .split(/\s+/)
      .every((entry) => apiToken(entry) !== undefined)
  );
}

/** Parses `name:scope,scope:sha256-hex`. Scopes contain colons, too. */
function apiToken(entry: string): ApiToken | undefined {
  const [, name, scopes, hex] = /^([\w.-]{1,64}):([a-z:,]+):([0-9a-fA-F]{64})$/.exec(entry) ?? [];
  if (name === undefined || scopes === undefined || hex === undefined) return undefined;
  const named = scopes.split(',') as Scope[];
  if (!named.every((scope) => SCOPES.includes(scope))) return undefined;
  return { name, scopes: named, sha256: Buffer.from(hex, 'hex') };
}
