import { hash } from 'node:crypto';
import { Controller, Get, Param, Req, Res } from '@nestjs/common';
import { RouteSchema } from '@nestjs/platform-fastify';
import { ApiOperation, ApiParam, ApiQuery, ApiResponse, ApiTags } from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { ForPlayers, playerOf } from '../auth/access.js';
import { addressOf } from '../http/connections.js';
import { CompressedTexts } from '../http/compression.js';
import { delivered } from '../http/delivery.js';
import { ApiProblems } from '../http/docs.js';
import { Problem } from '../http/problem.js';
import { RateLimits } from '../http/rate-limits.js';
import { refusal } from '../sessions/sessions.errors.js';
import {
  DEVICE,
  LIMIT_REACHED,
  SESSION_ENDED,
  SESSION_ID,
  TOO_FAR_AHEAD,
  USER_ID,
} from '../sessions/sessions.schemas.js';
import { type StreamLookup, Catalogue } from '../streams/catalogue.js';
import { type MediaPlaylist, type MultivariantPlaylist } from '../streams/hls/playlist.js';
import { MediaUrls } from '../streams/media-urls.js';
import { PLAY_PATH, playbackFolder, playbackQuery } from '../streams/playback.js';
import { streamProblem } from '../streams/streams.errors.js';
import { STREAM_ID } from '../streams/streams.schemas.js';
import { readReportOfRequest } from './cmcd.js';
import { type Client, type Player, type Refusal, type SessionPlayer, Gate } from './gate.service.js';

const HLS_TYPE = 'application/vnd.apple.mpegurl';
const TEXT = { type: 'string' };

interface StreamParams {
  readonly stream_id: string;
}

interface RenditionParams extends StreamParams {
  readonly rendition: string;
  readonly name: string;
}

interface NameParams extends StreamParams {
  readonly name: string;
}

const RENDITION = { ...TEXT, pattern: '^\\d{1,4}$' };
const CREDENTIAL = {
  ...TEXT,
  description: 'A ticket; or, with AUTH_MODE=none, user, session and device with commas between.',
};
const VIEWER_QUERY = {
  type: 'object',
  properties: {
    ticket: TEXT,
    user_id: USER_ID,
    session_id: SESSION_ID,
    device_id: DEVICE.properties.id,
    device_name: DEVICE.properties.name,
  },
};
/** Checked by Fastify, since pipes run after the player is identified and 422 comes before 401. */
const PLAY_REQUEST = {
  params: { type: 'object', properties: { stream_id: STREAM_ID } },
  querystring: VIEWER_QUERY,
};
const RENDITION_REQUEST = {
  params: { type: 'object', properties: { stream_id: STREAM_ID, rendition: RENDITION } },
  querystring: VIEWER_QUERY,
};

type PlayRequest = FastifyRequest<{ Querystring: Record<string, string>; Params: StreamParams }>;

