import { randomUUIDv7 } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { Tickets } from '../auth/tickets.js';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { Admissions, type Delivery } from '../sessions/admissions.js';
import { type PhaseWindow } from '../sessions/admission.js';
import { type Quota } from '../sessions/quota.js';
import { type Admission } from '../sessions/session.js';
import { SessionRepository } from '../sessions/session.repository.js';

/** For so long a player whose user has no place left is refused again without asking the store. */
const REFUSED_MS = 1_000;
/**
 * A session that was ended stays ended for as long after the last request of its player. hls.js asks for a refused
 * segment again and again, and would be admitted as soon as the store has forgotten that the session was ended.
 */
const ENDED_MS = 10 * 60_000;
/** A refusal lists the sessions that hold the places: about a kilobyte each. */
const MAX_REFUSED_SESSIONS = 40_000;

/** For so long a client that begins again is given the same session, if it has fetched nothing with it. */
const UNUSED_MS = 2_000;
const MAX_UNUSED = 10_000;

export interface Player {
  readonly userId: string;
  /** Undefined until the player is given a session. */
  readonly sessionId: string | undefined;
  readonly streamId: string;
  readonly quota: Quota;
  /** The ticket that it showed. */
  readonly ticket: string | undefined;
}

/** A player with a session: one that may load media. */
export interface SessionPlayer extends Player {
  readonly sessionId: string;
}

/** A refusal for the sake of the session or of its user. */
export type Refusal = Extract<Admission, { outcome: 'session-ended' | 'limit-reached' }>;

export type GateAdmission =
  | Extract<Admission, { outcome: 'admitted' | 'too-far-ahead' | 'phase-not-found' }>
  /** The same object each time that it is repeated from memory. */
  | { readonly outcome: 'refused'; readonly refusal: Refusal };

/** Instants are monotonic milliseconds. */
interface Remembered {
  readonly refusal: Refusal;
  /** Until then the store is not asked. */
  repeatUntil: number;
  /** Until then the session counts as ended unless the store says that it lives; 0 for another refusal. */
  endedUntil: number;
}

/**
 * The decisions of the gate, for players that contain no code of ours: whose session a request is of, and whether it may
 * have what it asks for. Any format and any transport can stand in front of it.
 */
@Injectable()
export class Gate {
  private readonly refusals: LRUCache<string, Remembered>;
  /** The session that a client was given lately and has fetched nothing with yet. */
  private readonly unused = new LRUCache<string, { readonly sessionId: string; readonly until: number }>({
    max: MAX_UNUSED,
  });
  private readonly phaseMs: number;

  constructor(
    private readonly admissions: Admissions,
    private readonly repository: SessionRepository,
    private readonly tickets: Tickets,
    private readonly clock: Clock,
    config: Config,
  ) {
    this.phaseMs = config.phaseMs;
    this.refusals = new LRUCache({
      maxSize: MAX_REFUSED_SESSIONS,
      sizeCalculation: ({ refusal }) =>
        1 + (refusal.outcome === 'limit-reached' ? refusal.sessions.length : 0),
    });
  }

  /**
   * A session id for a player that names none. Some players (mpv) load the first URL twice, once to see what it is: the
   * same `client` gets the same session again, until it fetches something with it or for 2 s. `client` is undefined for a
   * client that may be several players at once, such as two tabs of a browser.
   */
  sessionFor(player: Player, client: string | undefined): string {
    if (client === undefined) return randomUUIDv7();
    const key = clientKey(player, client);
    const now = this.clock.monotonic();
    const given = this.unused.get(key);
    if (given !== undefined && now < given.until) return given.sessionId;
    const sessionId = randomUUIDv7();
    // Not extended by the next request, or two players that begin one after the other would share a session.
    this.unused.set(key, { sessionId, until: now + UNUSED_MS });
    return sessionId;
  }

  /** The client fetches with the session that it was given: the next player that begins there is another one. */
  useSession(player: Player, client: string): void {
    this.unused.delete(clientKey(player, client));
  }

  /** A player begins: whatever it was refused before, the store is asked again. */
  forgetRefusal(player: SessionPlayer): void {
    this.refusals.delete(sessionKey(player));
  }

  /**
   * May this player have this phase, or `same` for the one that its session has? A window of undefined asks for what does
   * not exist: the answer is a refusal, if there is one, or `phase-not-found`, and no place is taken. Rejects with
   * StoreUnavailableError.
   */
  async admit(
    player: SessionPlayer,
    phase: number | 'same',
    window: PhaseWindow | undefined,
    delivery: Delivery,
  ): Promise<GateAdmission> {
    const known = await this.rememberedRefusal(player);
    if (known !== undefined) return { outcome: 'refused', refusal: known };
    const { userId, sessionId, streamId, quota } = player;
    const admission = await this.admissions.admit(
      { userId, sessionId, streamId, phase, window, endSessionIds: [], quota },
      delivery,
    );
    switch (admission.outcome) {
      case 'session-ended':
      case 'limit-reached':
        this.remember(player, admission);
        return { outcome: 'refused', refusal: admission };
      case 'admitted':
      case 'too-far-ahead':
      case 'phase-not-found':
        return admission;
    }
  }

  /** The ticket for what a playlist names, which outlives the ticket that the player began with; undefined without one. */
  async mediaTicket(player: SessionPlayer): Promise<string | undefined> {
    return player.ticket === undefined ? undefined : (await this.tickets.issue('media', player)).ticket;
  }

  private remember(player: SessionPlayer, refusal: Refusal): void {
    const now = this.clock.monotonic();
    const ended = refusal.outcome === 'session-ended';
    this.refusals.set(sessionKey(player), {
      refusal,
      // At `retryAt` a place may be free: by then the store is asked again.
      repeatUntil: now + (ended ? this.phaseMs : Math.min(REFUSED_MS, refusal.retryAt - refusal.now)),
      endedUntil: ended ? now + ENDED_MS : 0,
    });
  }

  private async rememberedRefusal(player: SessionPlayer): Promise<Refusal | undefined> {
    const key = sessionKey(player);
    const known = this.refusals.get(key);
    if (known === undefined) return undefined;
    const now = this.clock.monotonic();
    const ended = now < known.endedUntil;
    if (ended) known.endedUntil = now + ENDED_MS;
    if (now < known.repeatUntil) return known.refusal;
    if (ended && !(await this.lives(player))) {
      known.repeatUntil = now + this.phaseMs;
      return known.refusal;
    }
    this.refusals.delete(key);
    return undefined;
  }

  /** POST /v1/phases, here or at another instance, may have admitted the session again after it was ended. */
  private async lives({ userId, sessionId }: SessionPlayer): Promise<boolean> {
    const sessions = await this.repository.list(userId);
    return sessions.some((session) => session.sessionId === sessionId);
  }
}

function sessionKey({ userId, sessionId }: SessionPlayer): string {
  return `${userId} ${sessionId}`;
}

function clientKey({ userId, streamId }: Player, client: string): string {
  return `${userId} ${streamId} ${client}`;
}
