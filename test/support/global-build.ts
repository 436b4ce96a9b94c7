import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import buildClient from './global-client.ts';
import startGlobalRedis from './global-redis.ts';

/** Builds the service, the client and the demo page, for suites that run them in separate processes. */
export default async function buildAndStartRedis(): Promise<void> {
  const root = join(__dirname, '../..');
  const node = (...words: string[]) => promisify(execFile)(process.execPath, words, { cwd: root });
  await node(join(root, 'node_modules/@nestjs/cli/bin/nest.js'), 'build');
  await buildClient();
  await startGlobalRedis();
}
