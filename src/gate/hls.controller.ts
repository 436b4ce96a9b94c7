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
import { RateLimits, type SessionBudget } from '../http/rate-limits.js';
import { refusal } from '../sessions/sessions.errors.js';
import {
  DEVICE,
  LIMIT_REACHED,
  SESSION_ENDED,
  SESSION_ID,
  TOO_FAR_AHEAD,
  USER_ID,
} from '../sessions/sessions.schemas.js';
import { type StreamLookup, Catalogue, windowOfPhase, windowOfSegment } from '../streams/catalogue.js';
import { type MediaPlaylist, type MultivariantPlaylist } from '../streams/hls/playlist.js';
import { MediaUrls } from '../streams/media-urls.js';
import { type Segment } from '../streams/phases.js';
import { PLAY_PATH, playbackFolder, playbackQuery } from '../streams/playback.js';
import { checkIdInUrl, streamProblem } from '../streams/streams.errors.js';
import { STREAM_ID } from '../streams/streams.schemas.js';
import { readReportOfRequest } from './cmcd.js';
import { type Client, type Player, type Refusal, type SessionPlayer, Gate } from './gate.service.js';

/** The parameters that players add to URIs of steering manifests and of lists of assets (RFC 8216bis, 7.2 and D.2). */
const DIRECTIVE = /^_HLS_(pathway|throughput|primary_id|start_offset)=[\w\-.~%:,]{0,200}$/;
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
const NAME = { ...TEXT, maxLength: 255 };
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
/** Fastify validates requests, because 422 comes before 401, and Nest's pipes run after the player is identified. */
const PLAY_REQUEST = {
  params: { type: 'object', properties: { stream_id: STREAM_ID, name: NAME } },
  querystring: VIEWER_QUERY,
};
const RENDITION_REQUEST = {
  params: { type: 'object', properties: { stream_id: STREAM_ID, rendition: RENDITION, name: NAME } },
  querystring: VIEWER_QUERY,
};

type PlayRequest = FastifyRequest<{ Querystring: Record<string, string>; Params: StreamParams }>;

/** A segment of a variant, and the phase that it lies in. */
type WatchedSegment = NonNullable<ReturnType<MediaPlaylist['find']>>;

/** A request of a player that has a session. */
interface Asked {
  readonly request: PlayRequest;
  readonly reply: FastifyReply;
  readonly player: SessionPlayer;
  readonly budget: SessionBudget;
  readonly client: Client;
}

/**
 * HLS at the gate. The playlists are those of the origin, but each URI leads to this controller. The reply to a request for
 * a segment is a redirect to its signed URL. Such a request counts as a request for the phase of the segment, and costs one
 * call to the store.
 */
