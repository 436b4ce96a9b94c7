import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Builds the client: its tests run the files that a browser would load. */
export default async function buildClient(): Promise<void> {
  const root = join(__dirname, '../..');
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  await promisify(execFile)(process.execPath, [tsc, '--project', 'client'], { cwd: root });
}
