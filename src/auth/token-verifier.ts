import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import { Logger } from '@nestjs/common';
import {
  type CryptoKey,
  type FlattenedJWSInput,
  type JWSHeaderParameters,
  type JWTPayload,
  createRemoteJWKSet,
  decodeJwt,
  errors,
  jwtVerify,
} from 'jose';
import { type Clock } from '../clock.js';
import { type Config } from '../config/config.js';
import { Problem, retryAfter } from '../http/problem.js';
import { isJws, unauthorized } from './bearer.js';

const JWKS_TIMEOUT_MS = 5_000;
/** The shortest time between two fetches of the keys for unknown key ids. */
const JWKS_COOLDOWN_MS = 1_000;
/** The keys are fetched again after this time, so that a withdrawn key stops working. */
const JWKS_MAX_AGE_MS = 10 * 60_000;
/** A failed renewal is retried after this time. */
const JWKS_RENEWAL_RETRY_MS = 30_000;
/** The wait after a failed fetch. */
const JWKS_RETRY_MS = 5_000;

type KeyOf = (header?: JWSHeaderParameters, token?: FlattenedJWSInput) => Promise<CryptoKey | KeyObject>;

/** Checks the tokens of issuers: signature, algorithm, `iss`, `aud`, `exp` and `nbf`. */
export class TokenVerifier {
  /** The keys of each issuer, by `iss`, because the keys of one issuer must not verify tokens of another. */
  private readonly keysOf: ReadonlyMap<string, KeyOf>;
  private readonly algorithms: string[];

  constructor(
    private readonly config: Config,
    private readonly clock: Clock,
  ) {
    this.algorithms = [...config.jwtAlgorithms];
    this.keysOf = openKeys(config, clock);
  }

  /** The claims, with `exp`. Throws a problem: 401 for an invalid token, 503 if its key cannot be fetched. */
  async verify(token: string): Promise<JWTPayload & { readonly exp: number }> {
    if (!isJws(token)) throw unauthorized(NOT_ACCEPTED, 'token');
    const { AUTH_AUDIENCE_CLAIM: claim, AUTH_CLOCK_TOLERANCE_SECONDS, audiences } = this.config;
    try {
      // These claims are not verified yet. They only select the issuer's keys and the claim of the audience.
      const { iss, aud } = decodeJwt(token);
      const keyOf = typeof iss === 'string' ? this.keysOf.get(iss) : undefined;
      if (keyOf === undefined) throw unauthorized(claimRefused('iss'), 'token');
      const byClaim = aud === undefined ? claim : undefined;
      const { payload } = await jwtVerify(token, keyOf, {
        // Not taken from the token, because an attacker could choose the algorithm (RFC 8725, 3.1).
        algorithms: this.algorithms,
        issuer: iss!,
        ...(byClaim === undefined ? { audience: [...audiences] } : {}),
        requiredClaims: ['exp'],
        clockTolerance: AUTH_CLOCK_TOLERANCE_SECONDS,
        currentDate: new Date(this.clock.now()),
      });
      if (byClaim !== undefined && !isOneOf(audiences, Object.hasOwn(payload, byClaim) && payload[byClaim]))
        throw unauthorized(claimRefused(byClaim), 'token');
      return payload as JWTPayload & { exp: number };
    } catch (error) {
      if (error instanceof errors.JOSEError) throw unauthorized(detailOf(error), 'token');
      // A key that is too short.
      if (error instanceof TypeError) throw unauthorized(NOT_ACCEPTED, 'token');
      throw error;
    }
  }
}

function isOneOf(texts: readonly string[], value: unknown): boolean {
  return typeof value === 'string' && texts.includes(value);
}

function claimRefused(claim: string): string {
  return `The claim ${claim} of the token is missing, or this service does not accept its value.`;
}

/** The detail for the holder of the token. It reveals nothing that is not in the token. */
function detailOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTExpired) return 'The token has expired: get a fresh one from its issuer.';
  if (error instanceof errors.JWTClaimValidationFailed) return claimRefused(error.claim);
  return NOT_ACCEPTED;
}

const NOT_ACCEPTED =
  'This service does not accept the token: it has another algorithm, another key, or was changed.';

