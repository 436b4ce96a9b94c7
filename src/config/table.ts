import { SECTIONS, VARIABLES } from './config.js';
import { type SectionClass, type Variable, variablesOf } from './variable.js';

/** The tables are between these lines of README. */
const BEGIN = '<!-- Written by `npm run docs:config` from src/config/. -->';
const END = '<!-- The end of what `npm run docs:config` writes. -->';

/** README with the tables of variables that the sections define. The cells are not aligned; prettier aligns them. */
export function withTables(readme: string): string {
  const [before, , after] = readme.split(new RegExp(`(${BEGIN}[^]*${END})`));
  if (before === undefined || after === undefined) throw new Error(`README has no lines ${BEGIN} and ${END}`);
  return `${before}${BEGIN}\n\n${tables()}\n\n${END}${after}`;
}

function tables(): string {
  const sections = SECTIONS.map((section: SectionClass) =>
    [
      `### ${section.title}`,
      [
        '| variable | default | meaning |',
        '| --- | --- | --- |',
        ...variablesOf(section).map((one) => `| \`${one.name}\` | ${defaultOf(one)} | ${one.meaning} |`),
      ].join('\n'),
    ].join('\n\n'),
  );
  return [
    ...sections,
    '### Secrets and shared values',
    wrap(
      `Each of these may be given as a file, \`NAME_FILE\` instead of \`NAME\`: ${listOf(({ secret }) => secret)}.`,
    ),
    wrap(
      'Requests of one user go to any instance. So all instances on one Redis must have the same value of each of ' +
        `these: ${listOf(({ shared }) => shared)}.`,
    ),
  ].join('\n\n');
}

function defaultOf({ default: value, defaultText }: Variable): string {
  return defaultText ?? (typeof value === 'string' ? `\`${value}\`` : 'none');
}

function listOf(isMeant: (variable: Variable) => boolean | undefined): string {
  const names = VARIABLES.filter(isMeant).map(({ name }) => `\`${name}\``);
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

/** Ends lines before column 120, as README's paragraphs do. */
function wrap(paragraph: string): string {
  return paragraph.replaceAll(/(.{1,120})(?: |$)/g, '$1\n').trimEnd();
}
