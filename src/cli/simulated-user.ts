import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clock } from '../clock.js';
import {
  type AdmittedReply,
  type SimulatedCall,
  type SimulatedReply,
  type SimulationApi,
} from './simulation-api.js';
import { type SimulationReport } from './simulation-report.js';
import { type Exchange, SimulatedPlaces } from './simulated-places.js';

/** A stream to watch; without `phases` it is live. */
export interface WatchedStream {
  readonly streamId: string;
  readonly phaseSeconds: number;
  readonly phases?: number | undefined;
}

/** What a viewer does when the next phase is due, and how often, in percent. Otherwise the viewer asks for the next phase. */
const HABITS = { seek: 5, pause: 4, zap: 4, abort: 3, quit: 2, vanish: 2 } as const;
type Habit = keyof typeof HABITS | 'renewal';

/** How many screens a user opens, in percent of users. Those with more than the plan allows are refused at times. */
const SCREENS = [
  { screens: 1, percent: 70 },
  { screens: 2, percent: 18 },
  { screens: 3, percent: 7 },
  { screens: 5, percent: 5 },
] as const;

/** A request that is aborted runs for at most so long. */
const ABORT_WITHIN_MS = 20;
/** How long an unanswered request may hold a place, before any reply has said it. */
const LONGEST_SPAN_MS = 3_600_000;

interface Screen {
  sessionId: string;
  stream: WatchedStream;
  /** The phase that was received last; undefined while no session holds a place. */
  phase: number | undefined;
  /** False if the next phase is not known: on another stream, or after a request without a reply, which may have counted. */
  isPhaseSure: boolean;
  /** When it acts next. */
  dueAt: number;
  /** Until when it is paused. */
  pausedUntil: number;
  lastActivityAt: string | undefined;
}

interface UserSettings {
  readonly userId: string;
  readonly token: string | undefined;
  /** How many screens the user opens; undefined: as many as users do. */
  readonly screens: number | undefined;
  readonly streams: readonly WatchedStream[];
  readonly api: SimulationApi;
  readonly report: SimulationReport;
  readonly clock: Clock;
  readonly random: () => number;
}

/** One user with one or more screens. Requests follow one another, except the first ones, which race for the places. */
export class SimulatedUser {
  private readonly places = new SimulatedPlaces();
  private readonly screens: Screen[];
  private longestSpanMs = 0;

  constructor(private readonly settings: UserSettings) {
    const usual = SCREENS.map(({ screens, percent }) => [screens, percent] as const);
    const count = settings.screens ?? this.choose<number>(usual, 1);
    this.screens = Array.from({ length: count }, () => this.newScreen());
  }

  /** Watches until `signal` is aborted, then gives the places back. */
  async watch(startsInMs: number, signal: AbortSignal): Promise<void> {
    await this.wait(startsInMs, signal);
    if (signal.aborted) return;
    await this.race();
    while (!signal.aborted) {
      const next = this.screens.reduce((first, one) => (one.dueAt < first.dueAt ? one : first));
      await this.wait(next.dueAt - this.now(), signal);
      if (!signal.aborted) await this.act(next);
    }
    for (const screen of this.screens) if (screen.phase !== undefined) await this.quit(screen);
  }

  /** All screens start at the same moment. As many as there are places must be admitted, in whatever order. */
  private async race(): Promise<void> {
    if (this.screens.length === 1) return this.ask(this.screens[0]!, 'start', {});
    const replies = await Promise.all(
      this.screens.map(async (screen) =>
        this.send('start', phaseBody(screen, {})).then((got) => ({ screen, ...got })),
      ),
    );
    // One reply may have been decided before the others: the verdict is about all of them.
    const limit = replies.flatMap(({ reply }) => limitOf(reply) ?? [])[0];
    const admitted = replies.filter(({ reply }) => isAdmitted(reply)).length;
    const isClear = replies.every(
      ({ reply }) => isAdmitted(reply) || reply?.code === 'session-limit-reached',
    );
    if (isClear && limit !== undefined && admitted !== Math.min(limit, replies.length))
      this.settings.report.wrong(
        this.settings.userId,
        `${admitted} of ${replies.length} simultaneous starts were admitted, with ${limit} places`,
      );
    for (const { screen, reply, exchange } of replies) this.note(screen, reply, exchange);
  }

