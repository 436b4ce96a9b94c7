import {
  type CanActivate,
  type ExecutionContext,
  Injectable,
  SetMetadata,
  UseGuards,
  applyDecorators,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { ApiBearerAuth } from '@nestjs/swagger';
import { type FastifyRequest } from 'fastify';
import { type Scope } from '../config/config.js';
import { API_TOKEN, ApiProblems } from '../http/docs.js';
import { ApiTokens } from './api-tokens.js';

const SCOPE = 'scope';

/** Of a route, or of all of a controller's: only for who bears an API token with this scope. */
export function NeedsScope(scope: Scope) {
  return applyDecorators(
    SetMetadata(SCOPE, scope),
    UseGuards(ScopeGuard),
    ApiBearerAuth(API_TOKEN),
    ApiProblems('unauthorized', 'forbidden'),
  );
}

@Injectable()
class ScopeGuard implements CanActivate {
  constructor(
    private readonly tokens: ApiTokens,
    private readonly reflector: Reflector,
  ) {}

  canActivate(context: ExecutionContext): boolean {
    const places = [context.getHandler(), context.getClass()];
    const scope = this.reflector.getAllAndOverride<Scope>(SCOPE, places);
    this.tokens.demand(context.switchToHttp().getRequest<FastifyRequest>(), scope);
    return true;
  }
}
