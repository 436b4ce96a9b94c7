import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { backOffMs } from '../../src/callbacks/receiver.js';

/** The files, headings and commands that the documentation names must exist. */

const ROOT = resolve(__dirname, '../..');
const GENERATED = /^(node_modules|dist|coverage)$|\/(node_modules|dist|\.terraform)$/;
const FOLDERS = ['src', 'test', 'bench', 'client', 'demo', 'docs', 'samples', 'terraform', '.ci', '.github'];

const pages = find('**/*.md').map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));
const sources = find('{src,test,bench,client,terraform}/**/*.{ts,mts,lua,tf,sh}');

function find(pattern: string): string[] {
  return globSync(pattern, { cwd: ROOT, exclude: (path) => GENERATED.test(path) }).toSorted();
}

/** Removes code blocks, because their brackets are no links. */
function prose(text: string): string {
  return text.replaceAll(/^( *)```.*?^\1```$/gms, '');
}

/** The anchors that GitHub makes of the headings of a page. */
function anchorsOf(text: string): string[] {
  return [...prose(text).matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

function brokenLinks({ path, text }: { path: string; text: string }): string[] {
  return [...prose(text).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link]) => link!)
    .filter((link) => !/^[a-z]+:/.test(link))
    .filter((link) => {
      const [file, anchor] = link.split('#');
      const target = file ? join(dirname(path), file) : path;
      if (!existsSync(join(ROOT, target))) return true;
      return anchor !== undefined && !anchorsOf(readFileSync(join(ROOT, target), 'utf8')).includes(anchor);
    });
}

/** Paths that begin with a folder of the project, including patterns. */
function missingPaths({ text }: { text: string }): string[] {
  const named = new RegExp(
    `(?<![\\w./{-])(?:${FOLDERS.map((folder) => RegExp.escape(folder)).join('|')})/[\\w.*{},/-]*`,
    'g',
  );
  return [...text.matchAll(named)]
    .map(([path]) => path.replace(/[.,/]+$/, ''))
    .filter((path) => !/(^|\/)(dist|\.terraform)(\/|$)/.test(path))
    .filter((path) => globSync(path, { cwd: ROOT }).length === 0);
}

/** Names of source files in backticks: the end of a path is enough. */
function missingSources({ text }: { text: string }): string[] {
  return [...prose(text).matchAll(/`([\w./-]+\.(?:ts|mts|lua|tf|sh))`/g)]
    .map(([, name]) => name!)
    .filter((name) => !sources.some((source) => source === name || source.endsWith(`/${name}`)));
}

describe('the documentation', () => {
  it.each(pages)('has no broken link: $path', (page) => {
    expect(brokenLinks(page)).toEqual([]);
  });

  it.each(pages)('names only files that exist: $path', (page) => {
    expect([...missingPaths(page), ...missingSources(page)]).toEqual([]);
  });

  it.each(pages)('names only npm scripts that exist: $path', ({ text }) => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object };
    const named = [...text.matchAll(/\bnpm run (?:-\S+ )*([\w:]+)/g)].map(([, script]) => script!);
    expect(named.filter((script) => !Object.hasOwn(scripts, script))).toEqual([]);
  });

  it('fails these checks for a page with broken links and names', () => {
    const page = {
      path: 'README.md',
      text: '# One\n[a](nowhere.md) [b](#two) [c](https://example.com) [d](docs/client.md#nothing)\n`src/nothing.ts` `no-such.lua`',
    };
    expect(brokenLinks(page)).toEqual(['nowhere.md', '#two', 'docs/client.md#nothing']);
    expect(missingPaths(page)).toEqual(['src/nothing.ts']);
    expect(missingSources(page)).toEqual(['src/nothing.ts', 'no-such.lua']);
  });

  it('gives each decision a date and a status', () => {
    const decisions = pages.filter(({ path }) => path.startsWith('docs/decisions/'));
    const undated = decisions.filter(
      ({ text }) => !/^# \d+\. .+\n\n- Date: \d{4}-\d\d-\d\d\n- Status: \w/.test(text),
    );
    expect(decisions.length).toBeGreaterThan(0);
    expect(undated.map(({ path }) => relative('docs/decisions', path))).toEqual([]);
  });

  it('gives the retry times of callbacks that the code has, the same in every place', () => {
    const total = (random: number): string => {
      const waits = Array.from({ length: 19 }, (_, index) => backOffMs(index + 1, () => random));
      const minutes = Math.round(waits.reduce((sum, ms) => sum + ms, 0) / 60_000);
      return `${Math.floor(minutes / 60)} hours ${minutes % 60} minutes`;
    };
    const sentence = `add up to ${total(0.5)} on average and ${total(1)} at most`;
    const claims = pages.flatMap(({ path, text }) => {
      const [claim] = /add up to \d+ hours .*? at most/.exec(text.replaceAll(/\s+/g, ' ')) ?? [];
      return claim === undefined ? [] : [{ path, claim }];
    });
    expect(claims).toEqual([
      { path: 'README.md', claim: sentence },
      { path: 'docs/decisions/0007-events.md', claim: sentence },
    ]);
  });

  it('sorts the words of the glossary', () => {
    const words = [...readFileSync(join(ROOT, 'GLOSSARY.md'), 'utf8').matchAll(/^## (.+)$/gm)].map(
      ([, word]) => word!,
    );
    expect(words).toEqual(words.toSorted((a, b) => a.localeCompare(b, 'en')));
    expect(words.length).toBeGreaterThan(0);
  });
});
