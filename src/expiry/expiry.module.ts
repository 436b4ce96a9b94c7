import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { ExpiryController } from './expiry.controller.js';
import { ExpiryService } from './expiry.service.js';

/** The sweep that claims expired sessions. Every instance runs it each second; an endpoint runs it on demand. */
@Module({
  imports: [AuthModule, SessionsModule],
  controllers: [ExpiryController],
  providers: [ExpiryService],
})
export class ExpiryModule {}
