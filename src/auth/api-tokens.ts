import { hash, timingSafeEqual } from 'node:crypto';
import { Injectable, Logger } from '@nestjs/common';
import { type FastifyRequest } from 'fastify';
import { type ApiToken, Config, SCOPES, type Scope } from '../config/config.js';
import { Problem } from '../http/problem.js';
import { bearerOf, unauthorized } from './bearer.js';

/** What services and operators bear: INTERNAL_API_TOKEN, which may do everything, and those of API_TOKENS. */
@Injectable()
export class ApiTokens {
  private readonly log = new Logger('Auth');
  private readonly tokens: readonly ApiToken[];
  /** The scopes that somebody has to have: without a token for it, /internal is open (never in production). */
  private readonly guarded: ReadonlySet<Scope>;

  constructor({ INTERNAL_API_TOKEN: internal, apiTokens }: Config) {
    this.tokens = [
      ...(internal === undefined ? [] : [{ name: 'internal', scopes: SCOPES, sha256: sha256(internal) }]),
      ...apiTokens,
    ];
    // Metrics are for scrapers, most of which bear nothing: guarded only where a token was made for them.
    const forMetrics = apiTokens.some(({ scopes }) => scopes.includes('metrics'));
    this.guarded = new Set(
      SCOPES.filter((scope) => (scope === 'metrics' ? forMetrics : this.tokens.length > 0)),
    );
  }

  /** The API token that the request bears. Compared with every one in constant time: what is close is not told. */
  find(request: FastifyRequest): ApiToken | undefined {
    const bearer = bearerOf(request);
    if (bearer === undefined) return undefined;
    const digest = sha256(bearer);
    return this.tokens.filter((token) => timingSafeEqual(digest, token.sha256))[0];
  }

  /** Lets a request through that bears a token with this scope, and any where none is guarded: 401 or 403 else. */
  demand(request: FastifyRequest, scope: Scope): void {
    if (!this.guarded.has(scope)) return;
    const token = this.find(request);
    if (token !== undefined) this.allow(request, token, scope);
    else
      throw unauthorized(
        `Send the header Authorization: Bearer with a token that has the scope ${scope}.`,
        bearerOf(request) === undefined ? 'none' : 'token',
      );
  }

  /** 403 where the token does not have the scope. What it changes is in the log, by the token's name. */
  allow({ method }: FastifyRequest, { name, scopes }: ApiToken, scope: Scope): void {
    if (!scopes.includes(scope))
      throw new Problem('forbidden', `The token has not the scope ${scope}, which this takes.`);
    if (method !== 'GET' && method !== 'HEAD') this.log.log({ token: name, scope, msg: 'an API token acts' });
  }
}

function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}
