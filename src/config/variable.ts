/** The variables of the environment by name, without empty ones, with the contents of secret files. */
export type Given = Readonly<Record<string, string | undefined>>;

interface VariableOptions {
  /** For README's table, in Markdown: a phrase without a full stop. */
  readonly meaning: string;
  /** The default, as it would be written in the environment. It may depend on other variables. */
  readonly default?: string | readonly string[] | ((given: Given) => string | undefined);
  /** The default for README's table, if `default` cannot be shown. */
  readonly defaultText?: string;
  /** The value can be given as a file (NAME_FILE), and is never shown. */
  readonly secret?: true;
  /** Instances that share a Redis must have the same value; otherwise they answer the requests of a user differently. */
  readonly shared?: true;
}

export interface Variable extends VariableOptions {
  readonly name: string;
  /** Decorators of class-transformer and class-validator for the value, applied in this order. */
  readonly checks: readonly PropertyDecorator[];
}

/** A class whose fields are the variables of one module. It is not instantiated: `join` makes one class of all sections. */
export interface SectionClass<T = object> {
  new (): T;
  /** The heading of its table in README. */
  readonly title: string;
  /** Warnings about values that are allowed but probably a mistake. They never contain a value, which may be a secret. */
  warnings?(given: Given): string[];
}

/** The base of all sections: the fields that the checks of every section may read. */
export abstract class Section {
  readonly production: boolean;
}

const variables = new WeakMap<object, Variable[]>();

/** Declares a field of a section as the variable of the same name. */
export function Variable(options: VariableOptions, ...checks: PropertyDecorator[]): PropertyDecorator {
  return ({ constructor }, name) => {
    const others = variables.get(constructor) ?? [];
    variables.set(constructor, [...others, { name: String(name), ...options, checks }]);
  };
}

/** The variables of a section, in the order of its source. */
export function variablesOf(section: SectionClass): readonly Variable[] {
  return variables.get(section) ?? [];
}

type Joined<T extends readonly SectionClass[]> = T extends readonly [
  SectionClass<infer First>,
  ...infer Rest extends readonly SectionClass[],
]
  ? First & Joined<Rest>
  : object;

/** Makes one class with the fields and getters of all sections, so that the configuration is validated as a whole. */
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

/** One warning for each of these variables that is set. */
export function withoutEffect(given: Given, names: readonly string[], reason: string): string[] {
  return names.filter((name) => given[name] !== undefined).map((name) => `${name} has no effect: ${reason}`);
}

/** A shorter secret can be guessed. */
const SAFE_LENGTH = 16;

/** One warning for each of these secrets that is set and too short. */
export function guessable(given: Given, names: readonly string[]): string[] {
  return names
    .filter((name) => given[name] !== undefined && given[name].length < SAFE_LENGTH)
    .map((name) => `${name} is short: give at least ${SAFE_LENGTH} random characters`);
}
