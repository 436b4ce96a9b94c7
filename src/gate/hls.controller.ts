import { randomUUIDv7 } from 'node:crypto';
import { Controller, Get, Param, Query, Req, Res } from '@nestjs/common';
import { ApiOperation, ApiParam, ApiQuery, ApiResponse, ApiTags } from '@nestjs/swagger';
import { IsOptional, IsString, Matches } from 'class-validator';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { LRUCache } from 'lru-cache';
import { unauthorized } from '../auth/bearer.js';
import { type TicketUse, Tickets } from '../auth/tickets.js';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { addressOf } from '../http/connections.js';
import { delivered } from '../http/delivery.js';
import { ApiProblems } from '../http/docs.js';
import { ID_RULE } from '../http/fields.js';
import { Problem } from '../http/problem.js';
import { RateLimits } from '../http/rate-limits.js';
import { IsId } from '../http/validation.js';
import { type Quota } from '../sessions/quota.js';
import { SessionRepository } from '../sessions/session.repository.js';
import { refusal } from '../sessions/sessions.errors.js';
import { LIMIT_REACHED, SESSION_ENDED, SESSION_ID, USER_ID } from '../sessions/sessions.schemas.js';
import { Admissions } from '../sessions/admissions.js';
import { MediaSigner } from '../streams/signing/media-signer.js';
import { type Stream } from '../streams/phases.js';
import { PLAY_PATH, playbackQuery } from '../streams/playback.js';
import { STREAM_ID } from '../streams/streams.schemas.js';
import { streamProblem } from '../streams/streams.errors.js';
import { Catalogue, windowOf } from '../streams/catalogue.js';

const HLS_TYPE = 'application/vnd.apple.mpegurl';
const TEXT = { type: 'string' };

/** For so long a player that was refused is refused again without asking the store. */
const DENIAL_MS = 1_000;
/**
 * And who was ended stays ended for as long as it keeps asking: hls.js takes a segment that is refused for one that may
 * come, and would be let in again when the store has forgotten that it was ended.
 */
const ENDED_MS = 10 * 60_000;
/** A refusal lists the sessions that hold the places: about a kilobyte each. */
const BY_WEIGHT = {
  maxSize: 40_000,
  sizeCalculation: ({ members: { sessions } }: Problem): number =>
    1 + (Array.isArray(sessions) ? sessions.length : 0),
};
const UNTOUCHED_MS = 2_000;
const MAX_UNTOUCHED = 10_000;

class StreamParams {
  @IsId()
  readonly stream_id: string;
}

class RenditionParams extends StreamParams {
  @Matches(/^\d{1,4}$/, { message: 'must be a rendition that the playlist names' })
  readonly rendition: string;

  readonly name: string;
}

class NameParams extends StreamParams {
  readonly name: string;
}

class ViewerQuery {
  @IsOptional()
  @IsString({ message: 'must be one ticket' })
  readonly ticket?: string;

  @IsOptional()
  @IsId()
  readonly user_id?: string;

  @IsOptional()
  @IsId()
  readonly session_id?: string;
}

/** Who plays, as a ticket says it, or the URL itself. */
interface Player {
  readonly user_id: string;
  readonly session_id?: string | undefined;
  readonly quota: Quota;
  /** The address that this service was asked by. */
  readonly self: string;
  /** What was shown. */
  readonly ticket: string | undefined;
}

type PlayRequest = FastifyRequest<{ Querystring: Record<string, string> }>;

/**
 * The gate: HLS for players with no code of ours in them. Its playlists are the origin's with every URI led through
 * here; a segment is answered with a redirect to its signed URL. Each such request is the session asking for the phase
 * that the segment lies in, and costs one call to the store.
 */
