import { readFileSync } from 'node:fs';
import { plainToInstance } from 'class-transformer';
import { validateSync } from 'class-validator';
import { AuthSection } from './auth.js';
import { CallbacksSection } from './callbacks.js';
import { LogSection } from './log.js';
import { ServerSection } from './server.js';
import { SessionsSection } from './sessions.js';
import { StreamsSection } from './streams.js';
import { TracesSection } from './traces.js';
import { findUnknown } from './unknown.js';
import { type Given, type SectionClass, join, isProduction, variablesOf } from './variable.js';

export { type ApiToken, SCOPES, type Scope } from './auth.js';

/** One section for each module that has variables, in the order of README. */
export const SECTIONS = [
  ServerSection,
  SessionsSection,
  StreamsSection,
  AuthSection,
  CallbacksSection,
  LogSection,
  TracesSection,
] as const satisfies readonly SectionClass[];

export const VARIABLES = SECTIONS.flatMap((section: SectionClass) => variablesOf(section));
const SECRETS = VARIABLES.filter(({ secret }) => secret).map(({ name }) => name);

/**
 * The configuration. Its fields are the variables of the sections, and nothing else reads the environment. Messages never
 * contain values, because values may be secrets, and many people read logs.
 */
export class Config extends join(SECTIONS) {
  /** Warnings to log at start: one for each value that is allowed but probably a mistake, and for each misspelt variable. */
  readonly warnings: readonly string[];

  /** The names of the secrets that were set, by value or by file. The others are unset or generated at start. */
  readonly secretsGiven: readonly string[];

  /** All texts that a log must not contain: each secret, its lines and words, and the password of a URL. */
  get secrets(): readonly string[] {
    const values = this as unknown as Given;
    const escaped = URL.parse(this.REDIS_URL ?? '')?.password ?? '';
    const whole = [
      ...SECRETS.flatMap((name) => values[name] ?? []),
      ...this.secretsOfReceivers,
      ...this.secretsOfTraces,
      escaped,
      this.redisUrlParts.password,
    ];
    const parts = whole.flatMap((secret) => secret.split(/\s+|\\n/));
    // The longest first, because one may be a part of another. Short texts are left out, or logs would be unreadable.
    return [...new Set([...whole, ...parts])]
      .filter((secret) => secret.length >= 8)
      .toSorted((a, b) => b.length - a.length);
  }
}

/** All errors of the configuration, one line each. A line contains the name of the variable and never its value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';

  /** `unknown`: warnings about misspelt variables, which may be the cause of an error. */
  constructor(
    readonly faults: readonly string[],
    readonly unknown: readonly string[],
  ) {
    super(
      `The configuration is not valid:\n${[...faults, ...unknown].map((line) => `  ${line}`).join('\n')}`,
    );
  }
}

/** Reads and validates the whole configuration. An empty variable counts as unset. */
export function readConfig(environment: NodeJS.ProcessEnv): Config {
  const all: Given = Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== '' && value !== undefined),
  );
  const { given, faults } = readSecretFiles(all);
  const unknown = findUnknown(all, VARIABLES);
  const values = VARIABLES.map(({ name, default: byDefault }) => [
    name,
    given[name] ?? (typeof byDefault === 'function' ? byDefault(given) : byDefault),
  ]);
  const config = plainToInstance(Config, {
    ...Object.fromEntries(values),
    production: isProduction(given),
    warnings: [...SECTIONS.flatMap((section: SectionClass) => section.warnings?.(given) ?? []), ...unknown],
    secretsGiven: SECRETS.filter((name) => given[name] !== undefined),
  });
  for (const { property, constraints } of validateSync(config, { stopAtFirstError: true }))
    faults.push(`${property}: ${Object.values(constraints ?? {}).join('; ')}`);
  if (faults.length > 0) throw new ConfigError(faults, unknown);
  return config;
}

/** Sets NAME to the content of the file NAME_FILE. `faults` are the errors of the files. */
function readSecretFiles(all: Given): { given: Given; faults: string[] } {
  const given = { ...all };
  const faults: string[] = [];
  for (const name of SECRETS) {
    const file = given[`${name}_FILE`];
    if (file === undefined) continue;
    if (given[name] !== undefined) faults.push(`${name}_FILE: is set beside ${name}; give one of them`);
    try {
      const secret = readFileSync(file, 'utf8').trim();
      // An empty variable counts as unset, but an empty file is a mistake: an operator who sets it wants a secret.
      if (secret === '')
        faults.push(`${name}_FILE: is empty; put the secret in it, or leave the variable out`);
      else given[name] = secret;
    } catch (error) {
      faults.push(`${name}_FILE: cannot be read (${(error as NodeJS.ErrnoException).code ?? 'error'})`);
    }
  }
  return { given, faults };
}
