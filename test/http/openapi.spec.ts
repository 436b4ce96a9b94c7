import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { EVENT, LIMIT_REACHED, SESSION } from '../../src/sessions/sessions.schemas.js';
import { PHASE_REPLY, PHASE_REQUEST } from '../../src/streams/streams.schemas.js';
import { useService } from '../support/service.js';

const ROOT = join(__dirname, '../..');

interface Operation {
  readonly operationId: string;
  readonly requestBody?: { readonly content: Content };
  readonly responses: Record<string, { readonly content?: Content }>;
}
type Content = Record<string, { readonly schema: Schema }>;
interface Schema {
  readonly $ref?: string;
  readonly oneOf?: readonly Schema[];
}
interface Document {
  readonly info: { readonly version: string };
  readonly paths: Record<string, Record<string, Operation>>;
  readonly webhooks: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, { readonly properties?: object }> };
}

describe('the files that are generated from the API', () => {
  it('are current: docs/openapi.json, and the types of the client (npm run docs:openapi)', () => {
    const check = spawnSync(process.execPath, ['.ci/openapi.mjs', '--check'], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    expect({ status: check.status, message: check.stderr }).toEqual({ status: 0, message: '' });
  });
});

describe('the OpenAPI document', () => {
  const service = useService('the embedded store');
  const withTokens = useService('the embedded store', () => ({
    AUTH_MODE: 'jwt',
    AUTH_ISSUER: 'https://id.example',
    AUTH_AUDIENCE: 'streamgate',
    AUTH_JWT_SECRET: 'a-secret-of-32-characters-or-more',
    INTERNAL_API_TOKEN: 'a-token-of-32-characters-or-longer',
    PHASE_SECONDS: '2',
  }));
  const documentOf = async ({ app }: typeof service): Promise<Document> =>
    (await app.inject('/docs/openapi.json')).json();
  const operations = ({ paths, webhooks }: Document): Operation[] =>
    [paths, webhooks].flatMap((items) => Object.values(items).flatMap((methods) => Object.values(methods)));

  it('is the same in every configuration', async () => {
    expect(await documentOf(withTokens)).toEqual(await documentOf(service));
  });

  it('has the version of the service', async () => {
    const { version } = jest.requireActual<{ version: string }>('../../package.json');
    expect((await documentOf(service)).info.version).toBe(version);
  });

  it('has a unique id for each operation, suited as the name of a method', async () => {
    const ids = operations(await documentOf(service)).map(({ operationId }) => operationId);
    const verbs = 'ask|check|end|expire|get|issue|keep|list|pause|receive|replay|report|resume|set|stream';
    expect(ids.filter((id) => !new RegExp(`^(${verbs})([A-Z][a-z]+)+$`).test(id))).toEqual([]);
    expect(ids).toHaveLength(new Set(ids).size);
    expect(ids).toEqual(expect.arrayContaining(['askForPhase', 'getPlaylist', 'keepSessionAlive']));
  });

  it('refers to a named component from every JSON body', async () => {
    const bodies = operations(await documentOf(service)).flatMap(({ requestBody, responses }) =>
      [requestBody, ...Object.values(responses)].flatMap((message) =>
        Object.entries(message?.content ?? {}).filter(([type]) => type.endsWith('json')),
      ),
    );
    const references = bodies.flatMap(([, { schema }]) => schema.oneOf ?? [schema]);
    expect(references.length).toBeGreaterThan(100);
    expect(references.filter((schema) => Object.keys(schema).join(',') !== '$ref')).toEqual([]);
  });

  it('has the members of each schema as the code defines them', async () => {
    const { schemas } = (await documentOf(service)).components;
    const members = (name: string): string[] => Object.keys(schemas[name]!.properties!);
    expect(members('Session')).toEqual(Object.keys(SESSION.properties));
    expect(members('PhaseRequest')).toEqual(Object.keys(PHASE_REQUEST.properties));
    expect(members('PhaseReply')).toEqual(Object.keys(PHASE_REPLY.properties));
    expect(members('Event')).toEqual(Object.keys(EVENT.properties));
    expect(schemas['SessionLimitReached']).toMatchObject({
      allOf: [
        { $ref: '#/components/schemas/Problem' },
        { required: ['type', 'title', 'code', ...Object.keys(LIMIT_REACHED.members.properties)] },
      ],
    });
  });
});