/**
 * HLS at the gate. The playlists are the origin's, with every URI pointing here; a segment is answered with a redirect to
 * its signed URL. A request for a segment is the session asking for the phase that the segment lies in, and costs one call
 * to the store.
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
@ApiQuery({
  name: 'device_id',
  schema: DEVICE.properties.id,
  required: false,
  description:
    'Where it plays: a new session takes the place of the former one of the device. A ticket names its own.',
})
@ApiQuery({ name: 'device_name', schema: DEVICE.properties.name, required: false })
@ApiProblems(
  'unauthorized',
  'not-your-session',
  { ...LIMIT_REACHED, status: 403 },
  { ...SESSION_ENDED, status: 403 },
  'stream-not-found',
  'phase-not-found',
  TOO_FAR_AHEAD,
  'invalid-request',
  'rate-limited',
  'origin-unavailable',
  'store-unavailable',
)
@Controller(`${PLAY_PATH}/:stream_id`)
export class HlsController {
  /** To make an error costs more than to answer, and a player in a loop meets the same refusal again and again. */
  private readonly problems = new WeakMap<Refusal, Problem>();
  private readonly texts = new CompressedTexts();

  constructor(
    private readonly gate: Gate,
    private readonly streams: Catalogue<MultivariantPlaylist, MediaPlaylist>,
    private readonly urls: MediaUrls,
    private readonly limits: RateLimits,
  ) {}

  @Get('index.m3u8')
  @ForPlayers('playlist')
  @RouteSchema(PLAY_REQUEST)
  @ApiOperation({
    operationId: 'getPlaylist',
    summary: 'The playlist of a stream, for any HLS player',
    description:
      'Give a player this URL with a ticket; or, with AUTH_MODE=none, with a user_id. It is sent on to the same URL ' +
      'with a session_id, by which all that it fetches from then on is one session.',
  })
  @ApiResponse({ status: 200, description: 'The playlist.', content: { [HLS_TYPE]: { schema: TEXT } } })
  @ApiResponse({ status: 302, description: 'To the same URL with a session_id.' })
  async start(
    @Param() { stream_id }: StreamParams,
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const player = await this.admitToAsk(request, reply, stream_id);
    if (!hasSession(player)) {
      const sessionId = this.gate.sessionFor(player, clientOf(request));
      // The query as the client sent it, with names that are there twice.
      const search = new URLSearchParams(request.url.split('?')[1]);
      search.set('session_id', sessionId);
      redirect(reply, `${addressOf(request)}/${PLAY_PATH}/${stream_id}/index.m3u8?${search.toString()}`);
      return;
    }
    const opened = await this.streams.open(stream_id);
    const lookup = await this.streams.findIn(opened, stream_id);
    // A viewer begins, which is no loop of a player.
    this.gate.forgetRefusal(player);
    await this.admit(request, reply, player, lookup);
    if (opened.outcome !== 'found') throw streamProblem(opened.outcome);
    const ticket = await this.gate.mediaTicket(player);
    const folder = playbackFolder(player, ticket);
    const { manifest, stream } = opened;
    await this.sendPlaylist(request, reply, () => {
      if (stream === undefined) return manifest.template.write(folder, '');
      return ticket === undefined
        ? manifest.template.write(`${folder}0/`, '')
        : leadOn(`${folder}0/index.m3u8`);
    });
  }

  @Get(':rendition/:name')
  @ForPlayers('media')
  @RouteSchema(RENDITION_REQUEST)
  @ApiOperation({
    operationId: 'getPlaylistItem',
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
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const player = await this.playerWithSession(request, reply, stream_id);
    this.gate.useSession(player, clientOf(request));
    const index = Number(rendition);
    const lookup = this.streams.known(stream_id, index) ?? (await this.streams.find(stream_id, index));
    if (lookup.outcome !== 'found') {
      await this.admit(request, reply, player, lookup);
      return;
    }
    const { manifest, stream } = lookup;
    if (name === 'index.m3u8') {
      await this.admit(request, reply, player, lookup);
      // What it names is played by the credential that the playlist was loaded with: a player must not get a newer ticket
      // from playlist to playlist, or it could watch for ever by a plan or an account that has ended.
      const { template } = manifest;
      if ('credential' in request.params)
        await this.sendPlaylist(request, reply, () => template.write('', ''), template);
      else {
        const query = playbackQuery(player, player.ticket);
        await this.sendPlaylist(request, reply, () => template.write('', query));
      }
      return;
    }
    const sequence = /^\d{1,16}(?=\.|$)/.exec(name)?.[0];
    if (sequence === undefined) await this.sendOn(request, reply, player, lookup, manifest.assets.get(name));
    else {
      const number = Number(sequence);
      const path = manifest.segments.get(number)?.path;
      // What is watched is counted by the variant. Other renditions run ahead of it or behind.
      const phase = lookup.isVariant ? stream.phaseOf(number) : 'same';
      await this.sendOn(request, reply, player, lookup, path, phase);
    }
  }

  @Get(':name')
  @ForPlayers('media')
  @RouteSchema(PLAY_REQUEST)
  @ApiOperation({
    operationId: 'getPlaylistAsset',
    summary: 'What the first playlist names that is no playlist',
    description: 'A key or data of the session: a redirect to where it is, by a URL that lives for X.',
  })
  @ApiParam({ name: 'name', schema: { type: 'string' } })
  @ApiResponse({ status: 302, description: 'To the signed URL.' })
  async fetchOfSession(
    @Param() { stream_id, name }: NameParams,
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const player = await this.playerWithSession(request, reply, stream_id);
    const opened = await this.streams.open(stream_id);
    const lookup = await this.streams.findIn(opened, stream_id);
    const path = opened.outcome === 'found' ? opened.manifest.assets.get(name) : undefined;
    await this.sendOn(request, reply, player, lookup, path);
  }

  @Get('s/:credential/:rendition/:name')
  @ForPlayers('media')
  @RouteSchema(RENDITION_REQUEST)
  @ApiOperation({
    operationId: 'getSessionPlaylistItem',
    summary: 'What a playlist of this gate names, by a path that says whose session it is',
    description:
      'Playlists name these by relative URIs. Otherwise as /v1/play/{stream_id}/{rendition}/{name} with a query.',
  })
  @ApiParam({ name: 'credential', schema: CREDENTIAL })
  @ApiParam({ name: 'rendition', schema: RENDITION })
  @ApiParam({ name: 'name', schema: TEXT })
  @ApiResponse({ status: 200, description: 'A playlist.', content: { [HLS_TYPE]: { schema: TEXT } } })
  @ApiResponse({ status: 302, description: 'To the signed URL.' })
  async fetchByPath(
    @Param() params: RenditionParams,
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    await this.fetch(params, request, reply);
  }

  @Get('s/:credential/:name')
  @ForPlayers('media')
  @RouteSchema(PLAY_REQUEST)
  @ApiOperation({
    operationId: 'getSessionPlaylistAsset',
    summary: 'What the first playlist names that is no playlist, by a path that says whose session it is',
    description: 'Otherwise as /v1/play/{stream_id}/{name} with a query.',
  })
  @ApiParam({ name: 'credential', schema: CREDENTIAL })
  @ApiParam({ name: 'name', schema: TEXT })
  @ApiResponse({ status: 302, description: 'To the signed URL.' })
  async fetchOfSessionByPath(
    @Param() params: NameParams,
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    await this.fetchOfSession(params, request, reply);
  }

  /** The player that asks. 429 where the players of its user ask too often. */
  private async admitToAsk(
    request: PlayRequest,
    reply: FastifyReply,
    streamId: string,
  ): Promise<Player | SessionPlayer> {
    const player = playerOf(request);
    // Counted apart from the requests of the user to the API: a player that loops, or a URL that leaked, must not keep
    // the user from ending the session.
    await this.limits.ofUser(request, reply, `${player.userId}/play`);
    return { ...player, streamId };
  }

  /** The player of what a playlist names, which has a session: the playlist's URIs say which. */
  private async playerWithSession(
    request: PlayRequest,
    reply: FastifyReply,
    streamId: string,
  ): Promise<SessionPlayer> {
    if (playerOf(request).sessionId === undefined)
      throw Problem.invalidRequest([{ field: 'session_id', message: 'is missing: begin with index.m3u8' }]);
    return (await this.admitToAsk(request, reply, streamId)) as SessionPlayer;
  }

  /**
   * Takes or renews the place, which is kept if the reply arrives. Throws the refusal if there is one; then the problem of
   * a stream that is not there, or of media that no playlist names (`exists` is false).
   */
  private async admit(
    request: PlayRequest,
    reply: FastifyReply,
    player: SessionPlayer,
    lookup: StreamLookup,
    {
      phase = 'same',
      isMedia = false,
      exists = true,
    }: { phase?: number | 'same'; isMedia?: boolean; exists?: boolean } = {},
  ): Promise<'admitted' | 'left'> {
    const window = exists && lookup.outcome === 'found' ? lookup.window : undefined;
    const delivery = { arrives: () => delivered(reply.raw), isMedia };
    const admission = await this.gate.admitInTurn(player, phase, window, delivery, clientOf(request), () =>
      goneSignal(reply),
    );
    switch (admission.outcome) {
      case 'refused':
        throw this.problemOf(admission.refusal, player);
      case 'too-far-ahead':
        throw refusal(admission, player.quota);
      case 'ask-again':
        redirect(reply, addressOf(request) + request.url);
        return 'left';
      case 'left':
        return 'left';
      case 'admitted':
      case 'phase-not-found':
    }
    if (lookup.outcome !== 'found') throw streamProblem(lookup.outcome);
    if (admission.outcome === 'phase-not-found') throw movedOn();
    return 'admitted';
  }

  /** Redirects to the signed URL of media; a path of undefined is what no playlist names, or names no more. */
  private async sendOn(
    request: PlayRequest,
    reply: FastifyReply,
    player: SessionPlayer,
    lookup: StreamLookup,
    path: string | undefined,
    phase: number | 'same' = 'same',
  ): Promise<void> {
    // A signed URL counts as media, whether it is of a segment or of a key, and by HEAD too.
    const asked = { phase, isMedia: true, exists: path !== undefined };
    if ((await this.admit(request, reply, player, lookup, asked)) === 'left') return;
    redirect(reply, this.urls.of(path!, addressOf(request)));
  }

  /** With a `source`, the text is the same for every player. */
  private async sendPlaylist(
    request: PlayRequest,
    reply: FastifyReply,
    write: () => string,
    source?: object,
  ): Promise<void> {
    keepOutOfCaches(reply.type(HLS_TYPE));
    await this.texts.send(request, reply, write, source);
  }

  private problemOf(refused: Refusal, { quota }: SessionPlayer): Problem {
    let problem = this.problems.get(refused);
    if (problem === undefined) {
      const { code, detail, members } = refusal(refused, quota);
      // Players take 409 and 410 for a fault that may pass, and try again; 403 stops them.
      problem = new Problem(code, detail, { members, status: 403 });
      this.problems.set(refused, problem);
    }
    return problem;
  }
}

