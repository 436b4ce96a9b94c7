import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { StreamsModule } from '../streams/streams.module.js';
import { CmcdController } from './cmcd.controller.js';
import { Gate } from './gate.service.js';
import { HlsController } from './hls.controller.js';
import { TicketsController } from './tickets.controller.js';

/** Serves players without Streamgate code: playlists are rewritten so that every request of a player is checked. */
@Module({
  imports: [AuthModule, SessionsModule, StreamsModule],
  providers: [Gate],
  controllers: [HlsController, CmcdController, TicketsController],
})
export class GateModule {}
