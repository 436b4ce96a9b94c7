import { Controller, Get } from '@nestjs/common';
import { type Static, Type } from '@sinclair/typebox';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { NeedsScope } from '../auth/access.js';
import { Config } from '../config/config.js';
import { VERSION, effectiveValues } from '../config/effective.js';
import { schemaOf } from '../http/docs.js';
import { component, object, orNull } from '../http/fields.js';

const VALUE = Type.Union([
  Type.String(),
  Type.Number(),
  Type.Null(),
  Type.Unsafe<readonly string[]>(Type.Array(Type.String())),
  object({ set: Type.Boolean({ description: 'Whether the secret was given.' }) }),
]);

const CONFIGURATION = component('Configuration', {
  version: Type.String({ description: 'The version of the service.', examples: ['0.1.0'] }),
  commit: orNull(
    Type.String({
      description: 'The commit that the image was built from; null if the build did not set it.',
    }),
  ),
  variables: Type.Unsafe<Record<string, Static<typeof VALUE>>>({
    type: 'object',
    description:
      'Each variable by its name, with the value that this instance uses, defaults included; null if it has none. A ' +
      'secret is an object that says whether it is set. Queries of URLs are left out.',
    additionalProperties: VALUE,
  }),
});

@ApiTags('internal')
@NeedsScope('config:read')
@Controller('internal/config')
export class ConfigController {
  constructor(private readonly config: Config) {}

  @Get()
  @ApiOperation({
    summary: 'Show the configuration and version of this instance',
    description: 'The effective values, for example to compare instances. Secrets are not shown.',
  })
  @ApiOkResponse({ description: 'The configuration.', schema: schemaOf(CONFIGURATION) })
  getConfiguration(): Static<typeof CONFIGURATION> {
    return {
      version: VERSION,
      commit: this.config.BUILD_COMMIT ?? null,
      variables: effectiveValues(this.config),
    };
  }
}
