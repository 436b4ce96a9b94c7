import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { ConfigController } from './config.controller.js';
import { HealthController } from './health.controller.js';
import { MetricsController } from './metrics.controller.js';

/** What operators see of the service: health, metrics, its configuration and the log. */
@Module({
  imports: [AuthModule, SessionsModule],
  controllers: [ConfigController, HealthController, MetricsController],
})
export class ObservabilityModule {}
