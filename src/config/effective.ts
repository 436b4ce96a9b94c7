import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Config, VARIABLES } from './config.js';

/** The version of this service, from package.json. */
export const VERSION = (
  JSON.parse(readFileSync(resolve(__dirname, '../../package.json'), 'utf8')) as { readonly version: string }
).version;

type EffectiveValue = string | number | readonly string[] | null | { readonly set: boolean };

/** The effective value of each variable, or null. For a secret: whether it was set. */
export function effectiveValues(config: Config): Record<string, EffectiveValue> {
  const values = config as unknown as Record<string, string | number | readonly string[] | undefined>;
  return Object.fromEntries(
    VARIABLES.map(({ name, secret }) => [
      name,
      secret ? { set: config.secretsGiven.includes(name) } : withoutQuery(values[name] ?? null),
    ]),
  );
}

/** Leaves out the query of a URL, because some origins expect a token there. */
function withoutQuery<T>(value: T): T | string {
  if (typeof value !== 'string' || !/^https?:/.test(value)) return value;
  return value.replace(/[?#].*$/s, '?…');
}
