import { SetMetadata, applyDecorators } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import { ApiBearerAuth } from '@nestjs/swagger';
import { type FastifyRequest } from 'fastify';
import { type ApiToken, type Scope } from '../config/config.js';
import { API_TOKEN, ApiProblems, VIEWER_TOKEN } from '../http/docs.js';
import { ID } from '../http/fields.js';
import { Problem } from '../http/problem.js';
import { type Player } from './players.js';
import { MAX_SUBJECT_BYTES, userIdOf } from './subjects.js';
import { type TicketUse } from './tickets.js';
import { type Viewer } from './viewers.js';

/** The callers that a route answers. AccessControl enforces it; a route without one answers 401 to everybody. */
export type Access =
  | { readonly to: 'everybody' }
  | { readonly to: 'viewers'; readonly needsAddress: boolean }
  | {
      readonly to: 'viewers-and-services';
      readonly scope: Scope;
      /** The use of tickets in the query that identify the viewer; undefined where no ticket does. */
      readonly ticket: TicketUse | undefined;
    }
  | { readonly to: 'services'; readonly scope: Scope }
  | { readonly to: 'players'; readonly uses: readonly TicketUse[] };

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access;
  }
  interface FastifyRequest {
    /** The caller that AccessControl identified; null until then, and where the route is public. */
    caller: Viewer | Player | ApiToken | null;
  }
}

const ACCESS = 'access';

/**
 * Marks a route, or all routes of a controller that have no mark of their own. Fastify hands the mark to AccessControl
 * with the route's configuration, so that a request pays for no look-up.
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

/** For everybody, without a token. */
export function Public() {
  return mark({ to: 'everybody' });
}

/**
 * For viewers. The path's or the body's `user_id` may name the viewer, by our id or by the issuer's subject; another
 * user's is 403. The handler reads the viewer by `viewerOf` and never takes `user_id` for an id.
 *
 * The viewer is identified after Fastify's schemas have checked the request (`@RouteSchema`) and before pipes run. So
 * give the route a schema for its parameters too: a pipe would answer 422 after 401.
 *
 * `needsAddress`: the reply has URLs of this service, so that a request with an unusable `Host` is answered 400 first.
 */
export function ForViewers({ needsAddress = false } = {}) {
  return applyDecorators(mark({ to: 'viewers', needsAddress }), ApiBearerAuth(VIEWER_TOKEN));
}

/**
 * For viewers as with `ForViewers`, and for services whose API token has the scope: these may name any user. The
 * handler tells the two apart by `viewerOrService`, and reads the user by `userIdOfPath`.
 *
 * `ticket`: a ticket of this use in the query identifies the viewer, and then no header does. For clients that cannot send
 * a header.
 */
export function ForViewersOrServices(scope: Scope, { ticket }: { readonly ticket?: TicketUse } = {}) {
  return applyDecorators(
    mark({ to: 'viewers-and-services', scope, ticket }),
    ApiBearerAuth(VIEWER_TOKEN),
    ApiBearerAuth(API_TOKEN),
  );
}

/** For services and operators whose API token has the scope. Open where no token is configured (never in production). */
export function NeedsScope(scope: Scope) {
  return applyDecorators(
    mark({ to: 'services', scope }),
    ApiBearerAuth(API_TOKEN),
    ApiProblems('unauthorized', 'forbidden'),
  );
}

/**
 * For players: the query's `ticket` identifies the session, or its `user_id` and `session_id` where AUTH_MODE is none.
 * The handler reads the player by `playerOf`. As with `ForViewers`, a schema must check parameters and query.
 */
export function ForPlayers(use: TicketUse | readonly TicketUse[]) {
  return mark({ to: 'players', uses: typeof use === 'string' ? [use] : use });
}

/** The viewer who sent the request, on a route for viewers. */
export function viewerOf(request: FastifyRequest): Viewer {
  const viewer = viewerOrService(request);
  if (viewer === undefined) throw new Error('a service reached a handler that is for viewers alone');
  return viewer;
}

/** The viewer who sent the request, or undefined where a service or an operator did. */
export function viewerOrService({ caller }: FastifyRequest): Viewer | undefined {
  if (caller === null || 'self' in caller) throw new Error('the route is not marked as one for viewers');
  return 'userId' in caller ? caller : undefined;
}

/**
 * The id of the user whom the path names: the viewer, or with a service the user of that id or subject. 422 for a name
 * that is neither.
 */
export function userIdOfPath(request: FastifyRequest): string {
  const viewer = viewerOrService(request);
  if (viewer !== undefined) return viewer.userId;
  const { user_id: name } = request.params as { readonly user_id: string };
  const userId = ID.test(name) ? name : userIdOf(name);
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

/** The id of the user whom a request is about, as far as it is known: the caller's, or with a service the one of the path. */
export function userIdOfCaller({ caller, params }: FastifyRequest): string | undefined {
  if (caller === null) return undefined;
  if ('userId' in caller) return caller.userId;
  const { user_id: name } = params as { readonly user_id?: string };
  return name === undefined || ID.test(name) ? name : userIdOf(name);
}
