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
 * What a ticket opens. `playlist`: the first playlist, where a player begins. `media`: what a playlist names. `cmcd`: the
 * event target of a player's reports. `events`: the user's stream of events, for EventSource, which sends no header. A
 * player loads the playlist of a film once, so `media` and `cmcd` have to outlive the film and a long pause; `events` has
 * to outlive the page, because EventSource reconnects to the same URL and gives up at 401.
 */
export type TicketUse = 'playlist' | 'media' | 'cmcd' | 'events';

const LIFE_MS: Readonly<Record<TicketUse, number>> = {
  playlist: 10 * 60_000,
  media: 12 * 3_600_000,
  cmcd: 12 * 3_600_000,
  events: 12 * 3_600_000,
};
/**
 * Ends are rounded up to the next of these. Until then the same session has the same ticket, on every instance: a
 * player that loads a live playlist again would take a key or an initialisation section at a new URL for another. And
 * few renewals have to sign one.
 */
const STEP_MS: Readonly<Record<TicketUse, number>> = {
  playlist: 5 * 60_000,
  media: 3_600_000,
  cmcd: 3_600_000,
  events: 3_600_000,
};
/** About a kilobyte each. */
const MAX_KNOWN = 20_000;

/** What a ticket is bound to: it opens nothing else. */
export interface TicketClaims {
  readonly userId: string;
  /** The user as the issuer names them, where that differs from `userId`. */
  readonly subject?: string | undefined;
  readonly sessionId: string;
  readonly streamId: string;
  /** What the user may hold, as it was when the ticket was made. */
  readonly quota: Quota;
  readonly device: Device | undefined;
}

export interface Ticket {
  readonly ticket: string;
  /** Unix milliseconds. */
  readonly expiresAt: number;
}

/** Playback tickets: short JWTs of our own, for players that cannot send a header. */
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
    // A key of its own, also where the secret signs something else: neither passes for the other.
    this.key = new Uint8Array(hkdfSync('sha256', TICKET_SECRET, '', 'streamgate playback ticket', 32));
  }

  /** For the same claims the same ticket, until its end moves on. */
  async issue(use: TicketUse, claims: TicketClaims): Promise<Ticket> {
    const expiresAt = Math.ceil((this.clock.now() + LIFE_MS[use]) / STEP_MS[use]) * STEP_MS[use];
    const { userId, subject, sessionId, streamId, quota, device } = claims;
    const { maxSessions: limit } = quota;
    const shown = device === undefined ? '' : JSON.stringify(device);
    // Not by the subject: the id of the user follows from it.
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

  /** The claims of a ticket that was opened before and is still good, without waiting. */
  known(uses: readonly TicketUse[], ticket: string): TicketClaims | undefined {
    const known = this.opened.get(ticket);
    return known !== undefined && uses.includes(known.use) && this.clock.now() < known.expiresAt
      ? known
      : undefined;
  }

  /** The claims of a ticket. 401 for one that this service did not issue, that is for another use, or that has expired. */
  async open(uses: readonly TicketUse[], ticket: string): Promise<OpenedTicket> {
    if (!isJws(ticket)) throw noTicketOfOurs();
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
        // It may have been lowered since.
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
          'The ticket has expired: ask for another one, by POST /v1/tickets or /v1/phases.',
          'token',
        );
      if (error instanceof errors.JOSEError) throw noTicketOfOurs();
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

function noTicketOfOurs(): Problem {
  return unauthorized(
    'The ticket is none of this service, or not for this: ask for one by POST /v1/tickets.',
    'token',
  );
}
