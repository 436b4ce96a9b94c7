import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import startGlobalRedis from './global-redis.ts';

/** For suites that run the built service in processes of its own. */
export default async function buildAndStartRedis(): Promise<void> {
  const root = join(__dirname, '../..');
  await promisify(execFile)(process.execPath, [join(root, 'node_modules/@nestjs/cli/bin/nest.js'), 'build'], {
    cwd: root,
  });
  await startGlobalRedis();
}