function hasSession(player: Player | SessionPlayer): player is SessionPlayer {
  return player.sessionId !== undefined;
}

/** Browsers say so where they fetch for a page. */
function isPage({ headers }: PlayRequest): boolean {
  return (headers.origin ?? headers.referer ?? headers['sec-fetch-mode']) !== undefined;
}

/** Long enough to keep the programs of one user apart. */
const FINGERPRINT_LENGTH = 11;
const MAX_PLAYBACK_ID = 128;

function clientOf(request: PlayRequest): Client {
  const { ip, headers, query } = request;
  const report = readReportOfRequest(query, headers);
  const sid = report === undefined || report === 'malformed' ? undefined : report.sid;
  const ofApple = headers['x-playback-session-id'];
  const playbackId = sid ?? (typeof ofApple === 'string' && ofApple !== '' ? ofApple : undefined);
  return {
    isPage: isPage(request),
    fingerprint: hash('sha1', `${ip} ${headers['user-agent']}`, 'base64url').slice(0, FINGERPRINT_LENGTH),
    playbackId: playbackId?.slice(0, MAX_PLAYBACK_ID),
  };
}

/** Is aborted when the client closes its connection before the reply is out. */
function goneSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => {
    gone.abort();
  });
  return gone.signal;
}

/**
 * A playlist that leads to another one. A player loads a live playlist again by the URL that it began with, and the first
 * ticket opens that for minutes only; so the player is led to a URL with the longer ticket. Nobody knows the bandwidth, and
 * with one variant nobody needs it.
 */
function leadOn(uri: string): string {
  return `#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000000\n${uri}\n`;
}

/** For media that has left the window of a live stream, or never was in it. */
function movedOn(): Problem {
  return new Problem('phase-not-found', 'Load the playlist again: it has moved on.');
}

function redirect(reply: FastifyReply, url: string): void {
  keepOutOfCaches(reply);
  void reply.redirect(url, 302);
}

/** A playlist or a redirect belongs to one session, and the next request for it may be refused. */
function keepOutOfCaches(reply: FastifyReply): void {
  void reply.header('cache-control', 'no-store');
}