@ApiTags('play')
@ApiParam({ name: 'stream_id', schema: STREAM_ID })
@ApiQuery({
  name: 'ticket',
  schema: TEXT,
  required: false,
  description:
    'A ticket of POST /v1/tickets. It is required with AUTH_MODE=jwt, and then replaces all other parameters.',
})
@ApiQuery({ name: 'user_id', schema: USER_ID, required: false, description: 'Required without a ticket.' })
@ApiQuery({ name: 'session_id', schema: SESSION_ID, required: false, description: 'Absent: a new session.' })
@ApiQuery({
  name: 'device_id',
  schema: DEVICE.properties.id,
  required: false,
  description:
    'The device that plays. A new session takes the place of the previous session of the device. A ticket has its own.',
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
  /** The problem of each refusal. Creating an error costs more than answering, and players repeat refused requests. */
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
    summary: 'Get the playlist of a stream, for any HLS player',
    description:
      'Give a player this URL with a ticket or, with AUTH_MODE=none, with a user_id. Without a session_id, the reply is ' +
      'a redirect to the same URL with one. All further requests of the player then belong to that session.',
  })
  @ApiResponse({ status: 200, description: 'The playlist.', content: { [HLS_TYPE]: { schema: TEXT } } })
  @ApiResponse({ status: 302, description: 'A redirect to the same URL with a session_id.' })
  async start(
    @Param() { stream_id }: StreamParams,
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const { player, budget } = await this.playerWithinLimit(request, reply, stream_id);
    const client = clientOf(request);
    if (!hasSession(player)) {
      checkIdInUrl(stream_id);
      const sessionId = this.gate.sessionFor(player, client, playbackIdOf(request));
      // The query as the client sent it, including repeated names.
      const search = new URLSearchParams(request.url.split('?')[1]);
      search.set('session_id', sessionId);
      void reply.redirect(
        `${addressOf(request)}/${PLAY_PATH}/${stream_id}/index.m3u8?${search.toString()}`,
        302,
      );
      return;
    }
    const opened = await this.streams.open(stream_id);
    const lookup = await this.streams.findIn(opened, stream_id);
    // The first playlist means that a viewer starts the stream; a player in a retry loop does not load it.
    this.gate.forgetRefusal(player);
    await this.admit({ request, reply, player, budget, client }, lookup);
    if (opened.outcome !== 'found') throw streamProblem(opened.outcome);
    const ticket = await this.gate.mediaTicket(player);
    const folder = playbackFolder(player, ticket);
    const { manifest, stream } = opened;
    await this.sendPlaylist(request, reply, () => {
      if (stream === undefined) return manifest.template.chunks(folder, '');
      return ticket === undefined
        ? manifest.template.chunks(`${folder}0/`, '')
        : [playlistLeadingTo(`${folder}0/index.m3u8`)];
    });
  }

  @Get(':rendition/:name')
  @ForPlayers('media')
  @RouteSchema(RENDITION_REQUEST)
  @ApiOperation({
    operationId: 'getPlaylistItem',
    summary: 'Get a resource that a playlist of the gate lists',
    description:
      'For a playlist, the playlist. For a segment, key or initialisation section, a redirect to its signed URL, which ' +
      'is valid for X.',
  })
  @ApiParam({ name: 'rendition', schema: RENDITION })
  @ApiParam({ name: 'name', schema: NAME })
  @ApiResponse({ status: 200, description: 'A playlist.', content: { [HLS_TYPE]: { schema: TEXT } } })
  @ApiResponse({ status: 302, description: 'A redirect to the signed URL.' })
  async fetch(
    @Param() { stream_id, rendition, name }: RenditionParams,
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const asked = await this.withSession(request, reply, stream_id);
    const { player, client } = asked;
    this.gate.useSession(player, client);
    const index = Number(rendition);
    const lookup = this.streams.known(stream_id, index) ?? (await this.streams.find(stream_id, index));
    if (lookup.outcome !== 'found') {
      await this.admit(asked, lookup);
      return;
    }
    const { manifest } = lookup;
    if (name === 'index.m3u8') {
      await this.admit(asked, lookup);
      const { template } = manifest;
      if ('credential' in request.params)
        await this.sendPlaylist(request, reply, () => template.chunks('', ''), template);
      else {
        // The URIs keep the ticket of this request. If each playlist gave a newer ticket, a player could watch for ever
        // although its plan or account has ended.
        const query = playbackQuery(player, player.ticket);
        await this.sendPlaylist(request, reply, () => template.chunks('', query));
      }
      return;
    }
    const found = manifest.find(name);
    const media = found?.segment ?? withDirectives(manifest.assets.get(name), request.url);
    // What is watched is counted by the variant. Other renditions run ahead of it or behind.
    await this.redirectToMedia(asked, lookup, media, lookup.isVariant ? found : undefined);
  }

  @Get(':name')
  @ForPlayers('media')
  @RouteSchema(PLAY_REQUEST)
  @ApiOperation({
    operationId: 'getPlaylistAsset',
    summary: 'Get a key or session data that the first playlist lists',
    description: 'A redirect to its signed URL, which is valid for X.',
  })
  @ApiParam({ name: 'name', schema: NAME })
  @ApiResponse({ status: 302, description: 'A redirect to the signed URL.' })
  async fetchOfSession(
    @Param() { stream_id, name }: NameParams,
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const asked = await this.withSession(request, reply, stream_id);
    const opened = await this.streams.open(stream_id);
    const lookup = await this.streams.findIn(opened, stream_id);
    const asset = opened.outcome === 'found' ? opened.manifest.assets.get(name) : undefined;
    const media = withDirectives(asset, request.url);
    await this.redirectToMedia(asked, lookup, media);
  }

  @Get('s/:credential/:rendition/:name')
  @ForPlayers('media')
  @RouteSchema(RENDITION_REQUEST)
  @ApiOperation({
    operationId: 'getSessionPlaylistItem',
    summary: 'Get a resource that a playlist of the gate lists, by the path that the playlist gives',
    description:
      'As /v1/play/{stream_id}/{rendition}/{name}, with the player in the path instead of the query.',
  })
  @ApiParam({ name: 'credential', schema: CREDENTIAL })
  @ApiParam({ name: 'rendition', schema: RENDITION })
  @ApiParam({ name: 'name', schema: NAME })
  @ApiResponse({ status: 200, description: 'A playlist.', content: { [HLS_TYPE]: { schema: TEXT } } })
  @ApiResponse({ status: 302, description: 'A redirect to the signed URL.' })
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
    summary: 'Get a key or session data that the first playlist lists, by the path that the playlist gives',
    description: 'As /v1/play/{stream_id}/{name}, with the player in the path instead of the query.',
  })
  @ApiParam({ name: 'credential', schema: CREDENTIAL })
  @ApiParam({ name: 'name', schema: NAME })
  @ApiResponse({ status: 302, description: 'A redirect to the signed URL.' })
  async fetchOfSessionByPath(
    @Param() params: NameParams,
    @Req() request: PlayRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    await this.fetchOfSession(params, request, reply);
  }

  /** The player that asks, and the budget of its session. 429 if the session asks too often. */
  private async playerWithinLimit(
    request: PlayRequest,
    reply: FastifyReply,
    streamId: string,
  ): Promise<{ readonly player: Player | SessionPlayer; readonly budget: SessionBudget }> {
    const player = playerOf(request);
    const budget = this.limits.ofSession(player.userId, player.sessionId);
    await budget.check(request, reply);
    return { player: { ...player, streamId }, budget };
  }

  /** A request for a resource of a playlist. Its player has a session, because the playlist's URIs contain one. */
  private async withSession(request: PlayRequest, reply: FastifyReply, streamId: string): Promise<Asked> {
    if (playerOf(request).sessionId === undefined)
      throw Problem.invalidRequest([{ field: 'session_id', message: 'is missing: load index.m3u8 first' }]);
    const { player, budget } = await this.playerWithinLimit(request, reply, streamId);
    return { request, reply, player: player as SessionPlayer, budget, client: clientOf(request) };
  }

  /**
   * Takes or renews the place, which is kept if the reply is delivered. Throws the refusal, or else the problem of a
   * missing stream or of media that no playlist lists (`exists` is false).
   */
  private async admit(
    { request, reply, player, budget, client }: Asked,
    lookup: StreamLookup,
    {
      watched,
      isMedia = false,
      exists = true,
    }: { watched?: WatchedSegment | undefined; isMedia?: boolean; exists?: boolean } = {},
  ): Promise<'admitted' | 'left'> {
    const found = exists && lookup.outcome === 'found' ? lookup : undefined;
    const ofStream = found?.playerWindow;
    const window =
      found && ofStream && watched
        ? windowOfSegment(windowOfPhase(ofStream, found.stream, watched.phase), watched.segment)
        : ofStream;
    const delivery = { arrives: () => delivered(reply.raw), isMedia };
    const admission = await this.gate.admitInTurn(
      player,
      watched?.phase ?? 'same',
      window,
      delivery,
      client,
      reply.raw,
    );
    switch (admission.outcome) {
      case 'refused':
        throw this.problemOf(admission.refusal, player);
      case 'too-far-ahead':
        throw refusal(admission, player.quota, player.subject);
      case 'ask-again':
        void reply.redirect(addressOf(request) + request.url, 302);
        return 'left';
      case 'left':
        return 'left';
      case 'admitted':
        budget.noteAdmitted(player.sessionId);
        break;
      case 'phase-not-found':
    }
    if (lookup.outcome !== 'found') throw streamProblem(lookup.outcome);
    if (admission.outcome === 'phase-not-found') throw movedOn();
    return 'admitted';
  }

  /** Redirects to the signed URL of media. Undefined media means that no playlist lists it, or not any more. */
  private async redirectToMedia(
    asked: Asked,
    lookup: StreamLookup,
    media: Pick<Segment, 'path' | 'byteRange'> | undefined,
    watched?: WatchedSegment,
  ): Promise<void> {
    // Each signed URL counts as media, for a segment or a key, and for a HEAD request too.
    const wanted = { watched, isMedia: true, exists: media !== undefined };
    if ((await this.admit(asked, lookup, wanted)) === 'left') return;
    void asked.reply.redirect(this.urls.of(media!, addressOf(asked.request)), 302);
  }

  /** Sends a playlist, compressed if the client accepts that. With a `source`, the text is the same for every player. */
  private async sendPlaylist(
    request: PlayRequest,
    reply: FastifyReply,
    write: () => Iterable<string>,
    source?: object,
  ): Promise<void> {
    await this.texts.send(request, reply.type(HLS_TYPE), write, source);
  }

  private problemOf(refused: Refusal, { quota, subject }: SessionPlayer): Problem {
    let problem = this.problems.get(refused);
    if (problem === undefined) {
      const { code, detail, members } = refusal(refused, quota, subject);
      // Players take 409 and 410 for a fault that may pass, and try again; 403 stops them.
      problem = new Problem(code, detail, { members, status: 403 });
      this.problems.set(refused, problem);
    }
    return problem;
  }
}

