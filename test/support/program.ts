import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The path of a program in one of the folders of PATH, or in one of these others; undefined if it is not on this machine. */
export function findProgram(name: string, others: readonly string[] = []): string | undefined {
  return [...(process.env.PATH ?? '').split(delimiter), ...others]
    .map((folder) => join(folder, name))
    .find((file) => existsSync(file));
}
