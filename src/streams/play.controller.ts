import { randomUUIDv7 } from 'node:crypto';
import { Controller, Get, Param, Query, Req, Res } from '@nestjs/common';
import { ApiOperation, ApiParam, ApiQuery, ApiResponse, ApiTags } from '@nestjs/swagger';
import { IsOptional, Matches } from 'class-validator';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { LRUCache } from 'lru-cache';
import { Clock } from '../clock.js';
import { Config } from '../config.js';
import { addressOf } from '../http/connections.js';
import { delivered } from '../http/delivery.js';
import { ApiProblems } from '../http/docs.js';
import { Problem } from '../http/problem.js';
import { RateLimits } from '../http/rate-limits.js';
import { IsId } from '../http/validation.js';
import { refusal } from '../sessions/sessions.errors.js';
import { LIMIT_REACHED, SESSION_ENDED, SESSION_ID, USER_ID } from '../sessions/sessions.schemas.js';
import { SessionsService } from '../sessions/sessions.service.js';
import { MediaSigner } from './media-signer.js';
import { type Stream } from './phases.js';
import { STREAM_ID } from './streams.schemas.js';
import { streamProblem } from './streams.errors.js';
import { StreamsService } from './streams.service.js';

export const PLAY_PATH = 'v1/play';
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

class ViewerQuery {
  @IsId()
  readonly user_id: string;

  @IsOptional()
  @IsId()
  readonly session_id?: string;
}

type PlayRequest = FastifyRequest<{ Querystring: Record<string, string> }>;

/**
 * The gate: HLS for players with no code of ours in them. Its playlists are the origin's with every URI led through
 * here; a segment is answered with a redirect to its signed URL. Each such request is the session asking for the phase
 * that the segment lies in, and costs one call to the store.
 */
