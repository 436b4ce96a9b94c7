import { Controller, Get } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { NeedsScope } from '../auth/access.js';
import { Config } from '../config/config.js';
import { VERSION, effectiveValues } from '../config/effective.js';
import { type JsonSchema } from '../http/fields.js';

const CONFIGURATION: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['version', 'commit', 'variables'],
  properties: {
    version: { type: 'string', description: 'The version of the service.', examples: ['0.1.0'] },
    commit: {
      oneOf: [{ type: 'string' }, { type: 'null' }],
      description: 'The commit that the image was built from; null where the build did not say.',
    },
    variables: {
      type: 'object',
      description:
        'Each variable by its name, with the value that this instance uses, defaults included; null for none. A ' +
        'secret is an object that tells whether it is set. Queries of URLs are left out.',
      additionalProperties: {
        oneOf: [
          { type: ['string', 'number', 'null'] },
          { type: 'array', items: { type: 'string' } },
          {
            type: 'object',
            additionalProperties: false,
            required: ['set'],
            properties: { set: { type: 'boolean', description: 'Whether the secret was given.' } },
          },
        ],
      },
    },
  },
};

@ApiTags('internal')
@NeedsScope('config:read')
@Controller('internal/config')
export class ConfigController {
  constructor(private readonly config: Config) {}

  @Get()
  @ApiOperation({
    summary: 'The configuration and version of this instance',
    description: 'The values in effect, for comparing instances. No secret is shown.',
  })
  @ApiOkResponse({ description: 'The configuration.', schema: CONFIGURATION })
  showConfig(): object {
    return {
      version: VERSION,
      commit: this.config.BUILD_COMMIT ?? null,
      variables: effectiveValues(this.config),
    };
  }
}
