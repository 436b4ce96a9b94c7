import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { Transform, plainToInstance } from 'class-transformer';
import { IsIn, IsOptional, IsString, ValidateBy, ValidateIf, validateSync } from 'class-validator';
import { type Policy } from '../sessions/admission.js';
import { EVENT_TYPES, type EventType } from '../sessions/session-events.js';

/** How long a new session's place is held while its first phase is on its way. */
const LEASE_MS = 5_000;

/** A secret of fewer characters can be guessed. */
const SAFE_LENGTH = 16;
/** As Standard Webhooks has it, in bytes. */
const SAFE_KEY = 24;
/** A key of HS256 has as many bytes as the hash (RFC 7518, 3.2). */
const SHORTEST_JWT_SECRET = 32;

const MEDIA_SIGNERS = ['hmac', 'secure-link', 'cloudfront', 'none'] as const;
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

/** Variables that may hold a secret, and may be given as NAME_FILE instead. */
const SECRETS = [
  'REDIS_URL',
  'REDIS_PASSWORD',
  'MEDIA_SIGNING_SECRET',
  'CLOUDFRONT_PRIVATE_KEY',
  'AUTH_JWT_PUBLIC_KEY',
  'AUTH_JWT_SECRET',
  'TICKET_SECRET',
  'INTERNAL_API_TOKEN',
  'API_TOKENS',
  'CALLBACK_URL',
  'CALLBACK_SECRET',
] as const;

/** Where the keys of viewers' tokens come from: exactly one of these. */
const JWT_KEYS = ['AUTH_JWKS_URL', 'AUTH_JWT_PUBLIC_KEY', 'AUTH_JWT_SECRET'] as const;
/** What says something about viewers' tokens, and nothing where there are none. */
const OF_JWT = [
  ...JWT_KEYS,
  'AUTH_ISSUER',
  'AUTH_AUDIENCE',
  'STREAM_LIMIT_CLAIM',
  'MAX_SESSIONS_CEILING',
] as const;

/** What the bearer of an API token may do. */
export const SCOPES = ['sessions:read', 'sessions:end', 'expiry:run', 'expiry:pause', 'metrics'] as const;
export type Scope = (typeof SCOPES)[number];

/** One entry of API_TOKENS; several may have one name, while a token is being changed. */
export interface ApiToken {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly sha256: Buffer;
}

/** One message a variable, whatever is wrong with it: a message that tells what to give. */
function Satisfies(message: string, test: (value: unknown, config: Config) => boolean): PropertyDecorator {
  return ValidateBy({
    name: 'satisfies',
    validator: {
      validate: (value, context) => test(value, context!.object as Config),
      defaultMessage: () => message,
    },
  });
}

/** A plain decimal number; '', '0x10', '1e3' and the like are not what anybody means. */
function Decimal(message: string, test: (value: number) => boolean): PropertyDecorator {
  const parse = Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' && /^\d+(\.\d+)?$/.test(value) ? Number(value) : value,
  );
  const check = Satisfies(message, (value) => typeof value === 'number' && test(value));
  return (target, property) => {
    parse(target, property);
    check(target, property);
  };
}

/** Of several, with commas between. */
function List(message: string, test: (one: string, config: Config) => boolean): PropertyDecorator {
  const parse = Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' ? value.split(',').map((one) => one.trim()) : value,
  );
  const check = Satisfies(
    message,
    (value, config) => Array.isArray(value) && value.every((one) => test(one as string, config)),
  );
  return (target, property) => {
    parse(target, property);
    check(target, property);
  };
}

function WholeNumber(least: number, most: number): PropertyDecorator {
  return Decimal(
    `must be a whole number from ${least} to ${most}`,
    (value) => Number.isInteger(value) && value >= least && value <= most,
  );
}

/** Parses with a host and one of these protocols, and without a password unless that is what it is for. */
function isUrl(
  value: unknown,
  protocols: readonly string[],
  credentials: 'allowed' | 'refused',
): value is string {
  const url = typeof value === 'string' && !/\s/.test(value) ? URL.parse(value) : null;
  if (url === null || url.hostname === '' || !protocols.includes(url.protocol)) return false;
  return credentials === 'allowed' || url.username + url.password === '';
}

function isRedisUrl(value: unknown): boolean {
  if (!isUrl(value, ['redis:', 'rediss:'], 'allowed')) return false;
  const { username, password, pathname } = new URL(value);
  try {
    decodeURIComponent(username + password);
  } catch {
    return false;
  }
  // With a database that it cannot select, a client would go on in database 0.
  return /^\/?$|^\/(\d|1[0-5])$/.test(pathname);
}