@ApiTags('play')
@ApiParam({ name: 'stream_id', schema: STREAM_ID })
@ApiQuery({
  name: 'ticket',
  schema: TEXT,
  required: false,
  description: 'Of POST /v1/tickets; with AUTH_MODE=jwt needed, and enough.',
})
@ApiQuery({ name: 'user_id', schema: USER_ID, required: false, description: 'Needed without a ticket.' })
@ApiQuery({ name: 'session_id', schema: SESSION_ID, required: false, description: 'Left out: a new one.' })
@ApiProblems(
  'unauthorized',
  'not-your-session',
  { ...LIMIT_REACHED, status: 403 },
  { ...SESSION_ENDED, status: 403 },
  'stream-not-found',
  'phase-not-found',
  'invalid-request',
  'rate-limited',
  'origin-unavailable',
  'store-unavailable',
)
@Controller(`${PLAY_PATH}/:stream_id`)
export class HlsController {
  /**
   * The session that a client was given a moment ago and has fetched nothing with yet. Some players (mpv) load the first URL
   * twice, once to see what it is. Pages do not, and two tabs may begin at the same instant.
   */
  private readonly untouched = new LRUCache<string, string>({ max: MAX_UNTOUCHED, ttl: UNTOUCHED_MS });
  private readonly denials = new LRUCache<string, Problem>({ ...BY_WEIGHT, ttl: DENIAL_MS });
  private readonly ended = new LRUCache<string, Problem>({
    ...BY_WEIGHT,
    ttl: ENDED_MS,
    updateAgeOnGet: true,
  });
  private readonly byTicket: boolean;
  private readonly quota: Quota;
  private readonly urlLifeMs: number;

  constructor(
    private readonly sessions: Admissions,
    private readonly repository: SessionRepository,
    private readonly streams: Catalogue,
    private readonly signer: MediaSigner,
    private readonly tickets: Tickets,
    private readonly clock: Clock,
    private readonly limits: RateLimits,
    config: Config,
  ) {
    this.byTicket = config.AUTH_MODE === 'jwt';
    this.quota = config.policy.quota;
    this.urlLifeMs = config.phaseMs;
  }

  @Get('index.m3u8')
  @ApiOperation({
    summary: 'The playlist of a stream, for any HLS player',
    description:
      'Give a player this URL with a ticket; or, with AUTH_MODE=none, with a user_id. It is sent on to the same URL ' +
      'with a session_id, by which all that it fetches from then on is one session.',
  })
  @ApiResponse({ status: 200, description: 'The playlist.', content: { [HLS_TYPE]: { schema: TEXT } } })
  @ApiResponse({ status: 302, description: 'To the same URL with a session_id.' })
  async start(
    @Param() { stream_id }: StreamParams,
    @Query() query: ViewerQuery,
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const player = await this.playerOf(query, request, reply, stream_id, 'playlist');
    if (player.session_id === undefined) {
      const client = clientOf(request, stream_id, player);
      const given = isPage(request) ? undefined : this.untouched.get(client);
      const session_id = given ?? randomUUIDv7();
      if (given === undefined) this.untouched.set(client, session_id); // or it would last for as long as somebody asks
      // As it was sent, names that are there twice included.
      const search = new URLSearchParams(request.url.split('?')[1]);
      search.set('session_id', session_id);
      redirect(reply, `${player.self}/${PLAY_PATH}/${stream_id}/index.m3u8?${search.toString()}`);
      return;
    }
    const root = await this.streams.open(stream_id);
    const lookup = await this.streams.findIn(root, stream_id);
    // A first playlist is somebody's try, and no loop: whatever was refused a moment ago, the store is asked.
    this.forget(player);
    await this.admit(
      reply,
      stream_id,
      player,
      'same',
      lookup.outcome === 'found' ? lookup.stream : undefined,
    );
    if (root.outcome !== 'found') throw streamProblem(root.outcome);
    if (lookup.outcome !== 'found') throw streamProblem(lookup.outcome);
    const folder = root.playlist.kind === 'media' ? '0/' : '';
    const own = await this.queryOf(player, stream_id);
    sendPlaylist(
      reply,
      player.ticket !== undefined && folder
        ? leadOn(`${folder}index.m3u8${own}`)
        : root.playlist.template.write(folder, own),
    );
  }

