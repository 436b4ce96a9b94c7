import { isDeepStrictEqual } from 'node:util';
import { applyDecorators, type INestApplication } from '@nestjs/common';
import { ApiResponse, DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import { type TObject, type TSchema } from '@sinclair/typebox';
import { type JsonSchema } from './fields.js';
import { PROBLEMS, type ProblemCode, problemSchema } from './problem.js';

/** A problem with additional members, or with another status than its default. */
interface DocumentedProblem {
  readonly code: ProblemCode;
  /** Members beyond those of RFC 9457. */
  readonly members?: TObject;
  readonly status?: number;
}

/** Documents the problems of a route. */
export function ApiProblems(...problems: readonly (ProblemCode | DocumentedProblem)[]) {
  const byStatus = Map.groupBy(
    problems.map((problem): DocumentedProblem => (typeof problem === 'string' ? { code: problem } : problem)),
    ({ code, status }) => status ?? PROBLEMS[code].status,
  );
  return applyDecorators(
    ...[...byStatus].map(([status, ofStatus]) =>
      ApiResponse({
        status,
        description: ofStatus.map(({ code }) => `\`${code}\`: ${PROBLEMS[code].title}.`).join(' '),
        content: { 'application/problem+json': { schema: oneOf(ofStatus) } },
      }),
    ),
  );
}

function oneOf(problems: readonly DocumentedProblem[]): object {
  const schemas = problems.map(({ code, members }) => problemSchema(code, members));
  return schemas.length === 1 ? schemas[0]! : { oneOf: schemas };
}

/** A schema as Nest's decorators accept it: their types are those of OpenAPI 3.0, where `exclusiveMinimum` is a boolean. */
export function schemaOf(shape: TSchema): object {
  return shape;
}

/** The problems of routes for viewers, if the caller is not the user of the request. */
export const OF_VIEWERS = [
  'unauthorized',
  'token-unusable',
  'not-your-session',
  'forbidden',
  'keys-unavailable',
] as const;

/** The names of the security schemes: for services and operators, and for viewers. */
export const API_TOKEN = 'api-token';
export const VIEWER_TOKEN = 'viewer-token';

/** The paths that `useDocs` serves. */
export const DOCS = /^\/docs(\/|$)/;

/**
 * Serves Swagger UI at /docs and the document at /docs/openapi.json. The document is the same in every configuration, and
 * committed as docs/openapi.json. `webhooks` describes the callbacks that the service sends.
 */
export function useDocs(app: INestApplication, webhooks: JsonSchema, version: string): void {
  const settings = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Streamgate')
    .setDescription(
      'Limits how many streams a user watches at the same time. A client requests its stream phase by phase. Each ' +
        'reply contains the phase or the reason of the refusal. Every error is a problem (RFC 9457) with a `code`.',
    )
    .setVersion(version)
    .addTag('phases', 'Requests for the phases of a stream.')
    .addTag('sessions', 'The sessions of a user: list, follow, keep alive and end them.')
    .addTag('streams', 'The streams and their renditions.')
    .addTag('callbacks', 'Events that Streamgate posts to your service.')
    .addTag('internal', 'For scheduled jobs and operators. Clients must not reach these routes.')
    .addTag('platform', 'For load balancers and monitoring.')
    .addBearerAuth(
      {
        type: 'http',
        scheme: 'bearer',
        bearerFormat: 'opaque',
        description: 'INTERNAL_API_TOKEN, or one of API_TOKENS with the required scope.',
      },
      API_TOKEN,
    )
    .addBearerAuth(
      {
        type: 'http',
        scheme: 'bearer',
        bearerFormat: 'JWT',
        description:
          'With AUTH_MODE=jwt: a token of the issuer, whose claim `sub` (or USER_ID_CLAIM) names the user.',
      },
      VIEWER_TOKEN,
    )
    .build();
  const { paths, ...document } = SwaggerModule.createDocument(app, settings, {
    operationIdFactory: (_controller, method) => method,
  });
  SwaggerModule.setup('docs', app, withComponents({ ...document, paths: sorted(paths), webhooks }), {
    jsonDocumentUrl: 'docs/openapi.json',
    raw: ['json'],
  });
}

/**
 * Moves each schema with a title to `components.schemas`, under its title, and puts a `$ref` in its place. Thus the code
 * can compose schemas as values, and Fastify compiles request bodies without external references.
 */
export function withComponents(document: object & { components?: object; paths: object; webhooks: object }) {
  const schemas: Record<string, JsonSchema> = {};
  const referring = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(referring);
    if (typeof value !== 'object' || value === null) return value;
    const { title } = value as { title?: unknown };
    const named = typeof title === 'string';
    const schema = Object.fromEntries(
      Object.entries(value)
        .filter(([name]) => !(named && name === 'title'))
        .map(([name, member]) => [name, referring(member)]),
    );
    if (!named) return schema;
    if (!isDeepStrictEqual((schemas[title] ??= schema), schema))
      throw new Error(`Two different schemas have the title ${title}`);
    return { $ref: `#/components/schemas/${title}` };
  };
  const paths = referring(document.paths);
  const webhooks = referring(document.webhooks);
  return {
    ...document,
    paths,
    webhooks,
    components: { ...document.components, schemas: sorted(schemas) },
  } as unknown as OpenAPIObject;
}

function sorted<T>(members: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(members).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
