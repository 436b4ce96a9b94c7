import { type SendOptions } from '@fastify/static';
import { Controller, Get, Req, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { Public } from '../auth/access.js';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { Problem } from '../http/problem.js';
import { MEDIA_PATH } from './media-urls.js';
import { openOrigin } from './origin.js';
import { type ByteRange } from './phases.js';
import { MediaSigner } from './signing/media-signer.js';

/** The types of the file server leave out that it sends a part of a file. */
type PartOptions = SendOptions & { readonly start?: number; readonly end?: number };
/** What hls.js reads at the beginning of a transport stream, for its tables, before it reads an I-frame by a range. */
const TABLES_BYTES = 7 * 188;

type MediaRequest = FastifyRequest<{ Querystring: Record<string, unknown> }>;

/** Serves the media of a folder to clients with a signed URL, like a CDN in production. */
@ApiExcludeController()
@Public()
@Controller(MEDIA_PATH)
export class MediaController {
  private readonly folder: string | undefined;

  constructor(
    private readonly signer: MediaSigner,
    private readonly clock: Clock,
    config: Config,
  ) {
    this.folder = openOrigin(config).folder;
  }

  @Get('*')
  serve(@Req() request: MediaRequest, @Res() reply: FastifyReply): void {
    const { folder } = this;
    // The path as the client sent it: its encoding is part of what was signed.
    const path = request.url.split('?', 1)[0]!.slice(`/${MEDIA_PATH}/`.length);
    if (folder === undefined)
      throw new Problem('not-found', 'This service serves no media: the origin does.');
    const range = this.signer.rangeOf(request.query);
    switch (this.signer.verify(path, request.query, this.clock.now())) {
      case 'valid':
        // Folders with an empty name do not exist, and the file server refuses them.
        void reply.sendFile(
          decodeURIComponent(path).replaceAll(/\/{2,}/g, '/'),
          folder,
          range && keepToRange(request.raw, range, path.endsWith('.ts') ? TABLES_BYTES : 0),
        );
        return;
      case 'expired':
        throw new Problem('url-expired', 'Request the phase again.');
      case 'invalid':
        throw new Problem('url-invalid', 'Request a phase, and use its URLs unchanged.');
      case 'elsewhere':
        throw new Problem('not-found', 'This service serves no media: another server does.');
    }
  }
}

/**
 * A URL of a part of a file gives no more than that part, and the first `open` bytes of the file: a film in one file would be
 * open by the URL of any segment. A Range header counts in the file, as players send it. Without one, the reply is the part.
 */
function keepToRange(
  { headers }: MediaRequest['raw'],
  { offset, length }: ByteRange,
  open: number,
): PartOptions {
  const last = offset + length - 1;
  if (headers.range === undefined) return { start: offset, end: last };
  const asked = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(headers.range);
  const from = Number(asked?.[1] ?? NaN);
  const to = asked?.[2] ? Number(asked[2]) : Infinity;
  // With a condition that fails, the whole file would be sent.
  delete headers['if-range'];
  if (to < open) return {};
  if (!(from >= offset && from <= last))
    throw new Problem(
      'url-invalid',
      `This URL is for the bytes ${offset}-${last}: send such a Range header.`,
    );
  headers.range = `bytes=${from}-${Math.min(to, last)}`;
  return {};
}