  @Get(':rendition/:name')
  @ApiOperation({
    summary: 'What a playlist of this gate names',
    description:
      'A playlist, or a segment, key or initialisation section: a redirect to where it is, by a URL that lives for X.',
  })
  @ApiParam({ name: 'rendition', schema: { type: 'string', pattern: '^\\d{1,4}$' } })
  @ApiParam({ name: 'name', schema: { type: 'string' } })
  @ApiResponse({ status: 200, description: 'A playlist.', content: { [HLS_TYPE]: { schema: TEXT } } })
  @ApiResponse({ status: 302, description: 'To the signed URL.' })
  async fetch(
    @Param() { stream_id, rendition, name }: RenditionParams,
    @Query() query: ViewerQuery,
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const player = await this.playerOf(query, request, reply, stream_id, 'media');
    this.untouched.delete(clientOf(request, stream_id, player));
    const index = Number(rendition);
    const lookup = this.streams.known(stream_id, index) ?? (await this.streams.find(stream_id, index));
    if (lookup.outcome !== 'found') {
      await this.admit(reply, stream_id, player, 'same', undefined);
      throw streamProblem(lookup.outcome);
    }
    const { playlist, stream } = lookup;
    if (name === 'index.m3u8') {
      await this.admit(reply, stream_id, player, 'same', stream);
      // By the ticket that it was loaded with: a plan, or an account, must not live on from playlist to playlist.
      const session = { userId: player.user_id, sessionId: player.session_id! };
      sendPlaylist(reply, playlist.template.write('', playbackQuery(session, player.ticket)));
      return;
    }
    const sequence = /^\d{1,16}(?=\.|$)/.exec(name)?.[0];
    const path =
      sequence === undefined ? playlist.assets.get(name) : playlist.segments.get(Number(sequence))?.path;
    const phase = sequence === undefined ? 'same' : stream.phaseOf(Number(sequence));
    await this.admit(reply, stream_id, player, phase, path === undefined ? undefined : stream, true);
    this.sendOn(path, player, reply);
  }

  @Get(':name')
  @ApiOperation({
    summary: 'What the first playlist names that is no playlist',
    description: 'A key or data of the session: a redirect to where it is, by a URL that lives for X.',
  })
  @ApiParam({ name: 'name', schema: { type: 'string' } })
  @ApiResponse({ status: 302, description: 'To the signed URL.' })
  async fetchOfSession(
    @Param() { stream_id, name }: NameParams,
    @Query() query: ViewerQuery,
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const player = await this.playerOf(query, request, reply, stream_id, 'media');
    const root = await this.streams.open(stream_id);
    const lookup = await this.streams.findIn(root, stream_id);
    const path = root.outcome === 'found' ? root.playlist.assets.get(name) : undefined;
    const stream = path !== undefined && lookup.outcome === 'found' ? lookup.stream : undefined;
    await this.admit(reply, stream_id, player, 'same', stream, true);
    if (lookup.outcome !== 'found') throw streamProblem(lookup.outcome);
    this.sendOn(path, player, reply);
  }

  private sendOn(path: string | undefined, { self }: Player, reply: FastifyReply): void {
    if (path === undefined) throw movedOn();
    const signed = this.signer.sign(path, this.signer.endOf(this.clock.now() + this.urlLifeMs));
    redirect(reply, this.streams.mediaBase(self) + signed);
  }

  /** Who plays, where they may ask now; with a session, which what a playlist names is of. */
  private async playerOf(
    query: ViewerQuery,
    request: PlayRequest,
    reply: FastifyReply,
    streamId: string,
    use: TicketUse,
  ): Promise<Player> {
    const self = addressOf(request);
    const player = { ...(await this.identify(query, streamId, use)), self };
    if (use === 'media' && player.session_id === undefined)
      throw Problem.invalidRequest([{ field: 'session_id', message: 'is missing: begin with index.m3u8' }]);
    // Apart from what the user asks the API: a player that loops, or a URL that leaked, must not keep them from ending it.
    await this.limits.ofUser(request, reply, `${player.user_id}/play`);
    return player;
  }

  /** A ticket says whose session it is; what stands beside it may say the same, and nothing else. */
  private async identify(
    { ticket, user_id, session_id }: ViewerQuery,
    streamId: string,
    use: TicketUse,
  ): Promise<Omit<Player, 'self'>> {
    if (ticket === undefined) {
      if (this.byTicket) throw unauthorized('Give the player a playback_url, which has a ticket.', 'none');
      if (user_id === undefined) throw Problem.invalidRequest([{ field: 'user_id', message: ID_RULE }]);
      return { user_id, session_id, quota: this.quota, ticket };
    }
    const { userId, sessionId, quota, ...opened } = await this.tickets.open(use, ticket);
    if (
      opened.streamId !== streamId ||
      (user_id ?? userId) !== userId ||
      (session_id ?? sessionId) !== sessionId
    )
      throw new Problem(
        'not-your-session',
        'The ticket is for another stream, user or session: ask for one for this.',
      );
    return { user_id: userId, session_id: sessionId, quota, ticket };
  }

