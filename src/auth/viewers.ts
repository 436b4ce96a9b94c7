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

/** A verified token is verified anew after so long, so that tokens of a withdrawn key stop working soon. */
const VERIFIED_MS = 60_000;
/** About 300 bytes each. */
const MAX_VERIFIED = 50_000;

/** A person who watches, as a token or, with AUTH_MODE=none, the request names them. */
export interface Viewer {
  readonly userId: string;
  /** The user as the issuer names them, where that differs from `userId`. */
  readonly subject: string | undefined;
  /** What the user may hold, by the plan that the token names. */
  readonly quota: Quota;
  /** The end of the token, Unix milliseconds. */
  readonly until: number;
  /** The device that the token names, which wins over what a request says. */
  readonly deviceId: string | undefined;
}

/** Identifies viewers: by the token of their issuer, or with AUTH_MODE=none by the user that the request names. */
@Injectable()
export class Viewers {
  private readonly verifier: TokenVerifier | undefined;
  /** By the token's digest, so that a dump of the memory holds no token. */
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
   * The viewer, where the request's token was verified lately or AUTH_MODE is none; undefined where `of` must be asked.
   * `user` is how the request names the user: by our id or by the issuer's subject. 403 if the token is another user's.
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
    return known && this.clock.now() < known.checkAt ? named(known.viewer, user) : undefined;
  }

  /**
   * The viewer. The token is verified unless that was done lately. Problems: 401 without a valid token and for one whose
   * claims cannot be used, 403 as for `known`, 503 where the key of the token cannot be fetched.
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
    return named(viewer, user);
  }

  /** The user that the claim USER_ID_CLAIM names. */
  private userOf(claims: JWTPayload): Pick<Viewer, 'userId' | 'subject'> {
    const { USER_ID_CLAIM: claim } = this.config;
    const subject = Object.hasOwn(claims, claim) ? claims[claim] : undefined;
    const userId = typeof subject === 'string' ? userIdOf(subject) : undefined;
    if (userId === undefined) throw unusableText(claim, 'user');
    return { userId, subject: subject === userId ? undefined : (subject as string) };
  }

  /** The device that the claim DEVICE_ID_CLAIM names. A token without the claim names none. */
  private deviceOf(claims: JWTPayload): string | undefined {
    const { DEVICE_ID_CLAIM: claim } = this.config;
    if (claim === undefined || !Object.hasOwn(claims, claim)) return undefined;
    const device = claims[claim];
    const id = typeof device === 'string' ? userIdOf(device) : undefined;
    if (id === undefined) throw unusableText(claim, 'device');
    return id;
  }

  /** A value that is no plan is refused: the default instead of it could be more than was paid for, or less. */
  private quotaOf(claims: JWTPayload): Quota {
    const { STREAM_LIMIT_CLAIM: claim, MAX_SESSIONS_CEILING: ceiling } = this.config;
    const value = Object.hasOwn(claims, claim) ? claims[claim] : undefined;
    if (value === undefined || value === null) return this.quota;
    // Keycloak writes an attribute as a list of one element, unless its mapper says otherwise.
    const given: unknown = Array.isArray(value) && value.length === 1 ? value[0] : value;
    // Some issuers have text alone, Amazon Cognito among them.
    const limit = typeof given === 'string' && /^\d+$/.test(given) ? Number(given) : given;
    if (!Number.isInteger(limit) || (limit as number) < 1)
      throw tokenUnusable(`The claim ${claim} of the token must be a whole number, 1 or more.`);
    return { maxSessions: Math.min(limit as number, ceiling) };
  }
}

/** The device that a request is for: the token's id wins over the request's. */
export function deviceOf({ deviceId }: Viewer, given: Device | undefined): Device | undefined {
  return deviceId === undefined ? given : { ...given, id: deviceId };
}

/**
 * Checks that the request names this viewer or nobody; 403 if it names another user. A subject may have the form of another
 * user's id: whoever handles the request takes `userId` of the viewer, never the name in the request.
 */
export function named(viewer: Viewer, user: string | undefined): Viewer {
  if (user === undefined || user === viewer.userId || user === viewer.subject) return viewer;
  // The same whether there is such a user, or such a session, or not.
  throw new Problem('not-your-session', 'Ask for what belongs to the user whom the token names.');
}

function unusableText(claim: string, what: 'user' | 'device'): Problem {
  return tokenUnusable(
    `The claim ${claim} of the token must name the ${what}: a text of 1 to ${MAX_SUBJECT_BYTES} bytes.`,
  );
}

function digest(token: string): string {
  return hash('sha256', token, 'base64');
}
