import { timingSafeEqual, createHash } from 'node:crypto';
import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { type FastifyRequest } from 'fastify';
import { Config } from '../config.js';
import { Problem } from './problem.js';

/** Lets a request through that bears INTERNAL_API_TOKEN, or any request where none is set (never in production). */
@Injectable()
export class InternalTokenGuard implements CanActivate {
  private readonly expected: Buffer | undefined;

  constructor(config: Config) {
    this.expected = config.INTERNAL_API_TOKEN === undefined ? undefined : digest(config.INTERNAL_API_TOKEN);
  }

  canActivate(context: ExecutionContext): boolean {
    if (this.expected === undefined) return true;
    const { authorization = '' } = context.switchToHttp().getRequest<FastifyRequest>().headers;
    const [, token = ''] = /^Bearer +(\S+)$/i.exec(authorization) ?? [];
    if (timingSafeEqual(digest(token), this.expected)) return true;
    throw new Problem('unauthorized', 'Send the header Authorization: Bearer with the internal token.', {
      headers: { 'www-authenticate': 'Bearer' },
    });
  }
}

/** Equal lengths, whatever is sent: a comparison in constant time needs them. */
function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
