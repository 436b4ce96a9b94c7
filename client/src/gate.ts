import { type Ended, type Refused, refusal } from './api.js';
import { TabSession, randomId, watchPage } from './tab.js';
import { wait } from './time.js';

/** How often a paused player reports that it is there. Less than n·X, which is 30 s by default. */
const KEEPALIVE_MS = 10_000;

/** The part of a media element that is used here. */
export interface Media {
  readonly paused: boolean;
  readonly ended: boolean;
  play(): Promise<void>;
  pause(): void;
  addEventListener(type: MediaEventName, listener: () => void): void;
  removeEventListener(type: MediaEventName, listener: () => void): void;
}
type MediaEventName = 'play' | 'pause' | 'ended';

/** What differs from player to player. */
export interface Player {
  load(url: string): void;
  /** Ends all requests of the player, and whatever shows that it waits for one. */
  stop(refused: Refused | Ended): void;
}

/** A playback at the gate. */
export interface GatePlayback {
  /** Undefined if the URL has a ticket: then the ticket names the session. */
  readonly sessionId: string | undefined;
  /** After a refusal: loads the stream again, and plays it if it is admitted. */
  retry(): void;
  /** Gives the place back. The request is on its way when this function returns, even while the page is closed. */
  leave(): Promise<void>;
}

export type OnRefusal = (refusal: Refused | Ended) => void;

/** The state of a player in a report of CMCD version 2 (CTA-5004-B, `sta`). */
type State = 'paused' | 'ended' | 'quit';
const STATES: Readonly<Record<State, string>> = { paused: 'a', ended: 'e', quit: 'q' };

/**
 * What the adapters of all players share. It keeps the place of a paused player, gives it back when the film or the page
 * ends, and stops a player that may not play on. It reports to `POST /v1/cmcd`, which needs the ids of the session, or the
 * ticket that the gate puts into the path of each URI of a playlist.
 */
export class GateClient implements GatePlayback {
  readonly #first: URL;
  readonly #player: Player;
  readonly #onRefusal: OnRefusal;
  readonly #tab: string | undefined;
  #session: TabSession | undefined;
  /** A playlist that the player loads again and again, in contrast to the first one, whose ticket soon expires. */
  #playlist: string | undefined;
  #media: Media | undefined;
  /** Between the first reply to the player and a refusal or `leave`. */
  #holds = false;
  /** The place may have been lost since the player played last: it must ask before it plays on from its buffer. */
  #rested = false;
  #pause = new AbortController();
  #stopWatchingPage: (() => void) | undefined;

  constructor(playbackUrl: string, player: Player, onRefusal: OnRefusal) {
    this.#first = new URL(playbackUrl, (globalThis as { location?: { href: string } }).location?.href);
    this.#player = player;
    this.#onRefusal = onRefusal;
    const { searchParams, pathname } = this.#first;
    const named = searchParams.has('ticket') || searchParams.has('session_id');
    this.#tab = named ? undefined : `${pathname} ${searchParams.get('user_id')}`;
  }

  get sessionId(): string | undefined {
    return this.#first.searchParams.get('session_id') ?? undefined;
  }

  /** Loads the stream. */
  start(): void {
    this.#listen(); // again after `leave`; an element has each listener once
    if (this.#tab !== undefined) {
      this.#session ??= new TabSession(this.#tab);
      this.#first.searchParams.set('session_id', this.#session.id);
    }
    this.#playlist = this.#first.searchParams.has('ticket') ? undefined : this.#first.href;
    this.begin();
    this.#player.load(this.#first.href);
  }

