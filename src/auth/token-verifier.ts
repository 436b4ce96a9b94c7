import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import { Logger } from '@nestjs/common';
import {
  type CryptoKey,
  type FlattenedJWSInput,
  type JWSHeaderParameters,
  type JWTPayload,
  createLocalJWKSet,
  createRemoteJWKSet,
  errors,
  jwtVerify,
} from 'jose';
import { type Clock } from '../clock.js';
import { type Config } from '../config/config.js';
import { Problem } from '../http/problem.js';
import { isJws, unauthorized } from './bearer.js';

/** Clocks of issuers differ from ours by so much. */
const CLOCK_TOLERANCE_SECONDS = 5;
const JWKS_TIMEOUT_MS = 5_000;
/** A token of a key that nobody knows has the keys fetched again, at most so often. */
const JWKS_COOLDOWN_MS = 30_000;
/** After so long the keys are fetched anew, so that one that was withdrawn goes. */
const JWKS_MAX_AGE_MS = 10 * 60_000;
const JWKS_RETRY_SECONDS = 5;

type KeyOf = (header?: JWSHeaderParameters, token?: FlattenedJWSInput) => Promise<CryptoKey | KeyObject>;

/** Checks what an issuer signed: signature, algorithm, `iss`, `aud`, `exp` and `nbf`. */
export class TokenVerifier {
  private readonly keyOf: KeyOf;
  private readonly algorithms: string[];

  constructor(
    private readonly config: Config,
    private readonly clock: Clock,
  ) {
    this.algorithms = [...config.jwtAlgorithms];
    this.keyOf = openKeys(config, clock);
  }

  /** The claims, with `exp`. 401 for a token that is not good, 503 where its key cannot be fetched. */
  async verify(token: string): Promise<JWTPayload & { readonly exp: number }> {
    if (!isJws(token)) throw unauthorized(OTHERWISE, 'token');
    try {
      const { payload } = await jwtVerify(token, this.keyOf, {
        // Pinned here: what a token says of itself is for the attacker to choose (RFC 8725, 3.1).
        algorithms: this.algorithms,
        issuer: this.config.AUTH_ISSUER!,
        audience: this.config.AUTH_AUDIENCE!,
        requiredClaims: ['exp'],
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        currentDate: new Date(this.clock.now()),
      });
      return payload as JWTPayload & { exp: number };
    } catch (error) {
      if (error instanceof errors.JOSEError) throw unauthorized(whatIsWrong(error), 'token');
      // A key that is too short.
      if (error instanceof TypeError) throw unauthorized(OTHERWISE, 'token');
      throw error;
    }
  }
}

/** For who holds the token: never more than its holder can read in it. */
function whatIsWrong(error: errors.JOSEError): string {
  if (error instanceof errors.JWTExpired) return 'The token has expired: get a fresh one from its issuer.';
  if (error instanceof errors.JWTClaimValidationFailed)
    return `The claim ${error.claim} of the token is missing or not what this service takes.`;
  return OTHERWISE;
}

const OTHERWISE =
  'The token is not one that this service takes: it was signed otherwise, by another, or changed since.';

function openKeys(config: Config, clock: Clock): KeyOf {
  const { AUTH_JWKS_URL, AUTH_JWT_PUBLIC_KEY, AUTH_JWT_SECRET } = config;
  if (AUTH_JWKS_URL !== undefined) return remoteKeys(new URL(AUTH_JWKS_URL), clock);
  const key =
    AUTH_JWT_PUBLIC_KEY === undefined
      ? createSecretKey(Buffer.from(AUTH_JWT_SECRET!))
      : createPublicKey(AUTH_JWT_PUBLIC_KEY);
  return () => Promise.resolve(key);
}

/**
 * The keys that an issuer publishes, chosen by `kid`. They are fetched beside the requests, so that those that are known
 * go on working, and nobody waits, while the issuer does not answer. A key that nobody knows has to wait for it.
 */
function remoteKeys(url: URL, clock: Clock): KeyOf {
  const log = new Logger('Auth');
  const keys = createRemoteJWKSet(url, {
    timeoutDuration: JWKS_TIMEOUT_MS,
    cooldownDuration: JWKS_COOLDOWN_MS,
    cacheMaxAge: Infinity,
  });
  let retryAt = -Infinity;
  let renewAt = clock.monotonic() + JWKS_MAX_AGE_MS;
  const renew = async (): Promise<void> => {
    renewAt = clock.monotonic() + JWKS_COOLDOWN_MS;
    try {
      await keys.reload();
      renewAt = clock.monotonic() + JWKS_MAX_AGE_MS;
    } catch (error) {
      log.warn({ reason: reasonOf(error as Error), msg: 'the keys of AUTH_JWKS_URL cannot be renewed' });
    }
  };
  return async (header, token) => {
    if (clock.monotonic() >= renewAt) void renew();
    const refuse = (cause?: Error): Problem =>
      new Problem('keys-unavailable', 'Ask again after the time in Retry-After.', {
        headers: { 'retry-after': String(JWKS_RETRY_SECONDS) },
        cause,
      });
    // An issuer that comes back must not be met by a question for each token that somebody makes up.
    const isDown = clock.monotonic() < retryAt;
    const published = (): KeyOf => createLocalJWKSet(keys.jwks() ?? { keys: [] });
    try {
      return await (isDown ? published() : keys)(header, token);
    } catch (error) {
      const isUnknown = error instanceof errors.JWKSNoMatchingKey;
      // The log was told what is the matter when it was found.
      if (isDown && isUnknown) throw refuse();
      if (isUnknown || error instanceof errors.JWKSMultipleMatchingKeys) throw error;
      if (isDown || (await knows(published(), header, token)))
        throw new errors.JWKInvalid('a key that is published is no key', { cause: error });
      retryAt = clock.monotonic() + JWKS_RETRY_SECONDS * 1_000;
      throw refuse(new Error(`AUTH_JWKS_URL gives no keys: ${reasonOf(error as Error)}`));
    }
  };
}

/** `fetch failed` tells nobody anything; its cause does. */
function reasonOf({ message, cause }: Error): string {
  const { code, message: behind } = (cause ?? {}) as { code?: string; message?: string };
  return cause === undefined ? message : `${message} (${code ?? behind})`;
}

/** Whether there is a key that the token names, fit or not. */
async function knows(keyOf: KeyOf, ...token: Parameters<KeyOf>): Promise<boolean> {
  return keyOf(...token).then(
    () => true,
    (error: unknown) => !(error instanceof errors.JWKSNoMatchingKey),
  );
}
