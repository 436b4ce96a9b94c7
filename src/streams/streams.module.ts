import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { Metrics } from '../observability/metrics.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { MediaController } from './media.controller.js';
import { MediaUrls } from './media-urls.js';
import { MediaSigner } from './signing/media-signer.js';
import { openSigner } from './signing/open-signer.js';
import { PhasesController } from './phases.controller.js';
import { StreamsController } from './streams.controller.js';
import { Catalogue } from './catalogue.js';
import { OriginFailures } from './origin-failures.js';
import { HLS } from './hls/format.js';

/** The streams: finding them, cutting them into phases, and issuing phases to sessions. */
@Module({
  imports: [AuthModule, SessionsModule],
  controllers: [PhasesController, StreamsController, MediaController],
  providers: [
    {
      provide: Catalogue,
      inject: [Config, Clock, Metrics],
      useFactory: (config: Config, clock: Clock, metrics: Metrics) =>
        new Catalogue(HLS, config, clock, new OriginFailures(clock, metrics)),
    },
    MediaUrls,
    { provide: MediaSigner, inject: [Config], useFactory: openSigner },
  ],
  exports: [Catalogue, MediaUrls],
})
export class StreamsModule {}
