import { type Given, type Variable } from './variable.js';

/** First words that variables of many programs have. A name with such a word must share another word with a known one. */
const COMMON_WORDS = new Set(['HOST', 'PORT', 'MAX', 'API', 'SESSION', 'BUILD']);
/** A platform sets variables of OpenTelemetry for all its programs. Only a typing error in a known one gets a warning. */
const OF_PLATFORMS = 'OTEL_';
/** No variable of this service has its name as a prefix, but people may expect it. */
const OWN_PREFIX = 'STREAMGATE_';

/** One warning for each unknown variable that looks as if it were meant for this service. */
export function findUnknown(given: Given, variables: readonly Variable[]): string[] {
  const known = new Set(variables.flatMap(({ name, secret }) => (secret ? [name, `${name}_FILE`] : [name])));
  const names = variables.map(({ name }) => name);
  return Object.entries(given)
    .filter(([name, value]) => !known.has(name) && !isServiceLink(name, value!))
    .flatMap(([written]) => {
      const name = written.toUpperCase();
      const base = name.replace(OWN_PREFIX, '').replace(/_FILE$/, '');
      const nearest = nearestOf(base, names);
      return name.startsWith(OWN_PREFIX) || isTypo(base, nearest) || sharesWords(name, nearest, names)
        ? [`${written} is unknown and has no effect: the nearest variable is ${nearest}`]
        : [];
    });
}

/** Whether Kubernetes set a variable for a service, such as REDIS_SERVICE_HOST and REDIS_PORT=tcp://… for `redis`. */
function isServiceLink(name: string, value: string): boolean {
  return (
    /_SERVICE_(HOST|PORT)(_|$)|_PORT_\d+_(TCP|UDP|SCTP)(_|$)/.test(name) ||
    (name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(value))
  );
}

/** Whether a name differs from a known variable by a few letters only. */
function isTypo(name: string, known: string): boolean {
  return distance(name, known) <= maxTypos(known);
}

/** Whether a name starts like a known variable: with a word that other programs do not use, or with two common words. */
function sharesWords(name: string, nearest: string, names: readonly string[]): boolean {
  if (name.startsWith(OF_PLATFORMS)) return false;
  const [first = ''] = name.split('_', 1);
  if (!name.includes('_') || !names.some((known) => known.startsWith(`${first}_`))) return false;
  return !COMMON_WORDS.has(first) || commonWords(name, nearest) >= 2;
}

/** How many letters may be wrong: one in PORT, and at most three. */
function maxTypos(name: string): number {
  return Math.max(1, Math.min(3, Math.floor(name.length / 5)));
}

/** The variable with the most common words. Among several, the one with the smallest distance. */
function nearestOf(name: string, names: readonly string[]): string {
  const rank = (known: string): number =>
    distance(name, known) - (isTypo(name, known) ? 1_000 : 10 * commonWords(name, known));
  return names.reduce((best, known) => (rank(known) < rank(best) ? known : best));
}

function commonWords(one: string, other: string): number {
  const words = other.split('_');
  return one.split('_').filter((word) => words.includes(word)).length;
}

/**
 * How many letters must be inserted, deleted, replaced or swapped with the next one to turn one text into the other
 * (Damerau-Levenshtein distance, as optimal string alignment).
 */
function distance(from: string, to: string): number {
  const costs = [Array.from({ length: to.length + 1 }, (_, at) => at)];
  for (let row = 1; row <= from.length; row++) {
    const above = costs[row - 1]!;
    const current = [row];
    for (let at = 1; at <= to.length; at++) {
      const isSwap = row > 1 && at > 1 && from[row - 1] === to[at - 2] && from[row - 2] === to[at - 1];
      current.push(
        Math.min(
          above[at]! + 1,
          current[at - 1]! + 1,
          above[at - 1]! + (from[row - 1] === to[at - 1] ? 0 : 1),
          isSwap ? costs[row - 2]![at - 2]! + 1 : Infinity,
        ),
      );
    }
    costs.push(current);
  }
  return costs[from.length]![to.length]!;
}
