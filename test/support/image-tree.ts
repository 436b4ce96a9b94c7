import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const ROOT = join(__dirname, '../..');

/**
 * A folder with the files that the last stage of the Dockerfile copies into the image, for tests on machines without a
 * Docker engine. The project must have been built. `node_modules` holds links to the production dependencies alone.
 */
export async function makeImageTree(): Promise<string> {
  const tree = await mkdtemp(join(tmpdir(), 'streamgate-image-'));
  const dockerfile = await readFile(join(ROOT, 'Dockerfile'), 'utf8');
  const lastStage = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
  for (const [, from, to] of lastStage.matchAll(/^COPY (?:--from=build \/app\/)?(\S+) (\S+)$/gm)) {
    if (from === 'node_modules') await linkProductionPackages(tree);
    else
      await cp(join(ROOT, from!), join(tree, to!.endsWith('/') ? join(to!, from!) : to!), {
        recursive: true,
      });
  }
  return tree;
}

async function linkProductionPackages(tree: string): Promise<void> {
  const lock = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
    readonly packages: Record<string, { readonly dev?: boolean }>;
  };
  for (const [path, { dev }] of Object.entries(lock.packages)) {
    // Nested dependencies are found at the real path of their package.
    const isTopLevel = path.startsWith('node_modules/') && path.lastIndexOf('node_modules/') === 0;
    if (!isTopLevel || dev || !existsSync(join(ROOT, path))) continue;
    await mkdir(dirname(join(tree, path)), { recursive: true });
    await symlink(join(ROOT, path), join(tree, path));
  }
}
