import { Module } from '@nestjs/common';
import { SessionsModule } from '../sessions/sessions.module.js';
import { ExpiryController } from './expiry.controller.js';
import { ExpiryService } from './expiry.service.js';

/** What happens to sessions that fell silent: the sweep, from the clock and from outside. */
@Module({ imports: [SessionsModule], controllers: [ExpiryController], providers: [ExpiryService] })
export class ExpiryModule {}
