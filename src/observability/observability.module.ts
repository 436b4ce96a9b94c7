import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { HealthController } from './health.controller.js';
import { MetricsController } from './metrics.controller.js';

/** What operators see of the service: health, metrics and the log. */
@Module({ imports: [AuthModule, SessionsModule], controllers: [HealthController, MetricsController] })
export class ObservabilityModule {}