  private async act(screen: Screen): Promise<void> {
    if (screen.phase === undefined) return this.ask(screen, 'start', {});
    if (this.now() < screen.pausedUntil) return this.keepAlive(screen);
    switch (this.choose<Habit>(Object.entries(HABITS) as [Habit, number][], 'renewal')) {
      case 'renewal':
        return this.renew(screen);
      case 'seek':
        return this.ask(screen, 'seek', { phase: this.somePhase(screen.stream) });
      case 'zap':
        // The phase that is known is one of the former stream.
        Object.assign(screen, { stream: this.someStream(), isPhaseSure: false });
        return this.ask(screen, 'zap', {});
      case 'pause':
        screen.pausedUntil = this.now() + this.between(1, 6) * screen.stream.phaseSeconds * 1_000;
        return this.keepAlive(screen);
      case 'abort':
        return this.abort(screen);
      case 'quit':
        await this.quit(screen);
        return this.replace(screen, this.between(0, 3));
      case 'vanish':
        // The place expires by itself.
        return this.replace(screen, this.between(1, 4));
    }
  }

  private async renew(screen: Screen): Promise<void> {
    const { stream, phase, isPhaseSure } = screen;
    const isOver = stream.phases !== undefined && phase! + 1 >= stream.phases;
    if (isOver) return this.ask(screen, 'seek', { phase: 0 });
    const isKnown = isPhaseSure && stream.phases !== undefined;
    await this.ask(screen, 'renewal', {}, isKnown ? phase! + 1 : undefined);
  }

  /** Requests a phase, and judges the reply. `expected`: the phase that must come. */
  private async ask(
    screen: Screen,
    call: SimulatedCall,
    more: { readonly phase?: number },
    expected?: number,
  ): Promise<void> {
    const { reply, exchange } = await this.send(call, phaseBody(screen, more));
    const fault = reply === undefined ? undefined : this.faultOf(screen.sessionId, reply, exchange);
    // A session that is admitted again (201) begins anew.
    const index = reply?.status === 200 ? reply.phase?.index : undefined;
    if (fault !== undefined) this.settings.report.wrong(this.settings.userId, fault);
    else if (expected !== undefined && index !== undefined && index !== expected)
      this.settings.report.wrong(this.settings.userId, `got phase ${index} instead of ${expected}`);
    this.note(screen, reply, exchange);
  }

  private faultOf(sessionId: string, reply: SimulatedReply, exchange: Exchange): string | undefined {
    if (isAdmitted(reply)) return this.places.faultOfAdmission(sessionId, exchange, reply.sessions);
    const listed = Array.isArray(reply.sessions) ? reply.sessions.length : 0;
    if (reply.code === 'session-limit-reached')
      return this.places.faultOfRefusal(sessionId, exchange, {
        limit: reply.limit ?? 0,
        listed,
      });
    return reply.code === 'session-ended' || reply.code === 'session-not-found'
      ? this.places.faultOfLoss(sessionId, exchange)
      : undefined;
  }

  /** Takes over what a reply says, and plans the next request of the screen. */
  private note(screen: Screen, reply: SimulatedReply | undefined, exchange: Exchange): void {
    const xMs = screen.stream.phaseSeconds * 1_000;
    if (isAdmitted(reply)) {
      this.keep(screen, reply, exchange);
      Object.assign(screen, { phase: reply.phase.index, isPhaseSure: true });
      screen.dueAt = this.now() + reply.next_request_in_seconds * 1_000 + this.between(0, 0.2) * xMs;
      return;
    }
    const code = reply?.code;
    const isUnknown = reply === undefined || reply.status >= 500;
    if (isUnknown) screen.isPhaseSure = false;
    if (isUnknown) this.places.doubt(screen.sessionId, exchange, this.longestSpanMs || LONGEST_SPAN_MS);
    if (code === 'session-limit-reached' || code === 'session-ended' || code === 'session-not-found')
      screen.phase = undefined;
    if (code === 'session-ended') this.rename(screen);
    if (code === 'phase-not-found') Object.assign(screen, { stream: this.someStream(), isPhaseSure: false });
    const askedMs = (reply?.retry_after_seconds ?? 0) * 1_000;
    screen.dueAt = this.now() + Math.max(Math.min(askedMs, 6 * xMs), 0.5 * xMs) + this.between(0, 0.5) * xMs;
  }

  private keep(screen: Screen, { session }: SimulatedReply, exchange: Exchange): void {
    if (session === undefined) return;
    const { expires_at: expiresAt, last_activity_at: lastActivityAt } = session;
    // A keepalive after the longest pause moves nothing.
    if (lastActivityAt === screen.lastActivityAt) return;
    screen.lastActivityAt = lastActivityAt;
    const spanMs = Date.parse(expiresAt) - Date.parse(lastActivityAt);
    this.longestSpanMs = Math.max(this.longestSpanMs, spanMs);
    this.places.keep(screen.sessionId, exchange, spanMs);
  }

