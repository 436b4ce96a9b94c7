import { Logger, Module } from '@nestjs/common';
import { Clock } from '../clock.js';
import { Config } from '../config.js';
import { MemorySessionRepository } from './memory/memory-session.repository.js';
import { Availability, connectRedis } from './redis/redis-connection.js';
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
      useFactory: openStore,
    },
  ],
  exports: [SessionRepository, SessionsService],
})
export class SessionsModule {}

function openStore(config: Config, clock: Clock): SessionRepository {
  if (config.SESSION_STORE === 'memory') return new MemorySessionRepository(config.policy, clock);
  const availability = new Availability(new Logger('Redis'));
  return new RedisSessionRepository(connectRedis(config, availability), config.policy, clock, availability);
}
