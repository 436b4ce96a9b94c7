import { type DynamicModule, Module } from '@nestjs/common';
import { ConfigModule, registerAs } from '@nestjs/config';
import { ScheduleModule } from '@nestjs/schedule';
import { LoggerModule } from 'nestjs-pino';
import { CallbacksModule } from './callbacks/callbacks.module.js';
import { Clock } from './clock.js';
import { Config } from './config/config.js';
import { ConsoleModule } from './console/console.module.js';
import { DemoController } from './demo/demo.controller.js';
import { ExpiryModule } from './expiry/expiry.module.js';
import { GateModule } from './gate/gate.module.js';
import { logParams } from './observability/log.js';
import { Network } from './network.js';
import { MetricsModule } from './observability/metrics.module.js';
import { ObservabilityModule } from './observability/observability.module.js';
import { SessionsModule } from './sessions/sessions.module.js';
import { StreamsModule } from './streams/streams.module.js';

/** The module graph on one screen. Streams and Expiry both depend on Sessions, and not on each other. */
@Module({})
export class AppModule {
  static register(config: Config, clock: Clock, network: Network): DynamicModule {
    const settings = registerAs('settings', () => config);
    return {
      module: AppModule,
      // Every module can inject Config, Clock and Network.
      global: true,
      imports: [
        ConfigModule.forRoot({ load: [settings], isGlobal: true, ignoreEnvFile: true, ignoreEnvVars: true }),
        LoggerModule.forRootAsync({ inject: [Config], useFactory: logParams }),
        ScheduleModule.forRoot({ cronJobs: clock.hasTimers, intervals: clock.hasTimers }),
        MetricsModule,
        SessionsModule,
        StreamsModule,
        GateModule,
        ExpiryModule,
        CallbacksModule,
        ObservabilityModule,
        ...(config.CONSOLE === 'on' ? [ConsoleModule] : []),
      ],
      // The demo page at / is off in production, and with AUTH_MODE=jwt, because it has no token to send.
      controllers: config.production || config.AUTH_MODE === 'jwt' ? [] : [DemoController],
      providers: [
        { provide: Config, useExisting: settings.KEY },
        { provide: Clock, useValue: clock },
        { provide: Network, useValue: network },
      ],
      exports: [Config, Clock, Network],
    };
  }
}
