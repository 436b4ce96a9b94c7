import { Injectable } from '@nestjs/common';
import { type FastifyRequest } from 'fastify';
import { Config } from '../config/config.js';
import { addressOf } from '../http/connections.js';
import { ID_RULE } from '../http/fields.js';
import { Problem } from '../http/problem.js';
import { type Device } from '../sessions/device.js';
import { type Quota } from '../sessions/quota.js';
import { unauthorized } from './bearer.js';
import { type TicketClaims, type TicketUse, Tickets } from './tickets.js';

/** A player, identified by its ticket or its URL, because it cannot send a header. */
export interface Player {
  readonly userId: string;
  /** The issuer's name of the user, if the ticket has one that differs from `userId`. */
  readonly subject: string | undefined;
  /** Undefined if the URL has no ticket and no session id yet. */
  readonly sessionId: string | undefined;
  /** What the user may hold. */
  readonly quota: Quota;
  /** The device that the ticket or the URL names. */
  readonly device: Device | undefined;
  /** The ticket that was sent; none with AUTH_MODE=none and a `user_id`. */
  readonly ticket: string | undefined;
  /** The address at which the player reached this service: `https://host`. */
  readonly self: string;
}

/** The parts of a request that name a player and the stream that it plays. The route's schema has checked their form. */
interface Naming {
  /** Undefined on routes without a stream in their path. */
  readonly params: { readonly stream_id?: string };
  readonly query: {
    readonly ticket?: string;
    readonly user_id?: string;
    readonly session_id?: string;
    readonly device_id?: string;
    readonly device_name?: string;
  };
}

/** Identifies players by tickets, or with AUTH_MODE=none by their URL only. */
@Injectable()
export class Players {
  private readonly needsTicket: boolean;
  private readonly quota: Quota;

  constructor(
    { AUTH_MODE, policy }: Config,
    private readonly tickets: Tickets,
  ) {
    this.needsTicket = AUTH_MODE === 'jwt';
    this.quota = policy.quota;
  }

  /**
   * The player that sent the request; not as a promise if no wait is necessary. Throws a problem: 400 for an invalid
   * `Host`, 401 for a missing or invalid ticket, 403 for a ticket of another stream, user or session.
   */
  of(request: FastifyRequest, uses: readonly TicketUse[]): Player | Promise<Player> {
    const self = addressOf(request);
    const naming = request as unknown as Naming;
    const { ticket, user_id: userId, session_id: sessionId } = naming.query;
    if (ticket !== undefined) {
      const known = this.tickets.known(uses, ticket);
      return known === undefined
        ? this.tickets.open(uses, ticket).then((claims) => holder(claims, naming, self))
        : holder(known, naming, self);
    }
    if (this.needsTicket) throw unauthorized('Give the player a playback_url, which has a ticket.', 'none');
    if (userId === undefined) throw Problem.invalidRequest([{ field: 'user_id', message: ID_RULE }]);
    const { device_id: id, device_name: name } = naming.query;
    const device = id === undefined ? undefined : { id, name };
    return { userId, subject: undefined, sessionId, quota: this.quota, device, ticket, self };
  }
}

/** The player that a ticket names. The URL may repeat the ids of the ticket, but must not have other ones. */
function holder(claims: TicketClaims, { params, query }: Naming, self: string): Player {
  const { userId, subject, sessionId, streamId, quota, device } = claims;
  if (
    streamId !== (params.stream_id ?? streamId) ||
    (query.user_id ?? userId) !== userId ||
    (query.session_id ?? sessionId) !== sessionId
  )
    throw new Problem(
      'not-your-session',
      'The ticket is for another stream, user or session: request a ticket for this one.',
    );
  return { userId, subject, sessionId, quota, device, ticket: query.ticket, self };
}
