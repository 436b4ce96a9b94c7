import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { CallbackSender } from './callback-sender.js';
import { CallbacksController } from './callbacks.controller.js';
import { CallbacksService } from './callbacks.service.js';

/** Delivers what happened to sessions to the operator's receiver, by signed webhooks. */
@Module({
  imports: [AuthModule, SessionsModule],
  controllers: [CallbacksController],
  providers: [CallbacksService, CallbackSender],
})
export class CallbacksModule {}
