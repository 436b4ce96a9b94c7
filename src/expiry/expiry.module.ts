import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { CallbackSender } from './callback-sender.js';
import { CallbacksController } from './callbacks.controller.js';
import { CallbacksService } from './callbacks.service.js';
import { ExpiryController } from './expiry.controller.js';
import { ExpiryService } from './expiry.service.js';
import { MetricsController } from './metrics.controller.js';

/** What happens to sessions that fell silent: the sweep, from the clock and from outside, and who is told. */
@Module({
  imports: [AuthModule, SessionsModule],
  controllers: [ExpiryController, CallbacksController, MetricsController],
  providers: [ExpiryService, CallbacksService, CallbackSender],
})
export class ExpiryModule {}
