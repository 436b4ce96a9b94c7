import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { Config } from '../config.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { MediaController } from './media.controller.js';
import { MediaSigner, openSigner } from './media-signer.js';
import { PhasesController } from './phases.controller.js';
import { PlayController } from './play.controller.js';
import { StreamsController } from './streams.controller.js';
import { StreamsService } from './streams.service.js';
import { TicketsController } from './tickets.controller.js';

/** What is watched: where streams come from, how they are cut into phases, and who gets the next one. */
@Module({
  imports: [AuthModule, SessionsModule],
  controllers: [PhasesController, PlayController, TicketsController, StreamsController, MediaController],
  providers: [StreamsService, { provide: MediaSigner, inject: [Config], useFactory: openSigner }],
})
export class StreamsModule {}
