import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { MetricsModule } from '../observability/metrics.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { ConsoleController } from './console.controller.js';
import { Overview } from './overview.js';

/** The console for support. Nothing depends on it, and without CONSOLE=on it is not loaded. */
@Module({
  imports: [AuthModule, MetricsModule, SessionsModule],
  controllers: [ConsoleController],
  providers: [Overview],
})
export class ConsoleModule {}