  /** To be called when the player loads a stream without `start`: the next refusal is news again. */
  begin(): void {
    this.#stopWatchingPage ??= watchPage(
      () => void this.#quit(),
      () => void this.#ask(),
    );
  }

  retry(): void {
    this.start();
    void this.#media?.play().catch(() => undefined);
  }

  async leave(): Promise<void> {
    const left = this.#quit();
    this.#end();
    this.#detach();
    await left;
  }

  /** To be called with the element that plays, as soon as there is one. */
  attach(media: Media | null | undefined): void {
    if (!media || media === this.#media) return;
    this.#detach();
    this.#media = media;
    this.#listen();
  }

  #listen(): void {
    const media = this.#media;
    if (!media) return;
    media.addEventListener('pause', this.#onPause);
    media.addEventListener('play', this.#onPlay);
    media.addEventListener('ended', this.#onEnded);
  }

  /** To be called with the URL of each successful request of the player. */
  noteUrl(text: string | undefined): void {
    if (text === undefined || !this.#isOfGate(text)) return;
    if (new URL(text).pathname.endsWith('/index.m3u8') && !this.#isFirst(text)) this.#playlist = text;
    if (this.#holds) return;
    this.#holds = true;
    if (this.#media?.paused) void this.#keepPlace();
  }

  /** To be called with the body of a reply of status 403. Returns whether it was a refusal of the gate. */
  refuse(body: unknown): boolean {
    const refused = refusal(parsed(body));
    if (refused === undefined) return false;
    // A player sends several requests at the same time, and each of them is refused.
    if (this.#stopWatchingPage === undefined) return true;
    this.#end();
    this.#player.stop(refused);
    // A session that was ended plays nothing more, though the player has buffered more.
    if (this.#media?.paused === false) this.#media.pause();
    this.#onRefusal(refused);
    return true;
  }

  readonly #onPause = (): void => {
    if (!this.#holds || this.#media?.ended) return;
    this.#rested = true;
    void this.#report('paused').then(() => this.#keepPlace());
  };

  readonly #onEnded = (): void => {
    if (!this.#holds) return;
    this.#rested = true;
    void this.#report('ended');
  };

  readonly #onPlay = (): void => {
    this.#pause.abort();
    if (this.#holds && this.#rested) void this.#ask();
  };

  async #keepPlace(): Promise<void> {
    this.#pause.abort();
    const { signal } = (this.#pause = new AbortController());
    while (this.#media?.paused && !this.#media.ended) {
      await wait(KEEPALIVE_MS, signal);
      if (signal.aborted) return;
      this.#rested = true;
      await this.#report('paused');
    }
  }

  /** Takes the place again, or learns that there is none. A fault of the network is left to the player. */
  async #ask(): Promise<void> {
    if (!this.#holds || this.#playlist === undefined) return;
    this.#rested = false;
    try {
      const reply = await fetch(this.#playlist, { cache: 'no-store' });
      if (reply.status === 403) this.refuse(await reply.text());
    } catch {
      this.#rested = true;
    }
  }

  /** The page may come back, so that nothing is forgotten. */
  async #quit(): Promise<void> {
    if (this.#holds) await this.#report('quit');
  }

  /**
   * Sends a report. 410 means that the session was ended. That is no news to a player that quits: if its page comes back, it
   * asks again. A report that is lost costs at most n·X of the place.
   */
  async #report(state: State): Promise<void> {
    if (this.#playlist === undefined) return;
    const target = new URL('../../cmcd', this.#first);
    target.search = this.#identity(this.#playlist);
    try {
      const reply = await fetch(target.href, {
        method: 'POST',
        headers: { 'content-type': 'application/cmcd' },
        body: `e=ps,sid="${this.sessionId ?? randomId()}",sta=${STATES[state]},ts=${Date.now()},v=2`,
        keepalive: true,
      });
      if (reply.status === 410 && state !== 'quit') this.refuse(await reply.text());
    } catch {
      // The page is gone, or the network.
    }
  }

  /** The query that names the session. The ticket of the first URL opens a playlist and nothing else. */
  #identity(playlist: string): string {
    const ticket = /\/s\/([^/]+)\//.exec(new URL(playlist).pathname)?.[1];
    return this.#first.searchParams.has('ticket') && ticket !== undefined
      ? `?ticket=${ticket}`
      : this.#first.search;
  }

  #end(): void {
    this.#holds = false;
    this.#rested = false;
    this.#pause.abort();
    this.#stopWatchingPage?.();
    this.#stopWatchingPage = undefined;
    // The next start is a new session: this one may have been ended, and would be refused.
    this.#session?.forget();
    this.#session = undefined;
  }

  #detach(): void {
    this.#media?.removeEventListener('pause', this.#onPause);
    this.#media?.removeEventListener('play', this.#onPlay);
    this.#media?.removeEventListener('ended', this.#onEnded);
  }

  #isOfGate(url: string): boolean {
    return url.startsWith(new URL('.', this.#first).href);
  }

  #isFirst(url: string): boolean {
    return new URL(url).pathname === this.#first.pathname;
  }
}

/** The JSON value of a body that a player read as text or as bytes; undefined if it is none. */
function parsed(body: unknown): unknown {
  try {
    return JSON.parse(typeof body === 'string' ? body : new TextDecoder().decode(body as ArrayBuffer));
  } catch {
    return undefined;
  }
}
