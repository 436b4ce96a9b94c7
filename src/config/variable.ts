/** Variables as they are given: by name, without empty ones, secrets read from their files. */
export type Given = Readonly<Record<string, string | undefined>>;

interface VariableOptions {
  /** For README's table, in Markdown: a phrase without a full stop. */
  readonly meaning: string;
  /** The value where none is given, as it would be written in the environment. It may depend on other variables. */
  readonly default?: string | readonly string[] | ((given: Given) => string | undefined);
  /** For README's table, where `default` alone does not tell it. */
  readonly defaultText?: string;
  /** It may be given as a file (NAME_FILE) and is shown nowhere. */
  readonly secret?: true;
  /** Instances that share a Redis must have the same value: where they differ, a user's requests are answered differently. */
  readonly shared?: true;
}

export interface Variable extends VariableOptions {
  readonly name: string;
  /** What class-transformer and class-validator are to do with the value; checked in this order. */
  readonly checks: readonly PropertyDecorator[];
}

/** A class whose fields are the variables of one module. It is never instantiated: `join` makes one class of all. */
export interface SectionClass<T = object> {
  new (): T;
  /** For README: the heading of its table. */
  readonly title: string;
  /** Warns of values that are allowed and most likely not meant. Never with a value, which may be a secret. */
  warnings?(given: Given): string[];
}

/** What the checks of every section may read. */
export abstract class Section {
  readonly production: boolean;
}

const variables = new WeakMap<object, Variable[]>();

/** Of a field of a section, named like the variable. */
export function Variable(options: VariableOptions, ...checks: PropertyDecorator[]): PropertyDecorator {
  return ({ constructor }, name) => {
    const others = variables.get(constructor) ?? [];
    variables.set(constructor, [...others, { name: String(name), ...options, checks }]);
  };
}

/** The variables of a section, as its source lists them. */
export function variablesOf(section: SectionClass): readonly Variable[] {
  return variables.get(section) ?? [];
}

type Joined<T extends readonly SectionClass[]> = T extends readonly [
  SectionClass<infer First>,
  ...infer Rest extends readonly SectionClass[],
]
  ? First & Joined<Rest>
  : object;

/** One class with the fields and getters of all sections, so that the configuration is validated whole. */
export function join<const T extends readonly SectionClass[]>(sections: T): new () => Joined<T> {
  class All {}
  for (const section of sections) {
    const { constructor: _, ...getters } = Object.getOwnPropertyDescriptors(section.prototype as object);
    Object.defineProperties(All.prototype, getters);
    for (const { name, checks } of variablesOf(section))
      for (const check of checks) check(All.prototype, name);
  }
  return All as new () => Joined<T>;
}

export function isProduction({ NODE_ENV }: Given): boolean {
  return NODE_ENV === 'production';
}

/** One warning for each of these variables that is given. */
export function withoutEffect(given: Given, names: readonly string[], reason: string): string[] {
  return names.filter((name) => given[name] !== undefined).map((name) => `${name} has no effect: ${reason}`);
}

/** A secret of fewer characters can be guessed. */
const SAFE_LENGTH = 16;

/** One warning for each of these secrets that is given and too short. */
export function guessable(given: Given, names: readonly string[]): string[] {
  return names
    .filter((name) => given[name] !== undefined && given[name].length < SAFE_LENGTH)
    .map((name) => `${name} is short: give at least ${SAFE_LENGTH} random characters`);
}
