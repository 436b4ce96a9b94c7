import { Controller, HttpCode, Post, UseGuards } from '@nestjs/common';
import { ApiBearerAuth, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { ApiProblems, INTERNAL_TOKEN } from '../http/docs.js';
import { type JsonSchema } from '../http/fields.js';
import { InternalTokenGuard } from '../http/internal-token.guard.js';
import { ExpiryService } from './expiry.service.js';

const SWEEP: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['expired', 'more', 'took_ms'],
  properties: {
    expired: { type: 'integer', minimum: 0, description: 'How many sessions this call claimed.' },
    more: { type: 'boolean', description: 'More is due: call again.' },
    took_ms: { type: 'integer', minimum: 0 },
  },
};

@ApiTags('internal')
@Controller('internal')
@UseGuards(InternalTokenGuard)
@ApiBearerAuth(INTERNAL_TOKEN)
export class ExpiryController {
  constructor(private readonly expiry: ExpiryService) {}

  @Post('expire-idle-sessions')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Run one bounded sweep now',
    description:
      'The same code runs every second in every instance. Safe to call from any number of schedulers.',
  })
  @ApiOkResponse({ description: 'The sweep ended.', schema: SWEEP })
  @ApiProblems('unauthorized', 'store-unavailable')
  async expireIdleSessions(): Promise<{ expired: number; more: boolean; took_ms: number }> {
    const { expired, more, tookMs } = await this.expiry.sweep();
    return { expired, more, took_ms: tookMs };
  }
}
