import { type Counter } from 'prom-client';
import { hash, randomUUIDv7 } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Injectable } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { Tickets } from '../auth/tickets.js';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { Metrics } from '../observability/metrics.js';
import { Admissions, type Delivery } from '../sessions/admissions.js';
import { type PhaseWindow, type SessionEnded } from '../sessions/admission.js';
import { type PlayerReport, readReport } from './cmcd.js';
import { type Device } from '../sessions/device.js';
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

/** So many replies are held at once. A held reply costs a connection and a timer, a few kilobytes. */
const MAX_HELD = 10_000;
/** No reply is held for longer: VLC and Shaka give up after 30 s and more. */
const LONGEST_HOLD_MS = 20_000;
/**
 * Pages wait at least so long. hls.js measures the bandwidth by the time from its request to the last byte, so that a
 * held reply would make it choose a lower quality. After 10 s without a first byte it asks again, and measures that.
 */
const SHORTEST_PAGE_HOLD_MS = 10_500;
/** What tells the session ids that are made of a player's own id apart from other ids. */
const PLAYER_PREFIX = 'player~';

/** What a request tells about the program that plays. */
export interface Client {
  /** A page in a browser, which may play in several tabs at once. */
  readonly isPage: boolean;
  /** Tells the programs of one user apart, by network address and user agent. Opaque, up to 16 characters. */
  readonly fingerprint: string;
  /** The id that the player gave its playback: CMCD's `sid`, or `X-Playback-Session-Id`. */
  readonly playbackId: string | undefined;
}

export interface Player {
  readonly userId: string;
  /** Undefined until the player is given a session. */
  readonly sessionId: string | undefined;
  readonly streamId: string;
  readonly quota: Quota;
  /** The device that its ticket or its URL names. */
  readonly device: Device | undefined;
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
  /** The player waited for as long as one reply may: it asks once more. */
  | { readonly outcome: 'ask-again' }
  /** The player left while it waited. */
  | { readonly outcome: 'left' }
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
export class Gate implements BeforeApplicationShutdown {
  private readonly refusals: LRUCache<string, Remembered>;
  /** The session that a client was given lately and has fetched nothing with yet. */
  private readonly unused = new LRUCache<string, { readonly sessionId: string; readonly until: number }>({
    max: MAX_UNUSED,
  });
  private readonly phaseMs: number;
  private readonly stopping = new AbortController();
  private held = 0;
  private readonly reports: Counter<'result'>;

  constructor(
    private readonly admissions: Admissions,
    private readonly repository: SessionRepository,
    private readonly tickets: Tickets,
    private readonly clock: Clock,
    metrics: Metrics,
    config: Config,
  ) {
    this.reports = metrics.counter('cmcd_reports_total', 'Reports of players that this instance took in.', [
      'result',
    ]);
    metrics.gauge(
      'held_replies',
      'Replies to players that this instance holds until their turn.',
      () => this.held,
    );
    this.phaseMs = config.phaseMs;
    this.refusals = new LRUCache({
      maxSize: MAX_REFUSED_SESSIONS,
      sizeCalculation: ({ refusal }) =>
        1 + (refusal.outcome === 'limit-reached' ? refusal.sessions.length : 0),
    });
  }

  /**
   * A session id for a player that names none. The id that a player gave its playback decides, where there is one: it is
   * one session, whatever program asks. Some players (mpv) load the first URL twice, once to see what it is: the same
   * client gets the same session again, until it fetches something with it or for 2 s. A page gets a new one each time,
   * since two tabs may begin at the same instant.
   */
  sessionFor(player: Player, { isPage, fingerprint, playbackId }: Client): string {
    if (playbackId !== undefined) return sessionOf(player.userId, playbackId);
    if (isPage) return randomUUIDv7();
    const key = clientKey(player, fingerprint);
    const now = this.clock.monotonic();
    const given = this.unused.get(key);
    if (given !== undefined && now < given.until) return given.sessionId;
    const sessionId = randomUUIDv7();
    // Not extended by the next request, or two players that begin one after the other would share a session.
    this.unused.set(key, { sessionId, until: now + UNUSED_MS });
    return sessionId;
  }