  private async keepAlive(screen: Screen): Promise<void> {
    const path = `${this.sessionPath(screen)}/keepalive`;
    const { reply, exchange } = await this.send('keepalive', undefined, 'POST', path);
    const xMs = screen.stream.phaseSeconds * 1_000;
    screen.dueAt = this.now() + this.between(0.8, 1) * xMs;
    if (reply?.status === 200) return this.keep(screen, reply, exchange);
    const fault = reply === undefined ? undefined : this.faultOf(screen.sessionId, reply, exchange);
    if (fault !== undefined) this.settings.report.wrong(this.settings.userId, fault);
    if (reply?.code === 'session-ended' || reply?.code === 'session-not-found') this.replace(screen, 0);
  }

  /** The player goes away in mid-request. The service may or may not have counted the phase. */
  private async abort(screen: Screen): Promise<void> {
    const giveUp = AbortSignal.timeout(Math.ceil(this.between(0, 1) * ABORT_WITHIN_MS));
    const { exchange } = await this.send('abort', phaseBody(screen, {}), 'POST', '/v1/phases', giveUp);
    this.places.doubt(screen.sessionId, exchange, this.longestSpanMs);
    Object.assign(screen, { lastActivityAt: undefined, isPhaseSure: false });
    screen.dueAt = this.now() + this.between(0, 0.3) * screen.stream.phaseSeconds * 1_000;
  }

  private async quit(screen: Screen): Promise<void> {
    this.places.beginEnd(screen.sessionId);
    const { reply } = await this.send('end', undefined, 'DELETE', `${this.sessionPath(screen)}?reason=left`);
    if (reply?.status === 204) this.places.end(screen.sessionId);
  }

  /** Another session starts on the screen after so many phases. */
  private replace(screen: Screen, phases: number): void {
    this.rename(screen);
    Object.assign(screen, { phase: undefined, pausedUntil: 0, stream: this.someStream() });
    screen.dueAt = this.now() + phases * screen.stream.phaseSeconds * 1_000;
  }

  private rename(screen: Screen): void {
    screen.sessionId = randomUUID();
    screen.lastActivityAt = undefined;
  }

  private async send(
    call: SimulatedCall,
    body: Record<string, unknown> | undefined,
    method: 'POST' | 'DELETE' = 'POST',
    path = '/v1/phases',
    giveUp?: AbortSignal,
  ): Promise<{ reply: SimulatedReply | undefined; exchange: Exchange }> {
    const { api, report, token, userId, clock } = this.settings;
    const whole =
      body === undefined ? undefined : { ...body, ...(token === undefined ? { user_id: userId } : {}) };
    const sentAt = clock.monotonic();
    const reply = await api.send(method, path, token, whole, giveUp);
    const exchange = { sentAt, repliedAt: clock.monotonic() };
    report.note(call, exchange.repliedAt - sentAt, reply);
    return { reply: typeof reply === 'string' ? undefined : reply, exchange };
  }

  private sessionPath({ sessionId }: Screen): string {
    return `/v1/users/${this.settings.userId}/sessions/${sessionId}`;
  }

  private newScreen(): Screen {
    return {
      sessionId: randomUUID(),
      stream: this.someStream(),
      phase: undefined,
      isPhaseSure: true,
      dueAt: 0,
      pausedUntil: 0,
      lastActivityAt: undefined,
    };
  }

  private someStream(): WatchedStream {
    const { streams } = this.settings;
    return streams[Math.floor(this.between(0, streams.length))]!;
  }

  private somePhase({ phases }: WatchedStream): number {
    return Math.floor(this.between(0, phases ?? 1));
  }

  private between(least: number, most: number): number {
    return least + this.settings.random() * (most - least);
  }

  /** One of the values by their weights in percent, else `otherwise`. */
  private choose<T>(weighted: readonly (readonly [T, number])[], otherwise: T): T {
    let left = this.between(0, 100);
    for (const [value, percent] of weighted) if ((left -= percent) < 0) return value;
    return otherwise;
  }

  private now(): number {
    return this.settings.clock.monotonic();
  }

  private async wait(ms: number, signal: AbortSignal): Promise<void> {
    if (ms > 0) await sleep(ms, undefined, { signal }).catch(() => undefined);
  }
}

function phaseBody(
  { sessionId, stream }: Screen,
  more: { readonly phase?: number },
): Record<string, unknown> {
  return { session_id: sessionId, stream_id: stream.streamId, ...more };
}

function limitOf(reply: SimulatedReply | undefined): number | undefined {
  return isAdmitted(reply) ? reply.sessions.limit : reply?.limit;
}

function isAdmitted(reply: SimulatedReply | undefined): reply is AdmittedReply {
  return reply?.phase !== undefined;
}
