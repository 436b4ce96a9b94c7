import { Module } from '@nestjs/common';
import { AuditController } from '../audit/audit.controller.js';
import { AuthModule } from '../auth/auth.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { ConfigController } from './config.controller.js';
import { HealthController } from './health.controller.js';
import { LogLevel } from './log-level.js';
import { LogLevelController } from './log-level.controller.js';
import { MetricsModule } from './metrics.module.js';

/** Routes for operators: health, metrics, the configuration, the log level and the audit. */
@Module({
  imports: [AuthModule, MetricsModule, SessionsModule],
  controllers: [AuditController, ConfigController, HealthController, LogLevelController],
  providers: [LogLevel],
})
export class ObservabilityModule {}
