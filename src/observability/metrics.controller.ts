import { Controller, Get, Res } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { type FastifyReply } from 'fastify';
import { NeedsScope } from '../auth/access.js';
import { Metrics } from './metrics.js';

@ApiTags('platform')
@NeedsScope('metrics')
@Controller('metrics')
export class MetricsController {
  constructor(private readonly metrics: Metrics) {}

  @Get()
  @ApiOperation({ operationId: 'getMetrics', summary: 'Metrics for Prometheus' })
  @ApiOkResponse({
    description:
      'Those of this instance, and those of the whole system if this instance is the one that reports them: scrape every ' +
      'instance. docs/operations.md describes each metric.',
    content: { 'text/plain': { schema: { type: 'string' } } },
  })
  async showMetrics(@Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    void reply.type(this.metrics.contentType);
    return this.metrics.scrape();
  }
}
