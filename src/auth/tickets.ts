import { hkdfSync } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { SignJWT, errors, jwtVerify } from 'jose';
import { LRUCache } from 'lru-cache';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { type Problem } from '../http/problem.js';
import { type Device } from '../sessions/device.js';
import { type Quota } from '../sessions/quota.js';
import { isJws, unauthorized } from './bearer.js';

/**
 * The purpose of a ticket. `playlist`: the first playlist, where a player starts. `media`: the URLs in a playlist.
 * `cmcd`: the reports of a player. `events`: the event stream of the user, for EventSource, which sends no header. A
 * player loads the playlist of a film once, so that `media` and `cmcd` must outlive the film and a long pause. `events`
 * must outlive the page, because EventSource reconnects to the same URL and gives up at 401.
 */
export type TicketUse = 'playlist' | 'media' | 'cmcd' | 'events';

const LIFE_MS: Readonly<Record<TicketUse, number>> = {
  playlist: 10 * 60_000,
  media: 12 * 3_600_000,
  cmcd: 12 * 3_600_000,
  events: 12 * 3_600_000,
};
/**
 * The expiry is rounded up to a multiple of this. Until then a session gets the same ticket from every instance,
 * because a player that reloads a live playlist would treat a new URL as a new key or initialisation section. It also
 * saves most renewals the signing.
 */
const STEP_MS: Readonly<Record<TicketUse, number>> = {
  playlist: 5 * 60_000,
  media: 3_600_000,
  cmcd: 3_600_000,
  events: 3_600_000,
};
/** The maximum number of cached tickets, of about a kilobyte each. */
const MAX_KNOWN = 20_000;

/** The claims of a ticket, which is valid for nothing else. */
export interface TicketClaims {
  readonly userId: string;
  /** The issuer's name of the user, if it differs from `userId`. */
  readonly subject?: string | undefined;
  readonly sessionId: string;
  readonly streamId: string;
  /** What the user may hold, at the time when the ticket was issued. */
  readonly quota: Quota;
  readonly device: Device | undefined;
}

export interface Ticket {
  readonly ticket: string;
  /** Unix milliseconds. */
  readonly expiresAt: number;
}

/** Playback tickets: short JWTs that this service signs, for players that cannot send a header. */
@Injectable()
export class Tickets {
  private readonly key: Uint8Array;
  private readonly ceiling: number;
  private readonly issued = new LRUCache<string, Ticket>({ max: MAX_KNOWN });
  private readonly opened = new LRUCache<string, OpenedTicket>({ max: MAX_KNOWN });

  constructor(
    { TICKET_SECRET, MAX_SESSIONS_CEILING, MAX_SESSIONS_PER_USER }: Config,
    private readonly clock: Clock,
  ) {
    this.ceiling = Math.max(MAX_SESSIONS_CEILING, MAX_SESSIONS_PER_USER);
    // A derived key, because the secret may also sign other things. So no signature is valid for another purpose.
    this.key = new Uint8Array(hkdfSync('sha256', TICKET_SECRET, '', 'streamgate playback ticket', 32));
  }

  /** Returns the same ticket for the same claims, until the rounded expiry changes. */
  async issue(use: TicketUse, claims: TicketClaims): Promise<Ticket> {
    const expiresAt = Math.ceil((this.clock.now() + LIFE_MS[use]) / STEP_MS[use]) * STEP_MS[use];
    const { userId, subject, sessionId, streamId, quota, device } = claims;
    const { maxSessions: limit } = quota;
    const shown = device === undefined ? '' : JSON.stringify(device);
    // The subject is not part of the key, because the user id follows from it.
    const key = [use, userId, sessionId, streamId, limit, expiresAt, shown].join(' ');
    const known = this.issued.get(key);
    if (known !== undefined) return known;
    const ticket = await new SignJWT({ sid: sessionId, stream: streamId, limit, device, subject })
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject(userId)
      .setAudience(use)
      .setExpirationTime(expiresAt / 1_000)
      .sign(this.key);
    const issued = { ticket, expiresAt };
    this.issued.set(key, issued);
    return issued;
  }

  /** The claims of a ticket that was verified before and is still valid, or undefined. Does not wait. */
  known(uses: readonly TicketUse[], ticket: string): TicketClaims | undefined {
    const known = this.opened.get(ticket);
    return known !== undefined && uses.includes(known.use) && this.clock.now() < known.expiresAt
      ? known
      : undefined;
  }

  /** The claims of a ticket. Throws a problem (401) for a foreign ticket, another use, or an expired one. */
  async open(uses: readonly TicketUse[], ticket: string): Promise<OpenedTicket> {
    if (!isJws(ticket)) throw invalidTicket();
    try {
      const { payload } = await jwtVerify<OwnClaims>(ticket, this.key, {
        algorithms: ['HS256'],
        audience: [...uses],
        currentDate: new Date(this.clock.now()),
      });
      const { sub, sid, stream, limit, device, subject, exp, aud } = payload;
      const opened: OpenedTicket = {
        userId: sub!,
        subject,
        sessionId: sid,
        streamId: stream,
        // The ceiling may have been lowered since.
        quota: { maxSessions: Math.min(limit, this.ceiling) },
        device,
        use: aud as TicketUse,
        expiresAt: exp! * 1_000,
      };
      this.opened.set(ticket, opened);
      return opened;
    } catch (error) {
      if (error instanceof errors.JWTExpired)
        throw unauthorized(
          'The ticket has expired: request a new one with POST /v1/tickets or /v1/phases.',
          'token',
        );
      if (error instanceof errors.JOSEError) throw invalidTicket();
      throw error;
    }
  }
}

interface OpenedTicket extends TicketClaims {
  readonly use: TicketUse;
  /** Unix milliseconds. */
  readonly expiresAt: number;
}

interface OwnClaims {
  readonly sid: string;
  readonly stream: string;
  readonly limit: number;
  readonly device?: Device;
  readonly subject?: string;
}

function invalidTicket(): Problem {
  return unauthorized(
    'This service did not issue the ticket, or it is for another purpose: request one with POST /v1/tickets.',
    'token',
  );
}