function openKeys(config: Config, clock: Clock): ReadonlyMap<string, KeyOf> {
  const { AUTH_JWT_PUBLIC_KEY, AUTH_JWT_SECRET, issuers, jwksUrls } = config;
  if (jwksUrls.length > 0)
    return new Map(issuers.map((issuer, at) => [issuer, remoteKeys(new URL(jwksUrls[at]!), clock)]));
  const key =
    AUTH_JWT_PUBLIC_KEY === undefined
      ? createSecretKey(Buffer.from(AUTH_JWT_SECRET!))
      : createPublicKey(AUTH_JWT_PUBLIC_KEY);
  return new Map(issuers.map((issuer) => [issuer, () => Promise.resolve(key)]));
}

/**
 * The keys that an issuer publishes, selected by `kid`. Known keys are renewed in the background and work while the
 * issuer does not answer. For an unknown `kid` the keys are fetched; if they do not contain it, the answer is 401. If
 * no fetch is allowed yet, the answer is 503 with Retry-After, because the key may have been published after the last
 * fetch.
 */
function remoteKeys(url: URL, clock: Clock): KeyOf {
  const log = new Logger('Auth');
  const keys = createRemoteJWKSet(url, {
    timeoutDuration: JWKS_TIMEOUT_MS,
    // The code below decides when to fetch, with the clock of the service.
    cooldownDuration: Infinity,
    cacheMaxAge: Infinity,
  });
  let fetchAt = -Infinity;
  let renewAt = Infinity;
  /** The key id that caused the last fetch. */
  let soughtKid: string | undefined;
  let fetching: Promise<void> | undefined;

  const renew = async (): Promise<void> => {
    renewAt = clock.monotonic() + JWKS_RENEWAL_RETRY_MS;
    try {
      await keys.reload();
      renewAt = clock.monotonic() + JWKS_MAX_AGE_MS;
    } catch (error) {
      log.warn({ reason: reasonOf(error as Error), msg: 'the keys of AUTH_JWKS_URL cannot be renewed' });
    }
  };
  const fetchKeys = async (kid: string): Promise<void> => {
    fetchAt = clock.monotonic() + JWKS_COOLDOWN_MS;
    soughtKid = kid;
    try {
      await keys.reload();
      renewAt = clock.monotonic() + JWKS_MAX_AGE_MS;
    } catch (error) {
      fetchAt = clock.monotonic() + JWKS_RETRY_MS;
      soughtKid = undefined;
      throw error;
    }
  };
  const refuse = (cause?: Error): Problem =>
    new Problem('keys-unavailable', 'Ask again after the time in Retry-After.', {
      headers: { 'retry-after': retryAfter((fetchAt - clock.monotonic()) / 1_000) },
      cause,
    });
  /** The published key, or undefined if no key has this id. Does not fetch. */
  const find: (...token: Parameters<KeyOf>) => Promise<CryptoKey | undefined> = async (...token) => {
    if (keys.jwks() === undefined) return undefined;
    try {
      return await keys(...token);
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey) return undefined;
      if (error instanceof errors.JWKSMultipleMatchingKeys) throw error;
      throw new errors.JWKInvalid('a published key is unfit', { cause: error });
    }
  };

  return async (header, token) => {
    if (clock.monotonic() >= renewAt) void renew();
    const known = await find(header, token);
    if (known !== undefined) return known;
    const kid = header?.kid ?? '';
    if (fetching !== undefined) {
      // This fetch may have started before the key was published. If it does not find the key, another fetch is
      // necessary.
      await fetching.catch(() => undefined);
      const found = await find(header, token);
      if (found !== undefined) return found;
    }
    if (clock.monotonic() < fetchAt) {
      if (kid === soughtKid) throw new errors.JWKSNoMatchingKey();
      // The reason of a failed fetch was already logged.
      throw refuse();
    }
    fetching ??= fetchKeys(kid).finally(() => (fetching = undefined));
    try {
      await fetching;
    } catch (error) {
      throw refuse(new Error(`AUTH_JWKS_URL gives no keys: ${reasonOf(error as Error)}`));
    }
    const found = await find(header, token);
    if (found !== undefined) return found;
    throw new errors.JWKSNoMatchingKey();
  };
}

/** The message of an error with that of its cause, because `fetch failed` alone does not explain anything. */
function reasonOf({ message, cause }: Error): string {
  const { code, message: behind } = (cause ?? {}) as { code?: string; message?: string };
  return cause === undefined ? message : `${message} (${code ?? behind})`;
}
