import { hash, timingSafeEqual } from 'node:crypto';
import { Injectable, Logger } from '@nestjs/common';
import { type FastifyRequest } from 'fastify';
import { type ApiToken, Config, SCOPES, type Scope } from '../config/config.js';
import { Problem } from '../http/problem.js';
import { bearerOf, unauthorized } from './bearer.js';

/** The tokens of services and operators: INTERNAL_API_TOKEN, which has every scope, and those of API_TOKENS. */
@Injectable()
export class ApiTokens {
  private readonly log = new Logger('Auth');
  private readonly tokens: readonly ApiToken[];
  /** The scopes that need a token. If no token is configured, /internal is public (never in production). */
  private readonly scopesWithToken: ReadonlySet<Scope>;

  constructor({ INTERNAL_API_TOKEN: internal, apiTokens }: Config) {
    this.tokens = [
      ...(internal === undefined ? [] : [{ name: 'internal', scopes: SCOPES, sha256: sha256(internal) }]),
      ...apiTokens,
    ];
    // Most scrapers send no token, so that metrics need one only if a token with this scope is configured.
    const forMetrics = apiTokens.some(({ scopes }) => scopes.includes('metrics'));
    this.scopesWithToken = new Set(
      SCOPES.filter((scope) => (scope === 'metrics' ? forMetrics : this.tokens.length > 0)),
    );
  }

  /**
   * The API token of the request, or null if the scope needs none. Throws a problem: 401 without a valid token, 403 for
   * a token without the scope.
   */
  demand(request: FastifyRequest, scope: Scope): ApiToken | null {
    if (!this.scopesWithToken.has(scope)) return null;
    const token = this.bearer(request, scope);
    if (token !== undefined) return token;
    throw unauthorized(
      `Send the header Authorization: Bearer with a token that has the scope ${scope}.`,
      bearerOf(request) === undefined ? 'none' : 'token',
    );
  }

  /**
   * The API token of the request, or undefined if it has none. Throws a problem (403) for a token without the scope.
   * Logs the name of the token if the request changes something.
   */
  bearer(request: FastifyRequest, scope: Scope): ApiToken | undefined {
    const token = this.find(request);
    if (token === undefined) return undefined;
    if (!token.scopes.includes(scope))
      throw new Problem('forbidden', `Use a token that has the scope ${scope}: this one does not have it.`);
    if (request.method !== 'GET' && request.method !== 'HEAD')
      this.log.log({ token: token.name, scope, msg: 'an API token acts' });
    return token;
  }

  private find(request: FastifyRequest): ApiToken | undefined {
    const bearer = bearerOf(request);
    return bearer === undefined ? undefined : this.of(bearer);
  }

  /**
   * The API token with this text, if there is one. Compares with every token in constant time, so that the time does not
   * show how close a guess was.
   */
  of(text: string): ApiToken | undefined {
    const digest = sha256(text);
    return this.tokens.filter((token) => timingSafeEqual(digest, token.sha256))[0];
  }
}

function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}
