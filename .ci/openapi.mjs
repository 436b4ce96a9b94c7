// Writes what is generated from the shapes of the API: docs/openapi.json from the service as it is built, and the types of
// the client from that. With --check it writes nothing, and fails where a file is not current.
import { readFileSync, writeFileSync } from 'node:fs';
import openapiTS, { astToString } from 'openapi-typescript';
import { format, resolveConfig } from 'prettier';
import { createApp } from '../dist/app.js';
import { readConfig } from '../dist/config/config.js';

// The document is the same in every configuration; this one needs nothing beside the service.
const app = await createApp(readConfig({ LOG_LEVEL: 'silent' }));
const { body } = await app.getHttpAdapter().getInstance().inject('/docs/openapi.json');
await app.close();

// The client has methods of its own for the operations.
const types = await openapiTS(
  { ...JSON.parse(body), paths: {}, webhooks: {} },
  { immutable: true, rootTypes: true, rootTypesNoSchemaPrefix: true },
);
const files = {
  'docs/openapi.json': body,
  'client/src/contract.ts': `// Generated from docs/openapi.json by \`npm run docs:openapi\`: do not edit.\n${astToString(types)}`,
};

const stale = [];
for (const [path, text] of Object.entries(files)) {
  const filepath = new URL(`../${path}`, import.meta.url).pathname;
  const current = await format(text, { ...(await resolveConfig(filepath)), filepath });
  if (!process.argv.includes('--check')) writeFileSync(filepath, current);
  else if (readFileSync(filepath, 'utf8') !== current) stale.push(path);
}
if (stale.length > 0) console.error(`Not current: ${stale.join(', ')}. Run npm run docs:openapi.`);
process.exit(stale.length > 0 ? 1 : 0);