const HTTP = ['http:', 'https:'];

/** What a secret of Standard Webhooks begins with. */
const WEBHOOK_SECRET = 'whsec_';

/** One secret, or several with spaces between: the one that signs from now on, and those that receivers still check. */
function areWebhookSecrets(value: unknown): boolean {
  return (
    typeof value === 'string' &&
    value.split(' ').every((secret) => /^whsec_([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2,3}=*)?$/.test(secret)) &&
    webhookKeys(value).every((key) => key.length > 0)
  );
}

function webhookKeys(secrets: string): Buffer[] {
  return secrets.split(' ').map((secret) => Buffer.from(secret.slice(WEBHOOK_SECRET.length), 'base64'));
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

/** An address, or a range of them in the form of CIDR. A range of all is refused: whoever asks would be a proxy. */
function isAddressRange(value: string): boolean {
  const [address = '', bits, ...rest] = value.split('/');
  const most = { 0: 0, 4: 32, 6: 128 }[isIP(address)]!;
  if (most === 0 || address.includes('%') || rest.length > 0) return false;
  return bits === undefined || (/^[1-9]\d{0,2}$/.test(bits) && Number(bits) <= most);
}

/** As a browser says it in `Origin`, to the letter: it is compared, never understood. */
function isHttpOrigin(value: string): boolean {
  return isUrl(value, HTTP, 'refused') && new URL(value).origin === value && !value.includes('*');
}

function isOrigin(value: unknown): boolean {
  if (typeof value !== 'string') return false;
  if (!/^https?:/.test(value)) return statSync(value, { throwIfNoEntry: false })?.isDirectory() ?? false;
  // The id belongs in the path: the root of the origin is what stands before it.
  return isUrl(value, HTTP, 'refused') && /^https?:\/\/[^/?#]+\/[^?#]*\{stream_id\}/.test(value);
}

/** Both ends of a pair read as a public key, but whoever gives the private one has mistaken it. */
function isPublicKey(value: unknown): boolean {
  if (typeof value !== 'string' || value.includes('PRIVATE KEY')) return false;
  try {
    return algorithmsOf(value).length > 0;
  } catch {
    return false;
  }
}

/**
 * The algorithms that a public key may verify (RFC 7518, 3.1; RFC 8037), none where it is unfit: a token must not choose
 * how its own key is used.
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
    typeof value === 'string' &&
    value
      .trim()
      .split(/\s+/)
      .every((entry) => apiToken(entry) !== undefined)
  );
}

/** Of `name:scope,scope:sha256-hex`; scopes have colons of their own. */
function apiToken(entry: string): ApiToken | undefined {
  const [, name, scopes, hex] = /^([\w.-]{1,64}):([a-z:,]+):([0-9a-fA-F]{64})$/.exec(entry) ?? [];
  if (name === undefined || scopes === undefined || hex === undefined) return undefined;
  const named = scopes.split(',') as Scope[];
  if (!named.every((scope) => SCOPES.includes(scope))) return undefined;
  return { name, scopes: named, sha256: Buffer.from(hex, 'hex') };
}

/** Whoever passes a PEM through a variable of one line writes \n for the ends of lines. */
function Lines(): PropertyDecorator {
  return Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' ? value.replaceAll('\\n', '\n') : value,
  );
}

/** CloudFront takes no RSA key of another size. */
function isCloudFrontKey(value: unknown): boolean {
  if (typeof value !== 'string') return false;
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = createPrivateKey(value);
    return asymmetricKeyType === 'rsa' && asymmetricKeyDetails?.modulusLength === 2_048;
  } catch {
    return false;
  }
}

/**
 * The configuration: the only reader of the environment. Fields are the variables of the README's table. A message
 * never holds a value: values may be secrets, and logs are read by many.
 */
export class Config {
  @IsString()
  readonly HOST: string;

  @WholeNumber(0, 65_535)
  readonly PORT: number = 3000;

  @IsIn(['redis', 'memory'], {
    message:
      'must be redis or memory; production needs REDIS_URL, or SESSION_STORE=memory by name for one process',
  })
  readonly SESSION_STORE: 'redis' | 'memory';

  @ValidateIf((config: Config) => config.SESSION_STORE === 'redis' || config.REDIS_URL !== undefined)
  @Satisfies(
    'must be a redis:// or rediss:// URL, with a database from 0 to 15 if any; escape / ? # % and @ in its password',
    isRedisUrl,
  )
  readonly REDIS_URL?: string;

