import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { StreamsModule } from '../streams/streams.module.js';
import { HlsController } from './hls.controller.js';
import { TicketsController } from './tickets.controller.js';

/** Streams for players that contain no code of ours: playlists rewritten so that every fetch passes the limit. */
@Module({
  imports: [AuthModule, SessionsModule, StreamsModule],
  controllers: [HlsController, TicketsController],
})
export class GateModule {}
