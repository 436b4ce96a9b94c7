import { hash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { type FastifyRequest } from 'fastify';
import { type JWTPayload } from 'jose';
import { LRUCache } from 'lru-cache';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { ID, ID_RULE } from '../http/fields.js';
import { Problem } from '../http/problem.js';
import { type Device } from '../sessions/device.js';
import { type Quota } from '../sessions/quota.js';
import { bearerOf, unauthorized } from './bearer.js';
import { userIdOf } from './subjects.js';
import { TokenVerifier } from './token-verifier.js';

/** A verified token is verified anew after so long, so that tokens of a withdrawn key stop working soon. */
const VERIFIED_MS = 60_000;
/** About 300 bytes each. */
const MAX_VERIFIED = 50_000;

/** A person who watches, as a token or, with AUTH_MODE=none, the request names them. */
export interface Viewer {
  readonly userId: string;
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
   * `userId` is the user that the request names; 403 where the token is another user's.
   */
  known(request: FastifyRequest, userId: string | undefined): Viewer | undefined {
    if (this.verifier === undefined)
      return { userId: userId!, quota: this.quota, until: Infinity, deviceId: undefined };
    const token = bearerOf(request);
    const known = token === undefined ? undefined : this.verified.get(digest(token));
    return known && this.clock.now() < known.checkAt ? named(known.viewer, userId) : undefined;
  }

  /** The viewer, whose token is verified where it has to be. 401 without a good token, 403 as for `known`. */
  async of(request: FastifyRequest, userId: string | undefined): Promise<Viewer> {
    const known = this.known(request, userId);
    if (known !== undefined) return known;
    const token = bearerOf(request);
    if (token === undefined)
      throw unauthorized('Send the header Authorization: Bearer with a token of the viewer.', 'none');
    const claims = await this.verifier!.verify(token);
    const { sub, exp } = claims;
    if (typeof sub !== 'string' || !ID.test(sub))
      throw unauthorized(`The claim sub of the token is no id: it ${ID_RULE}.`, 'token');
    const deviceId = this.deviceOf(claims);
    const viewer = { userId: sub, quota: this.quotaOf(claims), until: exp * 1_000, deviceId };
    const checkAt = Math.min(viewer.until, this.clock.now() + VERIFIED_MS);
    this.verified.set(digest(token), { viewer, checkAt });
    return named(viewer, userId);
  }

  /** The device that the claim DEVICE_ID_CLAIM names. A token without the claim names none. */
  private deviceOf(claims: JWTPayload): string | undefined {
    const { DEVICE_ID_CLAIM: claim } = this.config;
    if (claim === undefined || !Object.hasOwn(claims, claim)) return undefined;
    const named = claims[claim];
    const id = typeof named === 'string' ? userIdOf(named) : undefined;
    if (id === undefined)
      throw unauthorized(`The claim ${claim} of the token must be a text that names the device.`, 'token');
    return id;
  }

  /** What is no plan is refused: a default in its place could be more than was paid for, or less. */
  private quotaOf(claims: JWTPayload): Quota {
    const { STREAM_LIMIT_CLAIM: claim, MAX_SESSIONS_CEILING: ceiling } = this.config;
    if (!Object.hasOwn(claims, claim)) return this.quota;
    const given = claims[claim];
    // Some issuers have text alone, Amazon Cognito among them.
    const limit = typeof given === 'string' && /^\d+$/.test(given) ? Number(given) : given;
    if (!Number.isInteger(limit) || (limit as number) < 1)
      throw unauthorized(`The claim ${claim} of the token must be a whole number, 1 or more.`, 'token');
    return { maxSessions: Math.min(limit as number, ceiling) };
  }
}

/** The device that a request is for: the token's id wins over the request's. */
export function deviceOf({ deviceId }: Viewer, given: Device | undefined): Device | undefined {
  return deviceId === undefined ? given : { ...given, id: deviceId };
}

function named(viewer: Viewer, userId: string | undefined): Viewer {
  if (userId === undefined || userId === viewer.userId) return viewer;
  // The same whether there is such a user, or such a session, or not.
  throw new Problem('not-your-session', 'Ask for what belongs to the user whom the token names.');
}

function digest(token: string): string {
  return hash('sha256', token, 'base64');
}