  @IsOptional()
  @IsString()
  readonly REDIS_PASSWORD?: string;

  @IsOptional()
  @IsIn(['1', '2'], { message: 'must be 1 or 2: the layout of records that this instance writes' })
  readonly STORE_LAYOUT?: '1' | '2';

  @IsOptional()
  @IsIn(['false'], { message: 'must be false: cluster mode is not available yet' })
  readonly REDIS_CLUSTER?: string;

  @WholeNumber(1, 1_000)
  readonly MAX_SESSIONS_PER_USER: number = 3;

  @Decimal(
    'must be a number of seconds from 0.2 to 3600, to the millisecond',
    (value) => value >= 0.2 && value <= 3_600 && Number.isInteger(Math.round(value * 1e6) / 1e3),
  )
  @Satisfies(
    'must be at least 2 with secure-link and cloudfront: their URLs end on whole seconds',
    (value, config) => !config.signsForAnother || (value as number) >= 2,
  )
  readonly PHASE_SECONDS: number = 10;

  @WholeNumber(1, 1_000)
  readonly IDLE_PHASES: number = 3;

  @WholeNumber(0, 86_400)
  readonly MAX_PAUSE_SECONDS: number = 1_800;

  @Satisfies(
    'must be a folder that is there, or an http(s):// URL without credentials and with {stream_id} in its path',
    isOrigin,
  )
  readonly STREAM_ORIGIN: string = resolve(__dirname, '../../samples/streams');

  @List(
    'must be of the form https://host or https://host:port, with commas between: where STREAM_ORIGIN may redirect to',
    isHttpOrigin,
  )
  readonly STREAM_ORIGIN_REDIRECTS: readonly string[] = [];

