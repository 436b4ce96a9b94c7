import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { Config } from '../config/config.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { MediaController } from './media.controller.js';
import { MediaSigner, openSigner } from './signing/media-signer.js';
import { PhasesController } from './phases.controller.js';
import { StreamsController } from './streams.controller.js';
import { Catalogue } from './catalogue.js';

/** What is watched: where streams come from, how they are cut into phases, and who gets the next one. */
@Module({
  imports: [AuthModule, SessionsModule],
  controllers: [PhasesController, StreamsController, MediaController],
  providers: [Catalogue, { provide: MediaSigner, inject: [Config], useFactory: openSigner }],
  exports: [Catalogue, MediaSigner],
})
export class StreamsModule {}
