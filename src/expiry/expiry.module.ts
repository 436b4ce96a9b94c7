import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { ExpiryController } from './expiry.controller.js';
import { ExpiryService } from './expiry.service.js';

/** The sweep that reclaims expired sessions: run by every instance each second, and by endpoint. */
@Module({
  imports: [AuthModule, SessionsModule],
  controllers: [ExpiryController],
  providers: [ExpiryService],
})
export class ExpiryModule {}
