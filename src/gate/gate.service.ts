import { type Counter } from 'prom-client';
import { hash, randomUUIDv7 } from 'node:crypto';
import { type Writable } from 'node:stream';
import { type BeforeApplicationShutdown, Injectable } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { Tickets } from '../auth/tickets.js';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { Metrics } from '../observability/metrics.js';
import { Admissions, type Delivery, noteAdmission } from '../sessions/admissions.js';
import { type PhaseWindow, type SessionEnded } from '../sessions/admission.js';
import { type PlayerReport, readReport } from './cmcd.js';
import { type Device } from '../sessions/device.js';
import { type Quota } from '../sessions/quota.js';
import { type Admission } from '../sessions/session.js';
import { SessionRepository } from '../sessions/session.repository.js';

/** How long a refusal because of the limit is repeated without asking the store. */
const REFUSED_MS = 1_000;
/**
 * How long an ended session stays ended after the last request of its player. hls.js retries a refused segment for a long
 * time, and would be admitted as soon as the store has removed the record of the ended session.
 */
const ENDED_MS = 10 * 60_000;
/** Bounds the remembered refusals, which list the sessions that hold the places: about a kilobyte per session. */
const MAX_REFUSED_SESSIONS = 40_000;

/** How long a client that opens a stream again gets the same session, if it has fetched nothing with it. */
const UNUSED_MS = 2_000;
const MAX_UNUSED = 10_000;

/** How many replies are held at the same time. A held reply takes 8 KB, and its connection 4 KB. */
const MAX_HELD = 10_000;
/** No reply is held longer. VLC and Shaka time out after 30 s or more. */
const LONGEST_HOLD_MS = 20_000;
/**
 * A reply to a page is held at least this long. hls.js measures the bandwidth from its request to the last byte, so that
 * a held reply would make it choose a lower quality. After 10 s without a first byte it retries, and measures the retry.
 */
const SHORTEST_PAGE_HOLD_MS = 10_500;
/** The prefix of session ids that are derived from a player's own playback id. */
const PLAYER_PREFIX = 'player~';

/** The program that plays, as far as a request identifies it. */
export interface Client {
  /** Whether it is a page in a browser, which can play in several tabs at the same time. */
  readonly isPage: boolean;
  /** Distinguishes the programs of one user, by network address and user agent. Opaque, up to 16 characters. */
  readonly fingerprint: string;
}

export interface Player {
  readonly userId: string;
  readonly subject?: string | undefined;
  /** Undefined until the player is given a session. */
  readonly sessionId: string | undefined;
  readonly streamId: string;
  readonly quota: Quota;
  /** The device from its ticket or its URL. */
  readonly device: Device | undefined;
  /** The ticket of the request. */
  readonly ticket: string | undefined;
}

/** A player with a session. Only such a player may load media. */
export interface SessionPlayer extends Player {
  readonly sessionId: string;
}

/** A refusal that concerns the session or its user. */
export type Refusal = Extract<Admission, { outcome: 'session-ended' | 'limit-reached' }>;

export type GateAdmission =
  | Extract<Admission, { outcome: 'admitted' | 'too-far-ahead' | 'phase-not-found' }>
  /** The reply was held for as long as allowed: the player must send the request again. */
  | { readonly outcome: 'ask-again' }
  /** The player disconnected while its reply was held. */
  | { readonly outcome: 'left' }
  /** While a refusal is repeated from memory, it is the same object. */
  | { readonly outcome: 'refused'; readonly refusal: Refusal };

/** Instants are monotonic milliseconds. */
interface RememberedRefusal {
  readonly refusal: Refusal;
  /** Until when the refusal is repeated without asking the store. */
  repeatUntil: number;
  /** Until when the session counts as ended, unless the store lists it as live; 0 for other refusals. */
  endedUntil: number;
}

/**
 * The decisions of the gate, which serves players without Streamgate code: which session a request belongs to, and
 * whether it is admitted. The service is independent of formats and of HTTP.
 */
