import { type FastifyRequest } from 'fastify';
import { Problem } from '../http/problem.js';

/** The token of `Authorization: Bearer` (RFC 6750, 2.1); nowhere else is one looked for. */
export function bearerOf({ headers }: FastifyRequest): string | undefined {
  return /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
}

/**
 * Whether a text is a JWS as it is written (RFC 7515, 7.1). Decoders let more pass: one token in many spellings would be
 * many to a cache.
 */
export function isJws(text: string): boolean {
  return /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text);
}

const INVALID_TOKEN = 'Bearer error="invalid_token"';

/** 401 for a request without a token that is good enough; the challenge tells whether one was sent (RFC 6750, 3). */
export function unauthorized(detail: string, sent: 'token' | 'none'): Problem {
  const challenge = sent === 'token' ? INVALID_TOKEN : 'Bearer';
  return new Problem('unauthorized', detail, { headers: { 'www-authenticate': challenge } });
}

/** 401 for a token that is valid, but whose claims name no user, device or plan that this service can use. */
export function tokenUnusable(detail: string): Problem {
  return new Problem('token-unusable', detail, { headers: { 'www-authenticate': INVALID_TOKEN } });
}
