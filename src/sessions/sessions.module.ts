import { Logger, Module } from '@nestjs/common';
import { Clock } from '../clock.js';
import { Config } from '../config.js';
import { MemorySessionRepository } from './memory/memory-session.repository.js';
import { connectRedis } from './redis/redis-connection.js';
import { RedisSessionRepository } from './redis/redis-session.repository.js';
import { SessionRepository } from './session.repository.js';
import { SessionsController } from './sessions.controller.js';
import { SessionsService } from './sessions.service.js';

/** Who is watching. The only place that names a store. */
@Module({
  controllers: [SessionsController],
  providers: [
    SessionsService,
    {
      provide: SessionRepository,
      inject: [Config, Clock],
      useFactory: (config: Config, clock: Clock): SessionRepository =>
        config.SESSION_STORE === 'memory'
          ? new MemorySessionRepository(config.policy, clock)
          : new RedisSessionRepository(connectRedis(config, new Logger('Redis')), config.policy, clock),
    },
  ],
  exports: [SessionRepository, SessionsService],
})
export class SessionsModule {}
