import { Injectable, Logger } from '@nestjs/common';
import {
  type FastifyInstance,
  type FastifyRequest,
  type RouteOptions,
  type preHandlerHookHandler,
} from 'fastify';
import { addressOf } from '../http/connections.js';
import { type Access } from './access.js';
import { ApiTokens } from './api-tokens.js';
import { unauthorized } from './bearer.js';
import { Players } from './players.js';
import { type TicketUse, Tickets } from './tickets.js';
import { Viewers, checkUser } from './viewers.js';

type Caller = NonNullable<FastifyRequest['caller']>;
/** The caller, at once or later; null on a public route. */
type Identification = Caller | null | Promise<Caller>;

/**
 * Closed by default: a route answers only the callers that its mark (`access.ts`) names. Each route that is registered
 * on Fastify gets one hook, which runs after the schemas have checked the request and before the handler. A route
 * without a mark answers 401.
 */
@Injectable()
export class AccessControl {
  private readonly log = new Logger('Auth');

  constructor(
    private readonly viewers: Viewers,
    private readonly players: Players,
    private readonly apiTokens: ApiTokens,
    private readonly tickets: Tickets,
  ) {}

  /**
   * To be called before any route is registered. `publicPaths`: public routes that cannot be marked, such as of
   * plugins.
   */
  register(fastify: FastifyInstance, publicPaths: RegExp): void {
    fastify.decorateRequest('caller', null);
    fastify.addHook('onRoute', (route) => {
      if (publicPaths.test(route.url)) route.config = { ...route.config, access: { to: 'everybody' } };
      const hook = this.hookFor(route.config?.access, route);
      if (hook !== undefined) route.preHandler = [hook, ...[route.preHandler ?? []].flat()];
    });
  }

  private hookFor(access: Access | undefined, route: RouteOptions): preHandlerHookHandler | undefined {
    switch (access?.to) {
      case 'everybody':
        return undefined;
      case 'viewers': {
        const identify = this.viewerBy(userReaderOf(route));
        return hookOf(access.needsAddress ? (request) => addressedFirst(request, identify) : identify);
      }
      case 'viewers-and-services': {
        const ofViewer = this.viewerBy(userReaderOf(route));
        const ofTicket = this.ticketHolderBy(access.ticket, userReaderOf(route));
        return hookOf(
          (request) => ofTicket(request) ?? this.apiTokens.bearer(request, access.scope) ?? ofViewer(request),
        );
      }
      case 'services':
        return hookOf((request) => this.apiTokens.demand(request, access.scope));
      case 'players':
        return hookOf((request) => this.players.of(request, access.uses));
      case undefined:
        this.log.warn({
          method: route.method,
          route: route.url,
          msg: 'a route has no access mark and answers 401 to every request',
        });
        return hookOf(() => {
          throw unauthorized('Nobody may use this route: it does not say which callers it is for.', 'none');
        });
    }
  }

  private viewerBy(readUser: (request: FastifyRequest) => string | undefined) {
    return (request: FastifyRequest): Caller | Promise<Caller> => {
      const userId = readUser(request);
      return this.viewers.known(request, userId) ?? this.viewers.of(request, userId);
    };
  }

  /** Identifies the viewer by the query's ticket, on routes that accept tickets of a use; undefined without a ticket. */
  private ticketHolderBy(
    use: TicketUse | undefined,
    readUser: (request: FastifyRequest) => string | undefined,
  ) {
    return (request: FastifyRequest): Promise<Caller> | undefined => {
      const { ticket } = request.query as { readonly ticket?: string };
      return use === undefined || ticket === undefined
        ? undefined
        : this.holderOf(use, ticket, readUser(request));
    };
  }

  private async holderOf(use: TicketUse, ticket: string, namedUser: string | undefined): Promise<Caller> {
    const { userId, subject, quota, device, expiresAt } = await this.tickets.open([use], ticket);
    return checkUser({ userId, subject, quota, until: expiresAt, deviceId: device?.id }, namedUser);
  }
}

/** Reads the user that a request names: in its path if the route has a user there, otherwise in its body. */
function userReaderOf({ url }: RouteOptions): (request: FastifyRequest) => string | undefined {
  return url.includes('/:user_id')
    ? ({ params }) => (params as { readonly user_id: string }).user_id
    : ({ body }) => (body as { readonly user_id?: string } | undefined)?.user_id;
}

/** Identifies the caller. If that fails and the Host header is invalid too, answers 400, which comes before 401. */
function addressedFirst<T>(request: FastifyRequest, identify: (request: FastifyRequest) => T | Promise<T>) {
  const refuse = (refusal: unknown): never => {
    addressOf(request);
    throw refusal;
  };
  try {
    const caller = identify(request);
    return caller instanceof Promise ? caller.catch(refuse) : caller;
  } catch (refusal) {
    return refuse(refusal);
  }
}

/** A hook that needs no turn of the event loop if the caller is known at once. Fastify catches its errors. */
function hookOf(identify: (request: FastifyRequest) => Identification): preHandlerHookHandler {
  return (request, _reply, done) => {
    const caller = identify(request);
    if (caller instanceof Promise) {
      void wait(caller, request, done);
      return;
    }
    request.caller = caller;
    done();
  };
}

async function wait(
  caller: Promise<Caller>,
  request: FastifyRequest,
  done: (refusal?: Error) => void,
): Promise<void> {
  let refusal: Error | undefined;
  try {
    request.caller = await caller;
  } catch (error) {
    refusal = error as Error;
  }
  done(refusal);
}
