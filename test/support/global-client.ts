import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Builds the client and the demo page: their tests run the files that a browser would load. */
export default async function buildClient(): Promise<void> {
  const root = join(__dirname, '../..');
  const node = (...words: string[]) => promisify(execFile)(process.execPath, words, { cwd: root });
  await node(join(root, 'node_modules/typescript/bin/tsc'), '--project', 'client');
  await node(join(root, 'demo/build.mjs'));
}