@Injectable()
export class Gate implements BeforeApplicationShutdown {
  private readonly refusals: LRUCache<string, RememberedRefusal>;
  /** Sessions that clients got lately and have fetched nothing with yet. */
  private readonly unused = new LRUCache<string, { readonly sessionId: string; readonly until: number }>({
    max: MAX_UNUSED,
  });
  private readonly phaseMs: number;
  /** Ends each held reply. */
  private readonly held = new Set<() => void>();
  private isStopping = false;
  private readonly reports: Counter<'result'>;

  constructor(
    private readonly admissions: Admissions,
    private readonly repository: SessionRepository,
    private readonly tickets: Tickets,
    private readonly clock: Clock,
    metrics: Metrics,
    config: Config,
  ) {
    this.reports = metrics.counter('cmcd_reports_total', 'Reports of players that this instance received.', [
      'result',
    ]);
    metrics.gauge(
      'held_replies',
      'Replies to players that this instance holds until their session may have the next phase.',
      () => this.held.size,
    );
    this.phaseMs = config.phaseMs;
    this.refusals = new LRUCache({
      maxSize: MAX_REFUSED_SESSIONS,
      sizeCalculation: ({ refusal }) =>
        1 + (refusal.outcome === 'limit-reached' ? refusal.sessions.length : 0),
    });
  }

  /**
   * A session id for a player whose request has none. If the player sends a playback id, the session id is derived from
   * it, so that all requests of that playback are one session. Otherwise the same client gets the same session for 2 s,
   * or until it fetches something with it, because some players (mpv) load the first URL twice. A page gets a new session
   * each time, because two tabs can start at the same instant.
   */
  sessionFor(player: Player, { isPage, fingerprint }: Client, playbackId?: string): string {
    if (playbackId !== undefined) return sessionOf(player.userId, playbackId);
    if (isPage) return randomUUIDv7();
    const key = clientKey(player, fingerprint);
    const now = this.clock.monotonic();
    const given = this.unused.get(key);
    if (given !== undefined && now < given.until) return given.sessionId;
    const sessionId = randomUUIDv7();
    // The next request does not extend it. Otherwise players that start one after the other would share a session.
    this.unused.set(key, { sessionId, until: now + UNUSED_MS });
    return sessionId;
  }

  /** The client has fetched something with its session: the next player of this client gets another session. */
  useSession(player: Player, { fingerprint }: Client): void {
    this.unused.delete(clientKey(player, fingerprint));
  }

  /** Forgets a remembered refusal when a player starts, so that the store is asked again. */
  forgetRefusal(player: SessionPlayer): void {
    this.refusals.delete(sessionKey(player));
  }

