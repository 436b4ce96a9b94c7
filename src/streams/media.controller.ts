import { Controller, Get, Req, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { type FastifyReply, type FastifyRequest } from 'fastify';
import { Public } from '../auth/access.js';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { Problem } from '../http/problem.js';
import { MEDIA_PATH } from './media-urls.js';
import { openOrigin } from './origin.js';
import { MediaSigner } from './signing/media-signer.js';

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
  serve(
    @Req() request: FastifyRequest<{ Querystring: Record<string, unknown> }>,
    @Res() reply: FastifyReply,
  ): void {
    const { folder } = this;
    // The path as the client sent it: its encoding is part of what was signed.
    const path = request.url.split('?', 1)[0]!.slice(`/${MEDIA_PATH}/`.length);
    if (folder === undefined)
      throw new Problem('not-found', 'This service serves no media: the origin does.');
    switch (this.signer.verify(path, request.query, this.clock.now())) {
      case 'valid':
        void reply.sendFile(decodeURIComponent(path), folder);
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
