import { type Variable } from './variable.js';

/** First words that many programs use in their variables: a name must be like ours in more than these. */
const COMMON_WORDS = new Set(['HOST', 'PORT', 'MAX', 'API', 'SESSION', 'BUILD']);
/** Variables that Kubernetes sets for each service of a namespace, such as REDIS_SERVICE_HOST for one named redis. */
const SERVICE_LINK = /_SERVICE_(HOST|PORT)(_|$)|_PORT_\d+_(TCP|UDP|SCTP)(_|$)/;
/** The name of this service: nothing reads variables that begin so, but people who do not know that write them. */
const OWN_PREFIX = 'STREAMGATE_';

/** One warning for each variable that looks as if it were meant for this service and is none of its variables. */
export function findUnknown(given: readonly string[], variables: readonly Variable[]): string[] {
  const known = new Set(variables.flatMap(({ name, secret }) => (secret ? [name, `${name}_FILE`] : [name])));
  const names = variables.map(({ name }) => name);
  return given
    .filter((name) => !known.has(name) && !SERVICE_LINK.test(name))
    .flatMap((given) => {
      const name = given.toUpperCase();
      const base = name.replace(OWN_PREFIX, '').replace(/_FILE$/, '');
      const nearest = nearestOf(base, names);
      return name.startsWith(OWN_PREFIX) || isSlip(base, nearest) || sharesWords(name, nearest, names)
        ? [`${given} is unknown and has no effect: the nearest variable is ${nearest}`]
        : [];
    });
}

/** Whether a name is a variable of ours but for a few letters. */
function isSlip(name: string, known: string): boolean {
  return distance(name, known) <= slips(known);
}

/** Whether a name begins with a word as ours do: one that other programs do not use, or that is not the only one shared. */
function sharesWords(name: string, nearest: string, names: readonly string[]): boolean {
  const [first = ''] = name.split('_', 1);
  if (!name.includes('_') || !names.some((known) => known.startsWith(`${first}_`))) return false;
  return !COMMON_WORDS.has(first) || commonWords(name, nearest) >= 2;
}

/** How many letters may be wrong: one of PORT, and at most three. */
function slips(name: string): number {
  return Math.min(3, Math.floor(name.length / 4));
}

/** The variable with the most words in common; of several such, the one that takes the fewest changes. */
function nearestOf(name: string, names: readonly string[]): string {
  const rank = (known: string): number =>
    distance(name, known) - (isSlip(name, known) ? 1_000 : 10 * commonWords(name, known));
  return names.reduce((best, known) => (rank(known) < rank(best) ? known : best));
}

function commonWords(one: string, other: string): number {
  const words = other.split('_');
  return one.split('_').filter((word) => words.includes(word)).length;
}

/** How many letters must be put in, taken out or replaced to make one text of the other (Levenshtein). */
function distance(from: string, to: string): number {
  let costs = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (const [row, letter] of [...from].entries()) {
    const next = [row + 1];
    for (let at = 1; at <= to.length; at++)
      next.push(
        Math.min(costs[at]! + 1, next[at - 1]! + 1, costs[at - 1]! + (letter === to[at - 1] ? 0 : 1)),
      );
    costs = next;
  }
  return costs[to.length]!;
}
