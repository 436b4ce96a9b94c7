import { hash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { type FastifyRequest } from 'fastify';
import { type JWTPayload } from 'jose';
import { LRUCache } from 'lru-cache';
import { Clock } from '../clock.js';
import { Config, type Scope } from '../config/config.js';
import { ID, ID_RULE } from '../http/fields.js';
import { Problem } from '../http/problem.js';
import { type Quota } from '../sessions/quota.js';
import { ApiTokens } from './api-tokens.js';
import { bearerOf, unauthorized } from './bearer.js';
import { TokenVerifier } from './token-verifier.js';

/** For so long at most a token is good without being looked at again, so that a key that was withdrawn ends soon. */
const VERIFIED_MS = 60_000;
/** About 300 bytes each. */
const MAX_VERIFIED = 50_000;

/** Who watches. */
export interface Viewer {
  readonly userId: string;
  /** What the user may hold, by the plan that the token names. */
  readonly quota: Quota;
  /** When this is to be shown again, Unix milliseconds: the end of the token. */
  readonly until: number;
}

/** Tells who asks. With AUTH_MODE=none that is whoever the request says. */
@Injectable()
export class Viewers {
  private readonly verifier: TokenVerifier | undefined;
  /** By digest: whoever reads the memory finds no token. */
  private readonly verified = new LRUCache<string, { readonly viewer: Viewer; readonly checkAt: number }>({
    max: MAX_VERIFIED,
  });
  private readonly quota: Quota;

  constructor(
    private readonly config: Config,
    private readonly clock: Clock,
    private readonly apiTokens: ApiTokens,
  ) {
    this.quota = config.policy.quota;
    this.verifier = config.AUTH_MODE === 'jwt' ? new TokenVerifier(config, clock) : undefined;
  }

  /**
   * Who asks, where that is known without waiting: nearly always, as a client asks again with the token of before.
   * `userId` is whom the request names; 403 where that is somebody else.
   */
  known(request: FastifyRequest, userId: string | undefined): Viewer | undefined {
    if (this.verifier === undefined) return { userId: userId!, quota: this.quota, until: Infinity };
    const token = bearerOf(request);
    const known = token === undefined ? undefined : this.verified.get(digest(token));
    return known && this.clock.now() < known.checkAt ? named(known.viewer, userId) : undefined;
  }

  /** As `known`, for who can wait. 401 where nobody is told by a token that is good. */
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
    const viewer = { userId: sub, quota: this.quotaOf(claims), until: exp * 1_000 };
    const checkAt = Math.min(viewer.until, this.clock.now() + VERIFIED_MS);
    this.verified.set(digest(token), { viewer, checkAt });
    return named(viewer, userId);
  }

  /** As `of`, and a service or operator besides, with this scope: for every user, and undefined by itself. */
  async orService(request: FastifyRequest, userId: string, scope: Scope): Promise<Viewer | undefined> {
    const token = this.apiTokens.find(request);
    if (token === undefined) return this.of(request, userId);
    this.apiTokens.allow(request, token, scope);
    return undefined;
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

function named(viewer: Viewer, userId: string | undefined): Viewer {
  if (userId === undefined || userId === viewer.userId) return viewer;
  // The same whether there is such a user, or such a session, or not.
  throw new Problem('not-your-session', 'Ask for what belongs to the user whom the token names.');
}

function digest(token: string): string {
  return hash('sha256', token, 'base64');
}
