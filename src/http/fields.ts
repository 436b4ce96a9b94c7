/** A JSON Schema as OpenAPI 3.1 takes it (draft 2020-12) and as Fastify compiles it: one truth for both. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** 1 to 64 characters that need no escaping in a path and hold no surprise in a log. */
export const ID = /^[A-Za-z0-9._~:@-]{1,64}$/;
export const ID_RULE = 'must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ : @ -';

export const idSchema = (description: string, example: string): JsonSchema => ({
  type: 'string',
  pattern: ID.source,
  description,
  examples: [example],
});

export const instantSchema = (description: string): JsonSchema => ({
  type: 'string',
  format: 'date-time',
  description,
});

/** The text of recent seconds, each in the place of its number modulo 64: a reply has five instants, mostly of few. */
const seconds = Array.from({ length: 64 }, () => ({ second: -1, text: '' }));

/** Instants are RFC 3339 in UTC with milliseconds. */
export function instant(ms: number): string {
  const second = Math.floor(ms / 1_000);
  const known = seconds[second & 63]!;
  if (known.second !== second) {
    known.second = second;
    known.text = new Date(second * 1_000).toISOString().slice(0, 'YYYY-MM-DDTHH:MM:SS.'.length);
  }
  return `${known.text}${String(ms - second * 1_000).padStart(3, '0')}Z`;
}
