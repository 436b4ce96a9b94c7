import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { type Response } from 'supertest';

interface Operation {
  readonly responses: Record<string, { content?: Record<string, { schema: object }> }>;
}
interface Document {
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: object;
}

const documents = new WeakMap<NestFastifyApplication, Document>();
const validators = new Map<object, ValidateFunction>();

/** Checks a reply against the OpenAPI document that the service serves: status, media type and every field. */
export async function expectDocumented(
  app: NestFastifyApplication,
  method: string,
  url: string,
  reply: Response,
): Promise<void> {
  const { paths, components } = await documentOf(app);
  const path = url.split('?', 1)[0]!;
  const [template] = Object.keys(paths).filter((pattern) => matches(pattern, path));
  const operation = template === undefined ? undefined : paths[template]![method];
  // Unknown paths and methods belong to no operation. Other tests check them.
  if (operation === undefined) return;
  const documented = operation.responses[reply.status];
  if (documented === undefined)
    throw new Error(`${method} ${path} answered ${reply.status}, which is not documented`);
  const type = (reply.headers['content-type'] ?? '').split(';', 1)[0]!;
  if (documented.content === undefined) {
    expect({ type, text: reply.text }).toEqual({ type: '', text: '' });
    return;
  }
  const schema = documented.content[type]?.schema;
  if (schema === undefined) throw new Error(`${method} ${path} ${reply.status} is not documented as ${type}`);
  const bodies = bodiesOf(type, reply.text);
  if (type === 'application/problem+json') expect(bodies[0]).toHaveProperty('status', reply.status);
  const validate = validators.get(schema) ?? compile(schema, components);
  if (!bodies.every((body) => validate(body)))
    throw new Error(
      `${method} ${path} ${reply.status} is not as documented: ${JSON.stringify(validate.errors)}\n${reply.text}`,
    );
}

/** The values that the schema of a reply describes: in NDJSON each line. */
function bodiesOf(type: string, text: string): readonly unknown[] {
  if (type === 'application/x-ndjson')
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as unknown);
  return [type.endsWith('json') ? JSON.parse(text) : text];
}

/** Resolves references of the form `#/components/schemas/…`. */
function compile(schema: object, components: object): ValidateFunction {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats.default(ajv);
  const validate = ajv.compile({ ...schema, components });
  validators.set(schema, validate);
  return validate;
}

async function documentOf(app: NestFastifyApplication): Promise<Document> {
  const known = documents.get(app);
  if (known) return known;
  const { body } = await app.getHttpAdapter().getInstance().inject('/docs/openapi.json');
  const document = JSON.parse(body) as Document;
  documents.set(app, document);
  return document;
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/');
  const given = path.split('/');
  return (
    wanted.length === given.length && wanted.every((part, at) => part.startsWith('{') || part === given[at])
  );
}
