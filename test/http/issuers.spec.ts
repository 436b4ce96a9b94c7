import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type FastifyRequest } from 'fastify';
import { userIdOf } from '../../src/auth/subjects.js';
import { type Viewer, Viewers } from '../../src/auth/viewers.js';
import { readConfig } from '../../src/config/config.js';
import { Issuer } from '../support/issuer.js';
import { ManualClock } from '../support/manual-clock.js';

/** Each issuer of docs/integrations.md: its variables take a token of its claims. */
const GUIDE = readFileSync(join(__dirname, '../../docs/integrations.md'), 'utf8');

interface Example {
  readonly name: string;
  readonly variables: Record<string, string>;
  readonly claims: Record<string, unknown>;
}

const EXAMPLES: readonly Example[] = [
  ...GUIDE.matchAll(/^### (.+)$(?:(?!^#)[^])*?^```sh$([^]*?)^```$\s*^```json$([^]*?)^```$/gm),
].map(([, name, variables, claims]) => ({
  name: name!,
  variables: Object.fromEntries(
    variables!
      .trim()
      .split('\n')
      .map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]),
  ),
  claims: JSON.parse(claims!) as Record<string, unknown>,
}));

const PLANS: Readonly<Record<string, number>> = {
  Auth0: 5,
  'Amazon Cognito': 5,
  Keycloak: 5,
  Firebase: 5,
  'Microsoft Entra ID': 3,
  Okta: 5,
  Google: 3,
};

const clock = new ManualClock();
const issuer = new Issuer(() => clock.now());
beforeAll(() => issuer.start());
afterAll(() => issuer.stop());

describe('the issuers of the guide', () => {
  it('are the ones that a test knows the plan of', () => {
    expect(EXAMPLES.map(({ name }) => name)).toEqual(Object.keys(PLANS));
  });

  it.each(EXAMPLES)('$name: its tokens name the user and the plan', async ({ name, variables, claims }) => {
    const key = await issuer.addKey(name);
    const { AUTH_JWKS_URL } = issuer.environment;
    const viewers = new Viewers(readConfig({ AUTH_MODE: 'jwt', ...variables, AUTH_JWKS_URL }), clock);
    const viewerOf = async (changed: Record<string, unknown>): Promise<Viewer> => {
      const token = await issuer.token(key, { aud: undefined, sub: undefined, ...claims, ...changed });
      const request = { headers: { authorization: `Bearer ${token}` } } as FastifyRequest;
      return viewers.of(request, undefined);
    };
    const subject = claims[variables.USER_ID_CLAIM ?? 'sub'] as string;
    const viewer = await viewerOf({});
    expect(viewer).toMatchObject({
      userId: userIdOf(subject),
      quota: { maxSessions: PLANS[name] },
    });
    expect(viewer.subject ?? viewer.userId).toBe(subject);
    for (const other of ['iss', variables.AUTH_AUDIENCE_CLAIM ?? 'aud'])
      await expect(viewerOf({ [other]: 'https://another.example' })).rejects.toMatchObject({ status: 401 });
  });

  it('have subjects that the code of the guide maps as the service does, in both languages', async () => {
    const blockOf = (language: string): string =>
      new RegExp(`^\`\`\`${language}$([^]*?)^\`\`\`$`, 'm').exec(GUIDE)![1]!;
    const subjects = [
      'ana',
      'auth0|507f',
      '..',
      'a+b@example.com',
      'Ünï çødé',
      `sub~${'a'.repeat(43)}`,
      'ana\n',
    ];
    const expected = subjects.map(userIdOf);
    const call = `\nprocess.stdout.write(JSON.stringify(${JSON.stringify(subjects)}.map(userIdOf)))`;
    const js = execFileSync(process.execPath, ['--input-type=module', '-e', blockOf('js') + call], {
      encoding: 'utf8',
    });
    expect(JSON.parse(js)).toEqual(expected);
    const python = `${blockOf('python')}\nimport json\nprint(json.dumps([user_id_of(s) for s in json.loads(r'''${JSON.stringify(subjects)}''')]))`;
    expect(JSON.parse(execFileSync('python3', ['-c', python], { encoding: 'utf8' }))).toEqual(expected);
  });
});
