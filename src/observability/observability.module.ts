import { Module } from '@nestjs/common';
import { SessionsModule } from '../sessions/sessions.module.js';
import { HealthController } from './health.controller.js';
import { MetricsModule } from './metrics.module.js';

/** What operators see of the service: health, metrics and the log. */
@Module({ imports: [MetricsModule, SessionsModule], controllers: [HealthController] })
export class ObservabilityModule {}
