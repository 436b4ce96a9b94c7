import { type BeforeApplicationShutdown, Controller, Get, type OnApplicationBootstrap } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { SessionRepository } from '../sessions/session.repository.js';
import { ApiProblems } from './docs.js';
import { Problem } from './problem.js';

const OK = { schema: { type: 'object', required: ['status'], properties: { status: { const: 'ok' } } } };

@ApiTags('platform')
@Controller('health')
export class HealthController implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private phase: 'starting' | 'serving' | 'draining' = 'starting';

  constructor(private readonly sessions: SessionRepository) {}

  onApplicationBootstrap(): void {
    this.phase = 'serving';
  }

  beforeApplicationShutdown(): void {
    this.phase = 'draining';
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
    if (this.phase !== 'serving') throw new Problem('not-ready', `The service is ${this.phase}.`);
    await this.sessions.ping().catch((cause: unknown) => {
      throw new Problem('not-ready', 'The session store does not answer.', { cause });
    });
    return { status: 'ok' };
  }
}
