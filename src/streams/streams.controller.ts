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

/** Of an instance, for streams that are not in memory. */
const LOOKS_AT_ONCE = 8;
const MAX_LOOKS_WAITING = 100;

class StreamParams {
  @IsId()
  readonly stream_id: string;
}

@ApiTags('streams')
@ApiProblems('rate-limited')
@Public()
@Controller('v1/streams')
export class StreamsController {
  private readonly looks = pLimit(LOOKS_AT_ONCE);
  /** Ten thousand streams take ten milliseconds to write down, and whoever asks for them needs no token. */
  private written: { readonly streams: readonly StreamSummary[]; readonly text: string } | undefined;

  constructor(private readonly streams: Catalogue) {}

  @Get()
  @ApiOperation({
    summary: 'What can be watched?',
    description: 'All of a folder; of an origin by URL, the streams seen so far.',
  })
  @ApiOkResponse({ description: 'The streams.', schema: schemaOf(STREAM_LIST) })
  @ApiProblems('origin-unavailable')
  @Header('content-type', 'application/json; charset=utf-8')
  async listStreams(): Promise<string> {
    const streams = await this.streams.list();
    if (streams === undefined) throw streamProblem('unavailable');
    if (this.written?.streams !== streams)
      this.written = { streams, text: JSON.stringify(streamListJson(streams)) };
    return this.written.text;
  }

  @Get(':stream_id')
  @ApiOperation({ summary: 'How is this stream cut into phases?' })
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
    summary: 'Which renditions does this stream have?',
    description: 'What its playlist names, in that order; the first variant is played where nobody chooses.',
  })
  @ApiParam({ name: 'stream_id', schema: STREAM_ID })
  @ApiOkResponse({ description: 'Its renditions.', schema: schemaOf(RENDITION_LIST) })
  @ApiProblems('stream-not-found', 'invalid-request', 'origin-unavailable')
  async listRenditions(@Param() { stream_id }: StreamParams): Promise<RenditionListJson> {
    const root = await this.inTurn(stream_id, () => this.streams.open(stream_id));
    if (root.outcome !== 'found') throw streamProblem(root.outcome);
    const renditions = root.stream ? [{ type: 'variant' } as const] : root.manifest.renditions;
    return { renditions: renditions.map((rendition, number) => renditionJson(number, rendition)) };
  }

  /** Whoever asks here needs no token, and the ids may be made up: viewers must find the way to the origin free. */
  private async inTurn<T>(streamId: string, look: () => Promise<T>): Promise<T> {
    if (this.streams.known(streamId)) return look();
    if (this.looks.pendingCount >= MAX_LOOKS_WAITING) throw streamProblem('unavailable');
    return this.looks(look);
  }
}
