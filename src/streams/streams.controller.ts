import { Controller, Get, Header, Param } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import pLimit from 'p-limit';
import { Public } from '../auth/access.js';
import { ApiProblems, schemaOf } from '../http/docs.js';
import { IsId } from '../http/validation.js';
import {
  RENDITION_LIST,
  type RenditionListJson,
  STREAM,
  STREAM_ID,
  STREAM_LIST,
  type StreamJson,
  renditionJson,
  streamJson,
  streamListJson,
} from './streams.schemas.js';
import { streamProblem } from './streams.errors.js';
import { Catalogue } from './catalogue.js';
import { type StreamSummary } from './seen-streams.js';

/** Bounds for each instance: concurrent look-ups of streams that are not in memory, and how many more may wait. */
const LOOKUPS_AT_ONCE = 8;
const MAX_WAITING_LOOKUPS = 100;

class StreamParams {
  @IsId()
  readonly stream_id: string;
}

@ApiTags('streams')
@ApiProblems('rate-limited')
@Public()
@Controller('v1/streams')
export class StreamsController {
  private readonly lookups = pLimit(LOOKUPS_AT_ONCE);
  /** The last reply as JSON. The route is public, and ten thousand streams take ten milliseconds to serialise. */
  private listed: { readonly streams: readonly StreamSummary[]; readonly text: string } | undefined;

  constructor(private readonly streams: Catalogue) {}

  @Get()
  @ApiOperation({
    summary: 'List the streams',
    description:
      'All streams of a folder. For an origin by URL, the streams that this instance has read so far.',
  })
  @ApiOkResponse({ description: 'The streams.', schema: schemaOf(STREAM_LIST) })
  @ApiProblems('origin-unavailable')
  @Header('content-type', 'application/json; charset=utf-8')
  async listStreams(): Promise<string> {
    const streams = await this.streams.list();
    if (streams === undefined) throw streamProblem('unavailable');
    if (this.listed?.streams !== streams)
      this.listed = { streams, text: JSON.stringify(streamListJson(streams)) };
    return this.listed.text;
  }

  @Get(':stream_id')
  @ApiOperation({ summary: 'Show a stream and its phases' })
  @ApiParam({ name: 'stream_id', schema: STREAM_ID })
  @ApiOkResponse({ description: 'The stream.', schema: schemaOf(STREAM) })
  @ApiProblems('stream-not-found', 'invalid-request', 'origin-unavailable')
  async getStream(@Param() { stream_id }: StreamParams): Promise<StreamJson> {
    const lookup = await this.inTurn(stream_id, () => this.streams.find(stream_id));
    if (lookup.outcome !== 'found') throw streamProblem(lookup.outcome);
    return streamJson(lookup.stream);
  }

  @Get(':stream_id/renditions')
  @ApiOperation({
    summary: 'List the renditions of a stream',
    description: 'The renditions in the order of the playlist. The first variant is the default.',
  })
  @ApiParam({ name: 'stream_id', schema: STREAM_ID })
  @ApiOkResponse({ description: 'The renditions.', schema: schemaOf(RENDITION_LIST) })
  @ApiProblems('stream-not-found', 'invalid-request', 'origin-unavailable')
  async listRenditions(@Param() { stream_id }: StreamParams): Promise<RenditionListJson> {
    const root = await this.inTurn(stream_id, () => this.streams.open(stream_id));
    if (root.outcome !== 'found') throw streamProblem(root.outcome);
    const renditions = root.stream ? [{ type: 'variant' } as const] : root.manifest.renditions;
    return { renditions: renditions.map((rendition, number) => renditionJson(number, rendition)) };
  }

  /** Bounds look-ups: these routes are public and ids can be invented, but viewers need the origin's capacity. */
  private async inTurn<T>(streamId: string, lookUp: () => Promise<T>): Promise<T> {
    if (this.streams.known(streamId)) return lookUp();
    if (this.lookups.pendingCount >= MAX_WAITING_LOOKUPS) throw streamProblem('unavailable');
    return this.lookups(lookUp);
  }
}
