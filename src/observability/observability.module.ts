import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { ConfigController } from './config.controller.js';
import { HealthController } from './health.controller.js';
import { MetricsModule } from './metrics.module.js';

/** Routes for operators: health, metrics and the configuration. */
@Module({
  imports: [AuthModule, MetricsModule, SessionsModule],
  controllers: [ConfigController, HealthController],
})
export class ObservabilityModule {}
