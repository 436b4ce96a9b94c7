import { Global, Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { Config } from '../config/config.js';
import { MetricsController } from './metrics.controller.js';
import { Metrics } from './metrics.js';
import { Tracing } from './tracing.js';

/** `GET /metrics`, and what every module can inject: the registry of metrics, and the traces. */
@Global()
@Module({
  imports: [AuthModule],
  controllers: [MetricsController],
  providers: [Metrics, { provide: Tracing, inject: [Config], useFactory: openTracing }],
  exports: [Metrics, Tracing],
})
export class MetricsModule {}

/** The SDK is loaded only where it is needed: it takes memory and a part of the start. */
async function openTracing({ traces }: Config): Promise<Tracing> {
  if (traces === undefined) return new Tracing();
  const { startTraceSdk } = await import('./trace-sdk.js');
  return new Tracing(await startTraceSdk(traces));
}
