import {
  type BeforeApplicationShutdown,
  Controller,
  Get,
  Logger,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { Public } from '../auth/access.js';
import { SessionRepository } from '../sessions/session.repository.js';
import { ApiProblems } from '../http/docs.js';
import { Problem } from '../http/problem.js';

const OK = { schema: { type: 'object', required: ['status'], properties: { status: { const: 'ok' } } } };

@ApiTags('platform')
@Public()
@Controller('health')
export class HealthController implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly log = new Logger('Streamgate');
  private stage: 'starting' | 'serving' | 'draining' = 'starting';

  constructor(private readonly sessions: SessionRepository) {}

  onApplicationBootstrap(): void {
    this.stage = 'serving';
  }

  beforeApplicationShutdown(signal?: string): void {
    this.stage = 'draining';
    if (signal !== undefined) this.log.log(`Streamgate is stopping (${signal})`);
  }

  @Get('live')
  @ApiOperation({
    summary: 'Is the process alive?',
    description: 'Never asks the store: a restart would not mend it.',
  })
  @ApiOkResponse({ description: 'It is.', ...OK })
  live(): { status: 'ok' } {
    return { status: 'ok' };
  }

  @Get('ready')
  @ApiOperation({ summary: 'Can requests be answered now?' })
  @ApiOkResponse({ description: 'They can.', ...OK })
  @ApiProblems('not-ready')
  async ready(): Promise<{ status: 'ok' }> {
    if (this.stage !== 'serving') throw new Problem('not-ready', `The service is ${this.stage}.`);
    await this.sessions.ping().catch(() => {
      throw new Problem('not-ready', 'The session store does not answer.');
    });
    return { status: 'ok' };
  }
}
