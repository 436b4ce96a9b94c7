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

/** A cache of formatted seconds, by second modulo 64. A reply contains five instants, which often share a second. */
const seconds = Array.from({ length: 64 }, () => ({ second: -1, text: '' }));

/** Writes Unix milliseconds as RFC 3339 in UTC with milliseconds. */
export function instant(ms: number): string {
  const second = Math.floor(ms / 1_000);
  const known = seconds[second & 63]!;
  if (known.second !== second) {
    known.second = second;
    known.text = new Date(second * 1_000).toISOString().slice(0, 'YYYY-MM-DDTHH:MM:SS.'.length);
  }
  return `${known.text}${String(ms - second * 1_000).padStart(3, '0')}Z`;
}
