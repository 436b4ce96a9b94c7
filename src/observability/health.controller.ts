import {
  type BeforeApplicationShutdown,
  Controller,
  Get,
  Logger,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { type Static, Type } from '@sinclair/typebox';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { Public } from '../auth/access.js';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { SessionRepository, isAway } from '../sessions/session.repository.js';
import { ApiProblems, schemaOf } from '../http/docs.js';
import { component } from '../http/fields.js';
import { Problem } from '../http/problem.js';

const HEALTH = component('Health', { status: Type.Literal('ok') });
const READINESS = component('Readiness', {
  status: Type.Union([Type.Literal('ok'), Type.Literal('degraded')], {
    description:
      '`degraded`: some nodes of the Redis Cluster do not answer. Their users get 503; the service serves all others, ' +
      'so that a load balancer keeps it. With ADMIT_DURABILITY=replicated also while no replica follows, so that new ' +
      'sessions get 503. With STORE_DOWN_POLICY=open also for n·X after the store answered last, ' +
      'while known sessions continue.',
  }),
});

@ApiTags('platform')
@Public()
@Controller('health')
export class HealthController implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly log = new Logger('Streamgate');
  private stage: 'starting' | 'serving' | 'draining' = 'starting';

  /** Until when sessions may continue without the store, on the monotonic clock. */
  private continuesUntil = -Infinity;

  constructor(
    private readonly sessions: SessionRepository,
    private readonly clock: Clock,
    private readonly config: Config,
  ) {}

  onApplicationBootstrap(): void {
    this.stage = 'serving';
  }

  get isDraining(): boolean {
    return this.stage === 'draining';
  }

  /** From now on the readiness is 503, so that load balancers send their requests to other instances. */
  drain(signal: string): void {
    this.stage = 'draining';
    this.log.log(`Streamgate is stopping (${signal})`);
  }

  beforeApplicationShutdown(): void {
    this.stage = 'draining';
  }

  @Get('live')
  @ApiOperation({
    operationId: 'checkLiveness',
    summary: 'Check that the process is alive',
    description: 'Does not ask the store, because a restart of this process would not repair the store.',
  })
  @ApiOkResponse({ description: 'The process is alive.', schema: schemaOf(HEALTH) })
  live(): Static<typeof HEALTH> {
    return { status: 'ok' };
  }

  @Get('ready')
  @ApiOperation({ operationId: 'checkReadiness', summary: 'Check that the service can answer requests' })
  @ApiOkResponse({ description: 'The service can answer requests.', schema: schemaOf(READINESS) })
  @ApiProblems('not-ready')
  async ready(): Promise<Static<typeof READINESS>> {
    if (this.stage !== 'serving') throw new Problem('not-ready', `The service is ${this.stage}.`);
    const { STORE_DOWN_POLICY, policy } = this.config;
    try {
      const status = await this.sessions.check();
      this.continuesUntil = this.clock.monotonic() + policy.expireAfterMs;
      return { status };
    } catch (error) {
      if (STORE_DOWN_POLICY === 'open' && isAway(error) && this.clock.monotonic() < this.continuesUntil)
        return { status: 'degraded' };
      throw new Problem('not-ready', 'The session store does not do what requests need. The log says why.');
    }
  }
}