@ApiTags('play')
@ApiParam({ name: 'stream_id', schema: STREAM_ID })
@ApiQuery({ name: 'user_id', schema: USER_ID })
@ApiQuery({ name: 'session_id', schema: SESSION_ID, required: false, description: 'Left out: a new one.' })
@ApiProblems(
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
export class PlayController {
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
  private readonly limit: number;
  private readonly urlLifeMs: number;

  constructor(
    private readonly sessions: SessionsService,
    private readonly streams: StreamsService,
    private readonly signer: MediaSigner,
    private readonly clock: Clock,
    private readonly limits: RateLimits,
    config: Config,
  ) {
    this.limit = config.MAX_SESSIONS_PER_USER;
    this.urlLifeMs = config.phaseMs;
  }

  @Get('index.m3u8')
  @ApiOperation({
    summary: 'The playlist of a stream, for any HLS player',
    description:
      'Give a player this URL with a user_id. It is sent on to the same URL with a session_id, by which all that it ' +
      'fetches from then on is one session.',
  })
  @ApiResponse({ status: 200, description: 'The playlist.', content: { [HLS_TYPE]: { schema: TEXT } } })
  @ApiResponse({ status: 302, description: 'To the same URL with a session_id.' })
  async start(
    @Param() { stream_id }: StreamParams,
    @Query() query: ViewerQuery,
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    await this.limits.ofUser(request, reply, query.user_id);
    if (query.session_id === undefined) {
      const client = clientOf(request, stream_id, query);
      const given = isPage(request) ? undefined : this.untouched.get(client);
      const session_id = given ?? randomUUIDv7();
      if (given === undefined) this.untouched.set(client, session_id); // or it would last for as long as somebody asks
      const search = new URLSearchParams({ ...request.query, session_id });
      redirect(reply, `${addressOf(request)}/${PLAY_PATH}/${stream_id}/index.m3u8?${search.toString()}`);
      return;
    }
    const root = await this.streams.open(stream_id);
    const lookup = root.outcome === 'found' ? await this.streams.find(stream_id) : root;
    // A first playlist is somebody's try, and no loop: whatever was refused a moment ago, the store is asked.
    this.forget(query);
    await this.admit(reply, stream_id, query, 'same', lookup.outcome === 'found' ? lookup.stream : undefined);
    if (root.outcome !== 'found') throw streamProblem(root.outcome);
    if (lookup.outcome !== 'found') throw streamProblem(lookup.outcome);
    const folder = root.playlist.kind === 'media' ? '0/' : '';
    sendPlaylist(reply, root.playlist.template.write(folder, viewerOf(query)));
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
    if (query.session_id === undefined)
      throw Problem.invalidRequest([{ field: 'session_id', message: 'is missing: begin with index.m3u8' }]);
    await this.limits.ofUser(request, reply, query.user_id);
    this.untouched.delete(clientOf(request, stream_id, query));
    const lookup = await this.streams.find(stream_id, Number(rendition));
    if (lookup.outcome !== 'found') {
      await this.admit(reply, stream_id, query, 'same', undefined);
      throw streamProblem(lookup.outcome);
    }
    const { playlist, stream } = lookup;
    if (name === 'index.m3u8') {
      await this.admit(reply, stream_id, query, 'same', stream);
      sendPlaylist(reply, playlist.template.write('', viewerOf(query)));
      return;
    }
    const sequence = /^\d{1,16}(?=\.|$)/.exec(name)?.[0];
    const path =
      sequence === undefined ? playlist.assets.get(name) : playlist.segments.get(Number(sequence))?.path;
    const phase = sequence === undefined ? 'same' : stream.phaseOf(Number(sequence));
    await this.admit(reply, stream_id, query, phase, path === undefined ? undefined : stream);
    if (path === undefined) throw movedOn();
    const signed = this.signer.sign(path, this.signer.endOf(this.clock.now() + this.urlLifeMs));
    redirect(reply, this.streams.mediaBase(addressOf(request)) + signed);
  }

  private forget(query: ViewerQuery): void {
    this.ended.delete(keyOf(query));
    this.denials.delete(keyOf(query));
  }

  /** Throws what the player is told where it may not have it. Without a stream: only what comes before its absence. */
  private async admit(
    reply: FastifyReply,
    streamId: string,
    { user_id: userId, session_id: sessionId }: ViewerQuery,
    phase: number | 'same',
    stream: Stream | undefined,
  ): Promise<void> {
    const key = keyOf({ user_id: userId, session_id: sessionId });
    const denied = this.ended.get(key) ?? this.denials.get(key);
    if (denied) throw denied;
    const admission = await this.sessions.admit({
      userId,
      sessionId,
      streamId,
      phase,
      phases: stream?.phases ?? 0,
      live: stream?.live,
      endSessionIds: [],
    });
    switch (admission.outcome) {
      case 'admitted':
        // A playlist is no phase yet: a player that only looked loses its place when the lease lapses.
        // Nor is a HEAD.
        void this.sessions.settle(admission.place, delivered(reply.raw), {
          confirms: phase !== 'same' && reply.request.method !== 'HEAD',
        });
        return;
      case 'phase-not-found':
        if (stream) throw movedOn();
        return;
      case 'session-ended':
      case 'limit-reached': {
        // Players take 409 and 410 for a fault that may pass and try again; 403 stops them.
        const { code, detail, members } = refusal(admission, this.limit);
        const denial = new Problem(code, detail, { members, status: 403 });
        if (admission.outcome === 'session-ended') this.ended.set(key, denial);
        else
          this.denials.set(key, denial, {
            ttl: Math.max(1, Math.min(DENIAL_MS, admission.retryAt - admission.now)),
          });
        throw denial;
      }
    }
  }
}

/** What a browser fetches for a page says so. */
function isPage({ headers }: PlayRequest): boolean {
  return (headers.origin ?? headers.referer ?? headers['sec-fetch-mode']) !== undefined;
}

function clientOf({ ip, headers }: PlayRequest, streamId: string, { user_id }: ViewerQuery): string {
  return [user_id, streamId, ip, headers['user-agent']?.slice(0, 100)].join(' ');
}

function keyOf({ user_id, session_id }: ViewerQuery): string {
  return `${user_id} ${session_id}`;
}

function viewerOf({ user_id, session_id }: ViewerQuery): string {
  return `?user_id=${encodeURIComponent(user_id)}&session_id=${encodeURIComponent(session_id!)}`;
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
