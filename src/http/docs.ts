import { applyDecorators, type INestApplication } from '@nestjs/common';
import { ApiResponse, DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import { PROBLEMS, type ProblemCode, problemType } from './problem.js';

/** A JSON Schema as OpenAPI 3.1 takes it (draft 2020-12) and as Fastify compiles it: one truth for both. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** 1 to 64 characters that need no escaping in a path and hold no surprise in a log. */
export const ID_PATTERN = '^[A-Za-z0-9._~:@-]{1,64}$';
export const ID_RULE = 'must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ : @ -';

export const idSchema = (description: string, example: string): JsonSchema => ({
  type: 'string',
  pattern: ID_PATTERN,
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

/** Documents which problems a route answers with; members beyond RFC 9457's by code. */
export function ApiProblems(...codes: readonly (ProblemCode | { code: ProblemCode; members: JsonSchema })[]) {
  const byStatus = Map.groupBy(
    codes.map((code) => (typeof code === 'string' ? { code, members: {} } : code)),
    ({ code }) => PROBLEMS[code].status,
  );
  return applyDecorators(
    ...[...byStatus].map(([status, problems]) =>
      ApiResponse({
        status,
        description: problems.map(({ code }) => `\`${code}\`: ${PROBLEMS[code].title}.`).join(' '),
        content: { 'application/problem+json': { schema: { oneOf: problems.map(problemSchema) } } },
      }),
    ),
  );
}

function problemSchema({ code, members }: { code: ProblemCode; members: JsonSchema }): JsonSchema {
  const extra = code === 'invalid-request' ? { errors: FIELD_ERRORS, ...members } : members;
  return {
    type: 'object',
    additionalProperties: false,
    required: ['type', 'title', 'status', 'detail', 'instance', 'code', ...Object.keys(extra)],
    properties: {
      type: { const: problemType(code) },
      title: { type: 'string' },
      status: { const: PROBLEMS[code].status },
      detail: { type: 'string', description: 'What to do about it.' },
      instance: { type: 'string', description: "The request's id, as in the log and in X-Request-Id." },
      code: { const: code },
      ...extra,
    },
  };
}

const FIELD_ERRORS: JsonSchema = {
  type: 'array',
  minItems: 1,
  items: {
    type: 'object',
    additionalProperties: false,
    required: ['field', 'message'],
    properties: { field: { type: 'string' }, message: { type: 'string' } },
  },
};

/** The guarded part of the API: documents that it takes the internal token. */
export const INTERNAL_TOKEN = 'internal-token';

/** Serves Swagger UI at /docs and the document at /docs/openapi.json. */
export function useDocs(app: INestApplication): OpenAPIObject {
  const settings = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Streamgate')
    .setDescription(
      'Limits how many streams a user watches at once. A client asks for its stream phase by phase; each answer ' +
        'either issues the phase or says why not. Every error is a problem (RFC 9457), told apart by its `code`.',
    )
    .setVersion('1')
    .addBearerAuth({ type: 'http', scheme: 'bearer', description: 'INTERNAL_API_TOKEN' }, INTERNAL_TOKEN)
    .build();
  const document = SwaggerModule.createDocument(app, settings, {
    operationIdFactory: (_controller, method) => method,
  });
  SwaggerModule.setup('docs', app, document, { jsonDocumentUrl: 'docs/openapi.json', raw: ['json'] });
  return document;
}