  /**
   * Decides whether this player gets this phase; `same` is the current phase of its session. An undefined window means that
   * the requested media does not exist: the answer is another refusal or `phase-not-found`, and no place is taken. Rejects
   * with StoreUnavailableError.
   */
  async admit(
    player: SessionPlayer,
    phase: number | 'same',
    window: PhaseWindow | undefined,
    delivery: Delivery,
    client: Client,
  ): Promise<GateAdmission> {
    const known = await this.rememberedRefusal(player);
    const { userId, subject, sessionId, streamId, quota, device } = player;
    const request = {
      userId,
      subject,
      sessionId,
      streamId,
      phase,
      window,
      endSessionIds: [],
      quota,
      device,
      client: client.fingerprint,
      paced: true,
    };
    if (known !== undefined) {
      noteAdmission(request, known);
      return { outcome: 'refused', refusal: known };
    }
    const admission = await this.admissions.admit(request, delivery);
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

  /**
   * Like `admit`, but if the player is too far ahead, holds the reply until the session may have the phase, so that the
   * player sees no error. `reply` is closed when the player disconnects.
   */
  async admitInTurn(
    player: SessionPlayer,
    phase: number | 'same',
    window: PhaseWindow | undefined,
    delivery: Delivery,
    client: Client,
    reply: Writable,
  ): Promise<GateAdmission> {
    const begun = this.clock.monotonic();
    for (;;) {
      const admission = await this.admit(player, phase, window, delivery, client);
      if (admission.outcome !== 'too-far-ahead' || this.held.size >= MAX_HELD) return admission;
      const due = admission.retryAt - admission.now;
      const longest = LONGEST_HOLD_MS - (this.clock.monotonic() - begun);
      if (longest <= 0 || this.isStopping) return { outcome: 'ask-again' };
      const wanted = client.isPage ? Math.max(due, SHORTEST_PAGE_HOLD_MS) : due;
      if (!reply.closed) await this.hold(Math.min(wanted, longest), reply);
      if (reply.closed) return { outcome: 'left' };
    }
  }

  /**
   * Handles reports of a player, oldest first. The last known state counts, except that the state `over` counts at any
   * position. If the session had been ended before, returns its end, whatever the reports say.
   */
  async takeReports(
    { userId, sessionId }: Pick<SessionPlayer, 'userId' | 'sessionId'>,
    lines: readonly string[],
  ): Promise<SessionEnded | undefined> {
    const reports = lines.map((line) => this.countReport(readReport(line)));
    const states = reports.flatMap((report) => report?.state ?? []);
    const state = states.includes('over') ? 'over' : states.at(-1);
    // An activity at the instant 0 changes nothing: without a state, the session is only looked up.
    const seenAt = state === 'playing' ? (this.clock.storeNow() ?? this.clock.now()) : 0;
    const answer =
      state === 'paused'
        ? await this.repository.keepAlive(userId, sessionId)
        : await this.repository.noteActivity(userId, sessionId, seenAt);
    if (answer.outcome === 'session-ended') return answer;
    if (state === 'over') await this.repository.end(userId, [sessionId], 'left');
    return undefined;
  }

  private countReport(report: PlayerReport | undefined): PlayerReport | undefined {
    this.reports.inc({ result: report === undefined ? 'malformed' : 'read' });
    return report;
  }

  /** Ends held replies: their players send the request again, and reach another instance. */
  beforeApplicationShutdown(): void {
    this.isStopping = true;
    for (const end of this.held) end();
  }

  /** Waits until the time is over, the player disconnects or the service stops. Abort signals would take 2 KB more. */
  private async hold(ms: number, reply: Writable): Promise<void> {
    await new Promise<void>((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        reply.off('close', end);
        this.held.delete(end);
        resolve();
      };
      const timer = setTimeout(end, ms).unref();
      reply.once('close', end);
      this.held.add(end);
    });
  }

  /** The ticket for the URIs of a playlist. It lives longer than the first ticket; undefined for a player without a ticket. */
  async mediaTicket(player: SessionPlayer): Promise<string | undefined> {
    return player.ticket === undefined ? undefined : (await this.tickets.issue('media', player)).ticket;
  }

  private remember(player: SessionPlayer, refusal: Refusal): void {
    const now = this.clock.monotonic();
    const ended = refusal.outcome === 'session-ended';
    this.refusals.set(sessionKey(player), {
      refusal,
      // At `retryAt` a place may be free, so that the store must be asked again.
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
    if (ended && !(await this.isLive(player))) {
      known.repeatUntil = now + this.phaseMs;
      return known.refusal;
    }
    this.refusals.delete(key);
    return undefined;
  }

  /** Asks the store, because POST /v1/phases at any instance may have admitted the session again after its end. */
  private async isLive({ userId, sessionId }: SessionPlayer): Promise<boolean> {
    const { sessions } = await this.repository.list(userId);
    return sessions.some((session) => session.sessionId === sessionId);
  }
}

/** The session id for a playback id of a user. It is the same on every instance. */
function sessionOf(userId: string, playbackId: string): string {
  return PLAYER_PREFIX + hash('sha256', `${userId} ${playbackId}`, 'base64url').slice(0, 22);
}

function sessionKey({ userId, sessionId }: SessionPlayer): string {
  return `${userId} ${sessionId}`;
}

function clientKey({ userId, streamId }: Player, client: string): string {
  return `${userId} ${streamId} ${client}`;
}
