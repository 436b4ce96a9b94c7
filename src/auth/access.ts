import { SetMetadata, applyDecorators } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import { ApiBearerAuth } from '@nestjs/swagger';
import { type FastifyRequest } from 'fastify';
import { type ApiToken, type Scope } from '../config/config.js';
import { API_TOKEN, ApiProblems, VIEWER_TOKEN } from '../http/docs.js';
import { Problem } from '../http/problem.js';
import { type Player } from './players.js';
import { MAX_SUBJECT_BYTES, userIdOfName } from './subjects.js';
import { type TicketUse } from './tickets.js';
import { type Viewer } from './viewers.js';

/** The callers that a route answers. AccessControl enforces it; a route without one answers 401 to everybody. */
export type Access =
  | { readonly to: 'everybody' }
  | { readonly to: 'viewers'; readonly needsAddress: boolean }
  | {
      readonly to: 'viewers-and-services';
      readonly scope: Scope;
      /** The use of the tickets that identify a viewer in the query; undefined if the route accepts no ticket. */
      readonly ticket: TicketUse | undefined;
    }
  | { readonly to: 'services'; readonly scope: Scope }
  | { readonly to: 'players'; readonly uses: readonly TicketUse[] };

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access;
  }
  interface FastifyRequest {
    /** The caller that AccessControl identified; null before that, and on a public route. */
    caller: Viewer | Player | ApiToken | null;
  }
}

const ACCESS = 'access';

/**
 * Marks a route, or all routes of a controller that have no mark of their own. Fastify passes the mark to AccessControl
 * in the configuration of the route, so that requests need no look-up.
 */
function mark(access: Access): ClassDecorator & MethodDecorator {
  const markHandler = applyDecorators(SetMetadata(ACCESS, access), RouteConfig({ access }));
  return (target: object, name?: string | symbol, descriptor?: PropertyDescriptor) => {
    if (descriptor !== undefined) {
      markHandler(target, name, descriptor);
      return;
    }
    const { prototype } = target as { readonly prototype: object };
    for (const [member, method] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      const handler: unknown = method.value;
      if (member === 'constructor' || typeof handler !== 'function') continue;
      if (!Reflect.hasMetadata(ACCESS, handler)) markHandler(prototype, member, method);
    }
  };
}

/** For every caller, without a token. */
export function Public() {
  return mark({ to: 'everybody' });
}

/**
 * For viewers. `user_id` in the path or the body may name the viewer, by the user id or by the issuer's subject; for
 * another user the answer is 403. The handler gets the viewer from `viewerOf` and must not use `user_id` as a user id.
 *
 * The viewer is identified after Fastify's schemas have checked the request (`@RouteSchema`) and before pipes run. So
 * give the route a schema for its parameters too: a pipe would answer 422 after 401.
 *
 * `needsAddress`: the reply contains URLs of this service, so that an invalid `Host` is answered 400 first.
 */
export function ForViewers({ needsAddress = false } = {}) {
  return applyDecorators(mark({ to: 'viewers', needsAddress }), ApiBearerAuth(VIEWER_TOKEN));
}

/**
 * For viewers like `ForViewers`, and for services whose API token has the scope, which may name any user. The handler
 * distinguishes them with `viewerOrService`, and gets the user from `userIdOfPath`.
 *
 * `ticket`: if the query has a ticket, it must be of this use and identifies the viewer, and the header is ignored.
 * This is for clients that cannot send a header.
 */
export function ForViewersOrServices(scope: Scope, { ticket }: { readonly ticket?: TicketUse } = {}) {
  return applyDecorators(
    mark({ to: 'viewers-and-services', scope, ticket }),
    ApiBearerAuth(VIEWER_TOKEN),
    ApiBearerAuth(API_TOKEN),
  );
}

/** For services and operators whose API token has the scope. Public if no token is configured (never in production). */
export function NeedsScope(scope: Scope) {
  return applyDecorators(
    mark({ to: 'services', scope }),
    ApiBearerAuth(API_TOKEN),
    ApiProblems('unauthorized', 'forbidden'),
  );
}

/**
 * For players: `ticket` in the query identifies the session; with AUTH_MODE=none `user_id` and `session_id` can do so.
 * The handler gets the player from `playerOf`. As with `ForViewers`, a schema must check parameters and query.
 */
export function ForPlayers(use: TicketUse | readonly TicketUse[]) {
  return mark({ to: 'players', uses: typeof use === 'string' ? [use] : use });
}

/** The viewer who sent the request, on a route for viewers. */
export function viewerOf(request: FastifyRequest): Viewer {
  const viewer = viewerOrService(request);
  if (viewer === undefined) throw new Error('a service reached a handler that is only for viewers');
  return viewer;
}

/** The viewer who sent the request, or undefined if a service or an operator sent it. */
export function viewerOrService({ caller }: FastifyRequest): Viewer | undefined {
  if (caller === null || 'self' in caller) throw new Error('the route is not marked as one for viewers');
  return 'userId' in caller ? caller : undefined;
}

/**
 * The id of the user in the path: the viewer, or for a service the user with that id or subject. Throws a problem (422)
 * if the name is neither an id nor a subject.
 */
export function userIdOfPath(request: FastifyRequest): string {
  const viewer = viewerOrService(request);
  if (viewer !== undefined) return viewer.userId;
  return userIdNamed((request.params as { readonly user_id: string }).user_id);
}

/** The id of the user whom a service names as `user_id`. Throws a problem (422) if the name is neither an id nor a subject. */
export function userIdNamed(name: string): string {
  const userId = userIdOfName(name);
  if (userId === undefined)
    throw Problem.invalidRequest([
      { field: 'user_id', message: `must be an id, or a subject of 1 to ${MAX_SUBJECT_BYTES} bytes` },
    ]);
  return userId;
}

/** The player that sent the request, on a route for players. */
export function playerOf({ caller }: FastifyRequest): Player {
  if (caller === null || !('self' in caller)) throw new Error('the route is not marked as one for players');
  return caller;
}

/** An operator or a service, by its API token. */
interface Operator {
  /** Undefined if no token is configured. */
  readonly name: string | undefined;
  /** The scope that the route needs. */
  readonly scope: Scope;
}

/** The operator or service that sent the request; undefined for a viewer, and on a route that needs no scope. */
export function operatorOf(request: FastifyRequest): Operator | undefined {
  const { access } = request.routeOptions.config;
  const name = tokenNameOf(request);
  const isByOperator =
    access?.to === 'services' || (access?.to === 'viewers-and-services' && name !== undefined);
  return isByOperator ? { name, scope: access.scope } : undefined;
}

/** The id of the user whom a request is about, as far as it is known: the caller's, or with a service the one of the path. */
export function userIdOfCaller({ caller, params }: FastifyRequest): string | undefined {
  if (caller === null) return undefined;
  if ('userId' in caller) return caller.userId;
  const { user_id: name } = params as { readonly user_id?: string };
  return name === undefined ? undefined : userIdOfName(name);
}

/** The issuer's name of the user who sent a request, if it differs from the id. */
export function subjectOfCaller({ caller }: FastifyRequest): string | undefined {
  return caller !== null && 'userId' in caller ? caller.subject : undefined;
}

/** The name of the API token that a request bears, if AccessControl asked for one. */
export function tokenNameOf({ caller }: FastifyRequest): string | undefined {
  return caller !== null && 'scopes' in caller ? caller.name : undefined;
}
