import { type FastifyRequest } from 'fastify';
import { Problem } from '../http/problem.js';

/** The token of the header `Authorization: Bearer` (RFC 6750, 2.1). Tokens elsewhere are ignored. */
export function bearerOf({ headers }: FastifyRequest): string | undefined {
  return /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
}

/**
 * Whether a text has the form of a JWS (RFC 7515, 7.1). Decoders also accept other spellings, which would be different
 * keys in a cache.
 */
export function isJws(text: string): boolean {
  return /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text);
}

const INVALID_TOKEN = 'Bearer error="invalid_token"';

/** The problem (401) for a missing or invalid token. The challenge says whether a token was sent (RFC 6750, 3). */
export function unauthorized(detail: string, sent: 'token' | 'none'): Problem {
  const challenge = sent === 'token' ? INVALID_TOKEN : 'Bearer';
  return new Problem('unauthorized', detail, { headers: { 'www-authenticate': challenge } });
}

/** The problem (401) for a valid token whose claims name no user, device or plan that this service can use. */
export function tokenUnusable(detail: string): Problem {
  return new Problem('token-unusable', detail, { headers: { 'www-authenticate': INVALID_TOKEN } });
}
