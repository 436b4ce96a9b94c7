import { type FastifyRequest } from 'fastify';
import { Problem } from '../http/problem.js';

/** The token of `Authorization: Bearer` (RFC 6750, 2.1); nowhere else is one looked for. */
export function bearerOf({ headers }: FastifyRequest): string | undefined {
  return /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
}

/** 401 for a request without a token that is good enough; the challenge tells whether one was sent (RFC 6750, 3). */
export function unauthorized(detail: string, sent: 'token' | 'none'): Problem {
  const challenge = sent === 'token' ? 'Bearer error="invalid_token"' : 'Bearer';
  return new Problem('unauthorized', detail, { headers: { 'www-authenticate': challenge } });
}
