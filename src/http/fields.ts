import {
  type ObjectOptions,
  type SchemaOptions,
  type Static,
  type TNull,
  type TObject,
  type TProperties,
  type TSchema,
  type TString,
  type TUnion,
  type TUnsafe,
  Type,
} from '@sinclair/typebox';

/**
 * The parts that JSON shapes are made of. A shape is one TypeBox schema: Fastify validates requests against it, the
 * OpenAPI document shows it, and its TypeScript type is `Static<typeof SHAPE>` (docs/decisions/0013).
 */

/** A JSON Schema that both OpenAPI 3.1 (draft 2020-12) and Fastify accept. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** An object with these members and no others. */
export function object<P extends TProperties>(properties: P, options: ObjectOptions = {}): TObject<P> {
  return Type.Object(properties, { ...options, additionalProperties: false });
}

/** An object that is a named component of the OpenAPI document. `name` is in PascalCase and unique. */
export function component<P extends TProperties>(
  name: string,
  properties: P,
  options: ObjectOptions = {},
): TObject<P> {
  return object(properties, { ...options, title: name });
}

/** The body of a request that may also be `null` or absent. */
export function optionalBody<P extends TProperties>(
  body: TObject<P>,
): TUnsafe<Static<TObject<P>> | null | undefined> {
  return Type.Unsafe({ ...body, type: ['object', 'null'] });
}

/** One of these texts. TypeBox has no type for the keyword `enum`. */
export function oneOfTexts<const Texts extends readonly string[]>(
  texts: Texts,
  options: SchemaOptions = {},
): TUnsafe<Texts[number]> {
  return Type.Unsafe({ type: 'string', enum: [...texts], ...options });
}

/** A member that is always present and may be `null`. */
export function orNull<T extends TSchema>(type: T): TUnion<[T, TNull]> {
  return Type.Union([type, Type.Null()]);
}

/**
 * 1 to 64 characters that need no escaping in a path or in a log. Not `.` or `..`: a URL that ends in one
 * of them resolves to another path.
 */
export const ID = /^(?!\.{1,2}$)[A-Za-z0-9._~:@-]{1,64}$/;
export const ID_RULE = 'must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ : @ -, and not . or ..';
/** How a request may name a stream. There is none of the name `.` or `..`, so that these are 404 and not 422. */
export const STREAM_NAME = /^[A-Za-z0-9._~:@-]{1,64}$/;

/** A whole number from 1 to 10,000, as the text of a query. */
export const LIMIT = /^(?:10000|[1-9]\d{0,3})$/;

/** What a text must be, by the source of the pattern that it does not match. */
export const PATTERN_RULES: Readonly<Record<string, string>> = {
  [ID.source]: ID_RULE,
  [STREAM_NAME.source]: ID_RULE,
  [LIMIT.source]: 'must be a whole number from 1 to 10000',
};

export function idSchema(description: string, example: string, { source: pattern } = ID): TString {
  return Type.String({ pattern, description, examples: [example] });
}

export function instantSchema(description: string): TString {
  return Type.String({ format: 'date-time', description });
}

/** The schema of a number of things. */
export function countSchema(description: string): ReturnType<typeof Type.Integer> {
  return Type.Integer({ minimum: 0, description });
}

/** A cache of formatted minutes, by minute modulo 512. A reply contains up to six instants, mostly of the last hours. */
const minutes = Array.from({ length: 512 }, () => ({ minute: NaN, text: '' }));
const MINUTE_MS = 60_000;
const SECONDS = Array.from({ length: 60 }, (_, second) => `${String(second).padStart(2, '0')}.`);
const MILLISECONDS = Array.from({ length: 1_000 }, (_, ms) => `${String(ms).padStart(3, '0')}Z`);

/** Writes Unix milliseconds as RFC 3339 in UTC with milliseconds. */
export function instant(ms: number): string {
  const minute = Math.floor(ms / MINUTE_MS);
  const known = minutes[minute & 511]!;
  if (known.minute !== minute) {
    known.text = new Date(minute * MINUTE_MS).toISOString().slice(0, 'YYYY-MM-DDTHH:MM:'.length);
    known.minute = minute;
  }
  const rest = Math.floor(ms) - minute * MINUTE_MS;
  const second = Math.floor(rest / 1_000);
  return `${known.text}${SECONDS[second]!}${MILLISECONDS[rest - second * 1_000]!}`;
}