  @ValidateIf(
    ({ MEDIA_BASE_URL, STREAM_ORIGIN, signsForAnother }: Config) =>
      MEDIA_BASE_URL !== undefined || (signsForAnother && !/^https?:/.test(STREAM_ORIGIN)),
  )
  @Satisfies(
    'must be an http(s):// URL without credentials or query; ' +
      'secure-link and cloudfront need it where STREAM_ORIGIN is a folder, since another server must check their URLs',
    (value) => isUrl(value, HTTP, 'refused') && !/[?#]/.test(value),
  )
  readonly MEDIA_BASE_URL?: string;

  @IsIn(MEDIA_SIGNERS, { message: `must be one of ${MEDIA_SIGNERS.join(', ')}` })
  readonly MEDIA_SIGNING: (typeof MEDIA_SIGNERS)[number] = 'hmac';

  @Satisfies(
    'is missing: production needs it, the same for all instances',
    (value) => typeof value === 'string',
  )
  readonly MEDIA_SIGNING_SECRET: string;

  @ValidateIf((config: Config) => config.MEDIA_SIGNING === 'cloudfront')
  @Satisfies(
    'must be the id of a public key in CloudFront, of letters and digits',
    (value) => typeof value === 'string' && /^[A-Za-z0-9]+$/.test(value),
  )
  readonly CLOUDFRONT_KEY_PAIR_ID?: string;

  @Lines()
  @ValidateIf((config: Config) => config.MEDIA_SIGNING === 'cloudfront')
  @Satisfies('must be a private RSA key of 2048 bits in PEM, without a passphrase', isCloudFrontKey)
  readonly CLOUDFRONT_PRIVATE_KEY?: string;

  @IsIn(['closed'], { message: 'must be closed: open is not available yet' })
  readonly STORE_DOWN_POLICY = 'closed';

  @IsIn(['jwt', 'none'], {
    message: 'must be jwt, or none where something in front authenticates; in production none only by name',
  })
  readonly AUTH_MODE: 'jwt' | 'none';

  @ValidateIf((config: Config) => config.givesJwtKey('AUTH_JWKS_URL') || config.lacksJwtKey)
  @Satisfies(
    'must be an http(s):// URL without credentials; AUTH_MODE=jwt, the default in production, needs it, or ' +
      'AUTH_JWT_PUBLIC_KEY or AUTH_JWT_SECRET instead; AUTH_MODE=none is for who has authentication in front',
    (value) => isUrl(value, HTTP, 'refused'),
  )
  readonly AUTH_JWKS_URL?: string;

  @Lines()
  @ValidateIf((config: Config) => config.givesJwtKey('AUTH_JWT_PUBLIC_KEY'))
  @Satisfies(
    'must not be beside AUTH_JWKS_URL: give one of them',
    (_, config) => config.AUTH_JWKS_URL === undefined,
  )
  @Satisfies(
    'must be a public key in PEM: RSA of 2048 bits or more, EC on P-256, P-384 or P-521, or Ed25519',
    isPublicKey,
  )
  readonly AUTH_JWT_PUBLIC_KEY?: string;

  @ValidateIf((config: Config) => config.givesJwtKey('AUTH_JWT_SECRET'))
  @Satisfies(
    'must not be beside AUTH_JWKS_URL or AUTH_JWT_PUBLIC_KEY: give one of them',
    (_, config) => (config.AUTH_JWKS_URL ?? config.AUTH_JWT_PUBLIC_KEY) === undefined,
  )
  @Satisfies(
    `must have at least ${SHORTEST_JWT_SECRET} characters, at random: it is the key of HS256`,
    (value) => typeof value === 'string' && value.length >= SHORTEST_JWT_SECRET,
  )
  readonly AUTH_JWT_SECRET?: string;

  @ValidateIf((config: Config) => config.AUTH_MODE === 'jwt')
  @Satisfies('is missing: AUTH_MODE=jwt takes tokens of one issuer, as their iss has it', isText)
  readonly AUTH_ISSUER?: string;

  @ValidateIf((config: Config) => config.AUTH_MODE === 'jwt')
  @Satisfies('is missing: AUTH_MODE=jwt takes tokens for this service, as their aud has it', isText)
  readonly AUTH_AUDIENCE?: string;

  @IsString()
  readonly STREAM_LIMIT_CLAIM: string = 'max_sessions';

  @ValidateIf((config: Config) => config.AUTH_MODE === 'jwt')
  @WholeNumber(1, 1_000)
  @Satisfies(
    'must be at least MAX_SESSIONS_PER_USER',
    (value, config) => (value as number) >= config.MAX_SESSIONS_PER_USER,
  )
  readonly MAX_SESSIONS_CEILING: number = 20;

  // Where the secret that it defaults to is missing itself, one complaint is enough.
  @ValidateIf((config: Config) => config.MEDIA_SIGNING_SECRET !== undefined)
  @Satisfies(
    'is missing: production needs it with AUTH_MODE=jwt, the same for all instances, unless MEDIA_SIGNING_SECRET is set',
    isText,
  )
  readonly TICKET_SECRET: string;

  @WholeNumber(0, 1_000_000)
  readonly RATE_LIMIT_PER_USER: number = 50;

  @WholeNumber(0, 1_000_000)
  readonly RATE_LIMIT_PER_ADDRESS: number = 2_000;

  @List('must be addresses or ranges as 10.0.0.0/16, with commas between', isAddressRange)
  readonly TRUSTED_PROXIES: readonly string[] = [];

  @List(
    'must be origins as https://example.com, with commas between; or *, which production does not take',
    (origin, config) => isHttpOrigin(origin) || (origin === '*' && !config.production),
  )
  readonly CORS_ALLOWED_ORIGINS: readonly string[] = [];

  @ValidateIf((config: Config) => config.production || config.INTERNAL_API_TOKEN !== undefined)
  @Satisfies(
    'must be a token without a space; production does not start with /internal unguarded',
    (value) => typeof value === 'string' && /^\S+$/.test(value),
  )
  readonly INTERNAL_API_TOKEN?: string;

  @IsOptional()
  @Satisfies(
    `must be name:scope,scope:hash with white space between, the hash SHA-256 in hex, the scopes of ${SCOPES.join(', ')}`,
    areApiTokens,
  )
  readonly API_TOKENS?: string;

  @IsOptional()
  @Satisfies('must be an http(s):// URL without credentials', (value) => isUrl(value, HTTP, 'refused'))
  readonly CALLBACK_URL?: string;

  @ValidateIf((config: Config) => config.CALLBACK_URL !== undefined || config.CALLBACK_SECRET !== undefined)
  @Satisfies(
    'must be whsec_ and base64, or several of these with spaces between; production needs it for CALLBACK_URL',
    areWebhookSecrets,
  )
  readonly CALLBACK_SECRET?: string;

  @List(`must be of ${EVENT_TYPES.join(', ')}, with commas between`, (type) =>
    EVENT_TYPES.includes(type as EventType),
  )
  readonly CALLBACK_EVENTS: readonly EventType[] = ['session.expired', 'session.ended'];

  @WholeNumber(1, 100)
  readonly CALLBACK_MAX_TRIES: number = 20;

  @IsIn(LOG_LEVELS, { message: `must be one of ${LOG_LEVELS.join(', ')}` })
  readonly LOG_LEVEL: (typeof LOG_LEVELS)[number] = 'info';

  @IsIn(['json', 'pretty'], { message: 'must be json or pretty' })
  readonly LOG_FORMAT: 'json' | 'pretty';

  /** What is allowed and most likely not meant: for one warning each at start. */
  @IsOptional()
  readonly warnings: readonly string[];

  @IsOptional()
  readonly production: boolean;

  givesJwtKey(name: (typeof JWT_KEYS)[number]): boolean {
    return this.AUTH_MODE === 'jwt' && this[name] !== undefined;
  }

  get lacksJwtKey(): boolean {
    return this.AUTH_MODE === 'jwt' && !JWT_KEYS.some((name) => this.givesJwtKey(name));
  }

  /** The algorithms that tokens of viewers may be signed with, pinned by the kind of key. */
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

  /** X, in milliseconds. */
  get phaseMs(): number {
    return Math.round(this.PHASE_SECONDS * 1_000);
  }

  /** Another server checks the URLs of media, and this one serves none. */
  get signsForAnother(): boolean {
    return this.MEDIA_SIGNING === 'secure-link' || this.MEDIA_SIGNING === 'cloudfront';
  }

  get policy(): Policy {
    const expireAfterMs = this.IDLE_PHASES * this.phaseMs;
    return {
      quota: { maxSessions: this.MAX_SESSIONS_PER_USER },
      idleAfterMs: this.phaseMs,
      expireAfterMs,
      leaseMs: Math.min(LEASE_MS, expireAfterMs),
      maxPauseMs: this.MAX_PAUSE_SECONDS * 1_000,
    };
  }

  /** The events that somebody wants delivered. */
  get wantedEvents(): readonly EventType[] {
    return this.CALLBACK_URL === undefined ? [] : this.CALLBACK_EVENTS;
  }

  /** All that must not be read in a log: each secret, its lines and words by themselves, and the password of a URL. */
  get secrets(): readonly string[] {
    const password = URL.parse(this.REDIS_URL ?? '')?.password ?? '';
    const whole = [...SECRETS.flatMap((name) => this[name] ?? []), password, decodeURIComponent(password)];
    const parts = whole.flatMap((secret) => secret.split(/\s+|\\n/));
    // The longest first: one may be a part of another. Without what is shorter than a word, or no line could be read.
    return [...new Set([...whole, ...parts])]
      .filter((secret) => secret.length >= 8)
      .toSorted((a, b) => b.length - a.length);
  }

  /** What is said louder than a warning, since it may be hidden: that nobody is asked who they are, in production. */
  get alarm(): string | undefined {
    return this.production && this.AUTH_MODE === 'none'
      ? 'AUTH_MODE is none: whoever reaches this service watches, lists and ends sessions as any user'
      : undefined;
  }

  /** The keys that sign callbacks, one signature each. */
  get callbackKeys(): readonly Buffer[] {
    return webhookKeys(this.CALLBACK_SECRET ?? '');
  }
}

/** Everything that is wrong with the configuration, a line each, by the variable's name and never by its value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';

  constructor(readonly faults: readonly string[]) {
    super(`The configuration is not valid:\n${faults.map((fault) => `  ${fault}`).join('\n')}`);
  }
}

/** Reads and validates the whole configuration at once. An empty variable counts as unset. */
export function readConfig(environment: NodeJS.ProcessEnv): Config {
  const given = Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== '' && value !== undefined),
  );
  const faults = readSecretFiles(given);
  const production = given.NODE_ENV === 'production';
  const defaults = {
    HOST: production ? '0.0.0.0' : '127.0.0.1',
    SESSION_STORE: given.REDIS_URL ? 'redis' : production ? undefined : 'memory',
    MEDIA_SIGNING_SECRET:
      production && !['none', 'cloudfront'].includes(given.MEDIA_SIGNING ?? '')
        ? undefined
        : randomBytes(32).toString('base64url'),
    AUTH_MODE: authenticates(given) ? 'jwt' : 'none',
    TICKET_SECRET:
      given.MEDIA_SIGNING_SECRET ??
      (production && authenticates(given) ? undefined : randomBytes(32).toString('base64url')),
    CALLBACK_SECRET:
      production || !given.CALLBACK_URL ? undefined : WEBHOOK_SECRET + randomBytes(32).toString('base64'),
    LOG_FORMAT: production ? 'json' : 'pretty',
  };
  const derived = {
    production,
    warnings: [...findWithoutEffect(given), ...findGuessable(given), ...findOpen(given, production)],
  };
  const config = plainToInstance(
    Config,
    { ...defaults, ...given, ...derived },
    { exposeDefaultValues: true },
  );
  for (const { property, constraints } of validateSync(config, { stopAtFirstError: true, whitelist: true }))
    faults.push(`${property}: ${Object.values(constraints ?? {}).join('; ')}`);
  if (faults.length > 0) throw new ConfigError(faults);
  return config;
}

