import { hash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { type FastifyRequest } from 'fastify';
import { type JWTPayload } from 'jose';
import { LRUCache } from 'lru-cache';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { Problem } from '../http/problem.js';
import { type Device } from '../sessions/device.js';
import { type Quota } from '../sessions/quota.js';
import { bearerOf, tokenUnusable, unauthorized } from './bearer.js';
import { MAX_SUBJECT_BYTES, userIdOf } from './subjects.js';
import { TokenVerifier } from './token-verifier.js';

/** A verified token is verified again after this time, so that tokens of a withdrawn key soon stop working. */
const VERIFIED_MS = 60_000;
/** The maximum number of cached tokens, of about 300 bytes each. */
const MAX_VERIFIED = 50_000;

/** A person who watches, identified by a token or, with AUTH_MODE=none, by the user in the request. */
export interface Viewer {
  readonly userId: string;
  /** The issuer's name of the user, if it differs from `userId`. */
  readonly subject: string | undefined;
  /** What the user may hold, by the plan in the token. */
  readonly quota: Quota;
  /** The expiry of the token, in Unix milliseconds. */
  readonly until: number;
  /** The device in the token, which takes precedence over the one in a request. */
  readonly deviceId: string | undefined;
}

/** Identifies viewers: by the token of their issuer, or with AUTH_MODE=none by the user that the request names. */
@Injectable()
export class Viewers {
  private readonly verifier: TokenVerifier | undefined;
  /** By the digest of the token, so that a dump of the memory contains no token. */
  private readonly verified = new LRUCache<string, { readonly viewer: Viewer; readonly checkAt: number }>({
    max: MAX_VERIFIED,
  });
  private readonly quota: Quota;

  constructor(
    private readonly config: Config,
    private readonly clock: Clock,
  ) {
    this.quota = config.policy.quota;
    this.verifier = config.AUTH_MODE === 'jwt' ? new TokenVerifier(config, clock) : undefined;
  }

  /**
   * The viewer, if the token of the request was verified recently or AUTH_MODE is none. Otherwise undefined: call `of`.
   * `user` is the user id or the subject in the request. Throws a problem (403) if the token is of another user.
   */
  known(request: FastifyRequest, user: string | undefined): Viewer | undefined {
    if (this.verifier === undefined)
      return {
        userId: user!,
        subject: undefined,
        quota: this.quota,
        until: Infinity,
        deviceId: undefined,
      };
    const token = bearerOf(request);
    const known = token === undefined ? undefined : this.verified.get(digest(token));
    return known && this.clock.now() < known.checkAt ? checkUser(known.viewer, user) : undefined;
  }

  /**
   * The viewer. Verifies the token, unless that was done recently. Throws a problem: 401 without a valid token or if
   * its claims cannot be used, 403 like `known`, 503 if the key of the token cannot be fetched.
   */
  async of(request: FastifyRequest, user: string | undefined): Promise<Viewer> {
    const known = this.known(request, user);
    if (known !== undefined) return known;
    const token = bearerOf(request);
    if (token === undefined)
      throw unauthorized('Send the header Authorization: Bearer with a token of the viewer.', 'none');
    const claims = await this.verifier!.verify(token);
    const viewer: Viewer = {
      ...this.userOf(claims),
      quota: this.quotaOf(claims),
      until: claims.exp * 1_000,
      deviceId: this.deviceOf(claims),
    };
    const checkAt = Math.min(viewer.until, this.clock.now() + VERIFIED_MS);
    this.verified.set(digest(token), { viewer, checkAt });
    return checkUser(viewer, user);
  }

  /** The user in the claim USER_ID_CLAIM. */
  private userOf(claims: JWTPayload): Pick<Viewer, 'userId' | 'subject'> {
    const { USER_ID_CLAIM: claim } = this.config;
    const subject = valueOf(claims, claim);
    const userId = typeof subject === 'string' ? userIdOf(subject) : undefined;
    if (userId === undefined) throw unusableText(claim, 'user');
    return { userId, subject: subject === userId ? undefined : (subject as string) };
  }

  /** The device in the claim DEVICE_ID_CLAIM, or undefined without the claim. */
  private deviceOf(claims: JWTPayload): string | undefined {
    const { DEVICE_ID_CLAIM: claim } = this.config;
    if (claim === undefined) return undefined;
    const device = valueOf(claims, claim);
    if (device === undefined) return undefined;
    const id = typeof device === 'string' ? userIdOf(device) : undefined;
    if (id === undefined) throw unusableText(claim, 'device');
    return id;
  }

  /**
   * The plan in the claim STREAM_LIMIT_CLAIM. An invalid value is refused, because the default could be wrong for this
   * user.
   */
  private quotaOf(claims: JWTPayload): Quota {
    const { STREAM_LIMIT_CLAIM: claim, MAX_SESSIONS_CEILING: ceiling } = this.config;
    const given = valueOf(claims, claim);
    if (given === undefined) return this.quota;
    // Some issuers, such as Amazon Cognito, can only write text.
    const limit = typeof given === 'string' && /^\d+$/.test(given) ? Number(given) : given;
    if (!Number.isInteger(limit) || (limit as number) < 1)
      throw tokenUnusable(`The claim ${claim} of the token must be a whole number, 1 or more.`);
    return { maxSessions: Math.min(limit as number, ceiling) };
  }
}

/** The device of a request. The id in the token takes precedence over the one in the request. */
export function deviceOf({ deviceId }: Viewer, given: Device | undefined): Device | undefined {
  return deviceId === undefined ? given : { ...given, id: deviceId };
}

/**
 * Returns the viewer if the request names this user or no user; throws a problem (403) if it names another one. A
 * subject may have the form of another user's id, so that handlers must use `userId` of the viewer, not the name in the
 * request.
 */
export function checkUser(viewer: Viewer, user: string | undefined): Viewer {
  if (user === undefined || user === viewer.userId || user === viewer.subject) return viewer;
  // The answer is the same whether or not that user or session exists.
  throw new Problem(
    'not-your-session',
    'The token is for another user: request only what belongs to its user.',
  );
}

/**
 * The value of a claim. A list of one element counts as the element, because Keycloak writes attributes so, unless its
 * mapper says otherwise. Undefined without the claim; a claim of `null` is no claim.
 */
function valueOf(claims: JWTPayload, claim: string): unknown {
  const value = Object.hasOwn(claims, claim) ? claims[claim] : undefined;
  return Array.isArray(value) && value.length === 1 ? value[0] : (value ?? undefined);
}

function unusableText(claim: string, what: 'user' | 'device'): Problem {
  return tokenUnusable(
    `The claim ${claim} of the token must name the ${what}: a text of 1 to ${MAX_SUBJECT_BYTES} bytes.`,
  );
}

function digest(token: string): string {
  return hash('sha256', token, 'base64');
}
