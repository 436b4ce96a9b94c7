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
      'The metrics of event streams and of rate limits are those of this instance. All others are those of the whole ' +
      'system, and every instance reports the same values.',
    content: { 'text/plain': { schema: { type: 'string' } } },
  })
  async showMetrics(@Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    void reply.type(this.metrics.contentType);
    return this.metrics.scrape();
  }
}
