import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { withTables } from './table.js';

const README = readFileSync(join(__dirname, '../../README.md'), 'utf8');
/** Removes the spaces and dashes with which prettier aligns the cells of a table. */
const unaligned = (text: string): string => text.replaceAll(/ {2,}/g, ' ').replaceAll(/-{3,}/g, '---');

describe("README's tables of variables", () => {
  it('are current: run `npm run docs:config` if this fails', () => {
    expect(unaligned(README)).toBe(unaligned(withTables(README)));
  });

  it('need the lines that enclose them', () => {
    expect(() => withTables('# Streamgate')).toThrow('README has no lines');
  });
});