function authenticates({ AUTH_MODE, NODE_ENV }: Record<string, string | undefined>): boolean {
  return AUTH_MODE === undefined ? NODE_ENV === 'production' : AUTH_MODE === 'jwt';
}

function findWithoutEffect(given: Record<string, string | undefined>): string[] {
  const without = (names: readonly string[], reason: string): string[] =>
    names.filter((name) => given[name] !== undefined).map((name) => `${name} has no effect: ${reason}`);
  return [
    ...(given.CALLBACK_URL === undefined
      ? without(['CALLBACK_SECRET', 'CALLBACK_EVENTS', 'CALLBACK_MAX_TRIES'], 'CALLBACK_URL is not set')
      : []),
    ...(given.MEDIA_SIGNING === 'cloudfront'
      ? []
      : without(['CLOUDFRONT_KEY_PAIR_ID', 'CLOUDFRONT_PRIVATE_KEY'], 'MEDIA_SIGNING is not cloudfront')),
    ...(authenticates(given) ? [] : without(OF_JWT, 'AUTH_MODE is none')),
  ];
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/;

/** What lets in more than most would want. */
function findOpen(given: Record<string, string | undefined>, production: boolean): string[] {
  const open: string[] = [];
  if (!production && !authenticates(given) && !LOOPBACK.test(given.HOST ?? 'localhost'))
    open.push(
      'HOST lets other machines in, with AUTH_MODE none and NODE_ENV not production: whoever reaches this service ' +
        'watches, lists and ends sessions as any user',
    );
  if (production && given.AUTH_JWKS_URL?.startsWith('http:'))
    open.push('AUTH_JWKS_URL is not https: whoever is on the way can hand in keys of their own');
  return open;
}

function findGuessable(given: Record<string, string | undefined>): string[] {
  const short = ['INTERNAL_API_TOKEN', 'MEDIA_SIGNING_SECRET', 'TICKET_SECRET']
    .filter((name) => given[name] !== undefined && given[name].length < SAFE_LENGTH)
    .map((name) => `${name} is short: give at least ${SAFE_LENGTH} random characters`);
  if (given.MEDIA_SIGNING === 'secure-link' && given.MEDIA_SIGNING_SECRET === undefined)
    short.push(
      'MEDIA_SIGNING_SECRET is not set: URLs are signed with one made at start, which nginx cannot check',
    );
  if (given.CALLBACK_URL !== undefined && given.CALLBACK_SECRET === undefined)
    short.push(
      'CALLBACK_SECRET is not set: callbacks are signed with one made at start, which nobody can check',
    );
  else if (given.CALLBACK_SECRET && webhookKeys(given.CALLBACK_SECRET).some((key) => key.length < SAFE_KEY))
    short.push(`CALLBACK_SECRET is short: give at least ${SAFE_KEY} random bytes, in base64`);
  return short;
}

/** Puts what NAME_FILE holds in NAME's place; returns what is wrong with the files. */
function readSecretFiles(given: Record<string, string | undefined>): string[] {
  const faults: string[] = [];
  for (const name of SECRETS) {
    const file = given[`${name}_FILE`];
    if (file === undefined) continue;
    if (given[name] !== undefined) faults.push(`${name}_FILE: is set beside ${name}; give one of them`);
    try {
      const secret = readFileSync(file, 'utf8').trim();
      // An empty variable is one that is not set; whoever names a file means a secret.
      if (secret === '')
        faults.push(`${name}_FILE: is empty; put the secret in it, or leave the variable out`);
      else given[name] = secret;
    } catch (error) {
      faults.push(`${name}_FILE: cannot be read (${(error as NodeJS.ErrnoException).code ?? 'error'})`);
    }
  }
  return faults;
}