  /** What the URIs of the first playlist tell of the player that loads it. */
  private async queryOf({ user_id, session_id, quota, ticket }: Player, streamId: string): Promise<string> {
    const session = { userId: user_id, sessionId: session_id!, streamId };
    const own = ticket === undefined ? undefined : await this.tickets.issue('media', { ...session, quota });
    return playbackQuery(session, own?.ticket);
  }

  private forget(player: Player): void {
    this.ended.delete(keyOf(player));
    this.denials.delete(keyOf(player));
  }

  /** Whoever was ended may have been admitted again by POST /v1/phases, here or elsewhere: the store is asked once in X. */
  private async stillEnded(userId: string, sessionId: string): Promise<Problem | undefined> {
    const key = keyOf({ user_id: userId, session_id: sessionId });
    const ended = this.ended.get(key);
    if (!ended) return undefined;
    const { sessions } = await this.repository.list(userId);
    if (!sessions.some((session) => session.sessionId === sessionId)) {
      this.denials.set(key, ended, { ttl: this.urlLifeMs });
      return ended;
    }
    this.ended.delete(key);
    return undefined;
  }

  /** Throws what the player is told where it may not have it. Without a stream: only what comes before its absence. */
  private async admit(
    reply: FastifyReply,
    streamId: string,
    { user_id: userId, session_id: sessionId, quota }: Player,
    phase: number | 'same',
    stream: Stream | undefined,
    confirms = false,
  ): Promise<void> {
    const key = keyOf({ user_id: userId, session_id: sessionId });
    const denied = this.denials.get(key) ?? (await this.stillEnded(userId, sessionId!));
    if (denied) throw denied;
    const admission = await this.sessions.admit({
      userId,
      sessionId,
      streamId,
      phase,
      window: stream && windowOf(stream),
      endSessionIds: [],
      quota,
    });
    switch (admission.outcome) {
      case 'admitted':
        // A playlist is no phase yet: a player that only looked loses its place when the lease lapses. A signed URL is
        // media, whatever it is of and by whatever method it was asked for.
        void this.sessions.settle(admission.place, delivered(reply.raw), { confirms });
        return;
      case 'phase-not-found':
        if (stream) throw movedOn();
        return;
      case 'session-ended':
      case 'limit-reached': {
        // Players take 409 and 410 for a fault that may pass and try again; 403 stops them.
        const { code, detail, members } = refusal(admission, quota);
        const denial = new Problem(code, detail, { members, status: 403 });
        const ended = admission.outcome === 'session-ended';
        if (ended) this.ended.set(key, denial);
        const ttl = ended ? this.urlLifeMs : Math.min(DENIAL_MS, admission.retryAt - admission.now);
        this.denials.set(key, denial, { ttl: Math.max(1, ttl) });
        throw denial;
      }
    }
  }
}

/** What a browser fetches for a page says so. */
function isPage({ headers }: PlayRequest): boolean {
  return (headers.origin ?? headers.referer ?? headers['sec-fetch-mode']) !== undefined;
}

function clientOf({ ip, headers }: PlayRequest, streamId: string, { user_id }: Player): string {
  return [user_id, streamId, ip, headers['user-agent']?.slice(0, 100)].join(' ');
}

function keyOf({ user_id, session_id }: Pick<Player, 'user_id' | 'session_id'>): string {
  return `${user_id} ${session_id}`;
}

/**
 * A live playlist is loaded again by the URL that the player began with, and a ticket opens that for minutes only. So
 * the player is led on to one that the longer ticket opens. What its bandwidth is nobody knows, and with one variant
 * nobody asks.
 */
function leadOn(uri: string): string {
  return `#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000000\n${uri}\n`;
}

/** What left the window of a live stream, or never was in it. */
function movedOn(): Problem {
  return new Problem('phase-not-found', 'Load the playlist again: it has moved on.');
}

/** Both are one session's alone, and the next one may be refused. */
function sendPlaylist(reply: FastifyReply, text: string): void {
  void reply.type(HLS_TYPE).header('cache-control', 'no-store').send(text);
}

function redirect(reply: FastifyReply, url: string): void {
  void reply.header('cache-control', 'no-store').redirect(url, 302);
}
