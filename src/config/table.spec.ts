import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { withTables } from './table.js';

const README = readFileSync(join(__dirname, '../../README.md'), 'utf8');
/** Without the spaces and dashes by which prettier aligns the cells of a table. */
const unaligned = (text: string): string => text.replaceAll(/ {2,}/g, ' ').replaceAll(/-{3,}/g, '---');

describe("README's tables of variables", () => {
  it('are those of the sections: run `npm run docs:config` where this fails', () => {
    expect(unaligned(README)).toBe(unaligned(withTables(README)));
  });

  it('need the lines between which they stand', () => {
    expect(() => withTables('# Streamgate')).toThrow('README has no lines');
  });
});