  /** The client fetches with the session that it was given: the next player that begins there is another one. */
  useSession(player: Player, { fingerprint }: Client): void {
    this.unused.delete(clientKey(player, fingerprint));
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
    client: Client,
  ): Promise<GateAdmission> {
    const known = await this.rememberedRefusal(player);
    if (known !== undefined) return { outcome: 'refused', refusal: known };
    const { userId, sessionId, streamId, quota, device } = player;
    const admission = await this.admissions.admit(
      {
        userId,
        sessionId,
        streamId,
        phase,
        window,
        endSessionIds: [],
        quota,
        device,
        client: client.fingerprint,
        paced: true,
      },
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

  /**
   * As `admit`, and holds the reply of a player that is far enough ahead until its turn comes, so that the player sees no
   * error. `watch` gives a signal that is aborted when the player leaves; it is asked only where a reply is held.
   */
  async admitInTurn(
    player: SessionPlayer,
    phase: number | 'same',
    window: PhaseWindow | undefined,
    delivery: Delivery,
    client: Client,
    watch: () => AbortSignal,
  ): Promise<GateAdmission> {
    const begun = this.clock.monotonic();
    for (let gone: AbortSignal | undefined; ;) {
      const admission = await this.admit(player, phase, window, delivery, client);
      if (admission.outcome !== 'too-far-ahead' || this.held >= MAX_HELD) return admission;
      const due = admission.retryAt - admission.now;
      const longest = LONGEST_HOLD_MS - (this.clock.monotonic() - begun);
      if (longest <= 0 || this.stopping.signal.aborted) return { outcome: 'ask-again' };
      const wanted = client.isPage ? Math.max(due, SHORTEST_PAGE_HOLD_MS) : due;
      gone ??= watch();
      await this.hold(Math.min(wanted, longest), gone);
      if (gone.aborted) return { outcome: 'left' };
    }
  }

  /**
   * Reports of a player about itself, the oldest first. What the last one says counts; one that says that the player is
   * done counts wherever it stands. Gives how the session was ended where it was ended before.
   */
  async takeReports(
    { userId, sessionId }: Pick<SessionPlayer, 'userId' | 'sessionId'>,
    lines: readonly string[],
  ): Promise<SessionEnded | undefined> {
    const reports = lines.map((line) => this.countReport(readReport(line)));
    const states = reports.flatMap((report) => report?.state ?? []);
    const state = states.includes('over') ? 'over' : states.at(-1);
    switch (state) {
      case undefined:
        return undefined;
      case 'over':
        await this.repository.end(userId, [sessionId], 'user');
        return undefined;
      case 'paused':
      case 'playing': {
        const answer =
          state === 'paused'
            ? await this.repository.keepAlive(userId, sessionId)
            : await this.repository.noteActivity(
                userId,
                sessionId,
                this.clock.storeNow() ?? this.clock.now(),
              );
        return answer.outcome === 'session-ended' ? answer : undefined;
      }
    }
  }

  private countReport(report: PlayerReport | undefined): PlayerReport | undefined {
    this.reports.inc({ result: report === undefined ? 'malformed' : 'read' });
    return report;
  }

  /** Held replies end: their players ask again, and reach another instance. */
  beforeApplicationShutdown(): void {
    this.stopping.abort();
  }

  private async hold(ms: number, gone: AbortSignal): Promise<void> {
    this.held++;
    const signal = AbortSignal.any([gone, this.stopping.signal]);
    await sleep(ms, undefined, { signal, ref: false }).catch(() => undefined);
    this.held--;
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

/** The session of a user's playback that has an id of its own, the same on every instance. */
export function sessionOf(userId: string, playbackId: string): string {
  return PLAYER_PREFIX + hash('sha256', `${userId} ${playbackId}`, 'base64url').slice(0, 22);
}

function sessionKey({ userId, sessionId }: SessionPlayer): string {
  return `${userId} ${sessionId}`;
}

function clientKey({ userId, streamId }: Player, client: string): string {
  return `${userId} ${streamId} ${client}`;
}