/**
 * The asset with the parameters that a player added to its URI, which only the server that makes the asset understands.
 * Segments get none: each new parameter would be another file for the cache of a CDN.
 */
function withDirectives<A extends { readonly path: string }>(
  asset: A | undefined,
  url: string,
): A | undefined {
  if (asset === undefined || !url.includes('_HLS_')) return asset;
  const directives =
    url
      .split('?', 2)[1]
      ?.split('&')
      .filter((one) => DIRECTIVE.test(one)) ?? [];
  const byName = new Map(directives.map((one) => [one.split('=', 1)[0], one]));
  const path = [...byName.values()].reduce(
    (sum, one) => `${sum}${sum.includes('?') ? '&' : '?'}${one}`,
    asset.path,
  );
  return { ...asset, path };
}

function hasSession(player: Player | SessionPlayer): player is SessionPlayer {
  return player.sessionId !== undefined;
}

/** Whether a page in a browser sent the request: browsers add one of these headers. */
function isPage({ headers }: PlayRequest): boolean {
  return (headers.origin ?? headers.referer ?? headers['sec-fetch-mode']) !== undefined;
}

/** Long enough to distinguish the programs of one user. */
const FINGERPRINT_LENGTH = 11;
const MAX_PLAYBACK_ID = 128;

function clientOf(request: PlayRequest): Client {
  const { ip, headers } = request;
  return {
    isPage: isPage(request),
    fingerprint: hash('sha1', `${ip} ${headers['user-agent']}`, 'base64url').slice(0, FINGERPRINT_LENGTH),
  };
}

/** The id that the player gave its playback: CMCD's `sid`, or else Apple's `X-Playback-Session-Id`. */
function playbackIdOf({ query, headers }: PlayRequest): string | undefined {
  const report = readReportOfRequest(query, headers);
  const sid = report === undefined || report === 'malformed' ? undefined : report.sid;
  const ofApple = headers['x-playback-session-id'];
  const id = sid ?? (typeof ofApple === 'string' && ofApple !== '' ? ofApple : undefined);
  return id?.slice(0, MAX_PLAYBACK_ID);
}

/**
 * A multivariant playlist whose only variant is this URI. A player reloads a live playlist by its first URL, but the first
 * ticket is valid for minutes only. This playlist leads the player to a URL with the longer ticket. HLS requires a
 * bandwidth; the value does not matter for a single variant.
 */
function playlistLeadingTo(uri: string): string {
  return `#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000000\n${uri}\n`;
}

/** The problem of media that has left the window of a live stream, or was never in it. */
function movedOn(): Problem {
  return new Problem('phase-not-found', 'Load the playlist again: it has moved on.');
}
