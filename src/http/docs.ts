import { applyDecorators, type INestApplication } from '@nestjs/common';
import { ApiResponse, DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import { type JsonSchema } from './fields.js';
import { PROBLEMS, type ProblemCode, problemType } from './problem.js';

interface DocumentedProblem {
  readonly code: ProblemCode;
  /** Beyond those of RFC 9457. */
  readonly members: JsonSchema;
  /** Where it is not the problem's own. */
  readonly status?: number;
}

/** Documents which problems a route answers with. */
export function ApiProblems(...codes: readonly (ProblemCode | DocumentedProblem)[]) {
  const byStatus = Map.groupBy(
    codes.map((code): Required<DocumentedProblem> => {
      const given = typeof code === 'string' ? { code, members: {} } : code;
      return { status: PROBLEMS[given.code].status, ...given };
    }),
    ({ status }) => status,
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

function problemSchema({ code, members, status }: Required<DocumentedProblem>): JsonSchema {
  const extra = code === 'invalid-request' ? { errors: FIELD_ERRORS, ...members } : members;
  return {
    type: 'object',
    additionalProperties: false,
    required: ['type', 'title', 'status', 'detail', 'instance', 'code', ...Object.keys(extra)],
    properties: {
      type: { const: problemType(code) },
      title: { const: PROBLEMS[code].title },
      status: { const: status },
      detail: { type: 'string', description: 'What to do about it.' },
      instance: { type: 'string', description: "The request's id, as in the log and in X-Request-Id." },
      code: { const: code },
      ...extra,
    },
  };
}

/** What is told whoever asks for a user without being that user. */
export const OF_VIEWERS = ['unauthorized', 'not-your-session', 'forbidden', 'keys-unavailable'] as const;

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

/** Who may ask, as the documentation names it: services and operators, and viewers. */
export const API_TOKEN = 'api-token';
export const VIEWER_TOKEN = 'viewer-token';

/** The paths that `useDocs` serves. */
export const DOCS = /^\/docs(\/|$)/;

/**
 * Serves Swagger UI at /docs and the document at /docs/openapi.json. `webhooks`: what the service itself sends.
 * `tokensNameUsers`: no body has to.
 */
export function useDocs(app: INestApplication, webhooks: JsonSchema, tokensNameUsers: boolean): void {
  const settings = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Streamgate')
    .setDescription(
      'Limits how many streams a user watches at once. A client asks for its stream phase by phase; each answer ' +
        'either issues the phase or says why not. Every error is a problem (RFC 9457), told apart by its `code`.',
    )
    .setVersion('1')
    .addTag('phases', 'What a client asks for, over and over.')
    .addTag('sessions', 'Who is watching, and who shall not.')
    .addTag('streams', 'What can be watched.')
    .addTag('callbacks', 'What is posted to your service.')
    .addTag('internal', 'For the scheduled job and operators, never for clients.')
    .addTag('platform', 'For load balancers and monitoring.')
    .addBearerAuth(
      {
        type: 'http',
        scheme: 'bearer',
        bearerFormat: 'opaque',
        description: 'INTERNAL_API_TOKEN, or one of API_TOKENS with the scope',
      },
      API_TOKEN,
    )
    .addBearerAuth(
      {
        type: 'http',
        scheme: 'bearer',
        bearerFormat: 'JWT',
        description: 'With AUTH_MODE=jwt: a token of the issuer, of which `sub` is the user.',
      },
      VIEWER_TOKEN,
    )
    .build();
  const document = SwaggerModule.createDocument(app, settings, {
    operationIdFactory: (_controller, method) => method,
  });
  if (tokensNameUsers) for (const { post } of Object.values(document.paths)) askForNoUser(post?.requestBody);
  SwaggerModule.setup(
    'docs',
    app,
    { ...document, webhooks: webhooks as OpenAPIObject['webhooks'] },
    { jsonDocumentUrl: 'docs/openapi.json', raw: ['json'] },
  );
}

/** A body's schema for whom a token names: `user_id` may be left out. */
export function withoutUser<T extends { readonly required?: readonly string[] }>(schema: T): T {
  return { ...schema, required: schema.required?.filter((field) => field !== 'user_id') };
}

function askForNoUser(body: NonNullable<OpenAPIObject['paths'][string]['post']>['requestBody']): void {
  for (const media of Object.values(body && 'content' in body ? body.content : {})) {
    if (!media.schema || !('required' in media.schema)) continue;
    media.schema = withoutUser(media.schema);
  }
}
