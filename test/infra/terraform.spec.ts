import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Config, ConfigError, readConfig } from '../../src/config/config.js';
import { DRAIN_MS, REQUEST_TIMEOUT_MS } from '../../src/http/connections.js';
import { HEARTBEAT_MS } from '../../src/sessions/event-streams.js';
import { useService } from '../support/service.js';

type Variables = Record<string, string>;
interface Task {
  readonly environment: Variables;
  readonly secrets: Variables;
  /** Names of secrets that are put by hand. */
  readonly given?: readonly string[];
}

const read = (file: string): unknown =>
  JSON.parse(readFileSync(resolve(__dirname, '../../terraform/tests', file), 'utf8'));

// Terraform's own tests hold the stack against the same files.
/** What the task definition gives. */
const TASKS = read('environment.json') as Record<'minimal' | 'full' | 'cloudfront' | 'jwt', Task>;
/** What somebody puts where Terraform only makes the place. */
const GIVEN: Variables = {
  CLOUDFRONT_PRIVATE_KEY: generateKeyPairSync('rsa', { modulusLength: 2_048 })
    .privateKey.export({ type: 'pkcs8', format: 'pem' })
    .toString(),
};
/** What the load balancer passes on, and what it answers 403. */
const PATHS = read('paths.json') as Record<'forwarded' | 'forbidden', string[]>;
/** Seconds: of silence before the load balancer ends a connection, of draining, and until a task is killed. */
const TIMEOUTS = read('timeouts.json') as Record<'idle' | 'drain' | 'stop', number>;

/** What the service does not start without in production, and by which name it says so. */
const REQUIRED: Variables = {
  AUTH_AUDIENCE: 'AUTH_AUDIENCE',
  AUTH_ISSUER: 'AUTH_ISSUER',
  AUTH_JWKS_URL: 'AUTH_JWKS_URL',
  CALLBACK_SECRET: 'CALLBACK_SECRET',
  CLOUDFRONT_KEY_PAIR_ID: 'CLOUDFRONT_KEY_PAIR_ID',
  CLOUDFRONT_PRIVATE_KEY: 'CLOUDFRONT_PRIVATE_KEY',
  INTERNAL_API_TOKEN: 'INTERNAL_API_TOKEN',
  MEDIA_SIGNING_SECRET: 'MEDIA_SIGNING_SECRET',
  REDIS_URL: 'SESSION_STORE',
  TICKET_SECRET: 'TICKET_SECRET',
};

const all = ({ environment, secrets, given = [] }: Task): Variables => ({
  ...environment,
  ...secrets,
  ...Object.fromEntries(given.map((name) => [name, GIVEN[name]!])),
});
const without = (name: string, variables: Variables): Variables =>
  Object.fromEntries(Object.entries(variables).filter(([other]) => other !== name));
const faultsOf = (variables: Variables): string[] => {
  try {
    readConfig(variables);
    return [];
  } catch (error) {
    return (error as ConfigError).faults.map((fault) => fault.split(':', 1)[0]!);
  }
};

describe.each(Object.entries(TASKS))('the environment of the task definition, %s', (_case, task) => {
  // The default is jwt, which one of them names and the others do not want.
  const names = Object.keys(all(task)).filter((name) => name !== 'AUTH_MODE');

  it('is what the service starts with, on the Redis of the stack, with a word of warning where it is open', () => {
    const config = readConfig(all(task));
    expect(config).toMatchObject({
      production: true,
      SESSION_STORE: 'redis',
      HOST: '0.0.0.0',
    } satisfies Partial<Config>);
    expect(config.AUTH_MODE).toBe(task.environment.AUTH_MODE);
    expect(config.warnings).toEqual([]);
    expect(config.alarm?.split(':', 1)[0]).toBe(config.AUTH_MODE === 'jwt' ? undefined : 'AUTH_MODE is none');
  });

  it.each(names.filter((name) => name in REQUIRED))('is not enough without %s', (name) => {
    expect(faultsOf(without(name, all(task)))).toEqual([REQUIRED[name]]);
  });

  // A variable that was renamed on one side only would be passed over in silence.
  it.each(names.filter((name) => !(name in REQUIRED)))('gives %s because the service reads it', (name) => {
    // The service draws one where it needs none, and two of its configurations would always differ.
    const given = { MEDIA_SIGNING_SECRET: 'the same for both', ...all(task) };
    expect(readConfig(without(name, given))).not.toEqual(readConfig(given));
  });

  it('keeps every secret out of plain sight', () => {
    expect(
      Object.keys(task.environment).filter((name) => /SECRET|PASSWORD|TOKEN|PRIVATE_KEY/.test(name)),
    ).toEqual([]);
  });
});

it('refuses cluster mode, as Terraform does for it: remove redis_cluster_ready when this fails', () => {
  expect(faultsOf({ ...all(TASKS.minimal), REDIS_CLUSTER: 'true' })).toEqual(['REDIS_CLUSTER']);
});

it('knows no authentication but jwt and none', () => {
  expect(faultsOf({ ...all(TASKS.minimal), AUTH_MODE: 'basic' })).toEqual(['AUTH_MODE']);
});

describe('the paths of the load balancer', () => {
  const service = useService('the embedded store');
  const isAmong = (patterns: readonly string[], path: string): boolean =>
    patterns.some((pattern) =>
      pattern.endsWith('/*') ? path.startsWith(pattern.slice(0, -1)) : path === pattern,
    );

  it('lead to every route for clients, and to no other', async () => {
    const { paths } = (await service.send('get', '/docs/openapi.json')).body as { paths: object };
    // Files are served for a folder of streams alone, which no task has.
    const routes = [...Object.keys(paths), '/docs/openapi.json'].filter(
      (path) => !path.startsWith('/media/'),
    );
    const forClients = routes.filter((path) => /^\/(v1|health)\//.test(path));
    expect(forClients.length).toBeGreaterThan(5);
    expect(routes.filter((path) => isAmong(PATHS.forwarded, path))).toEqual(forClients);
    expect(routes.filter((path) => isAmong(PATHS.forbidden, path))).toEqual(
      routes.filter((path) => !forClients.includes(path)),
    );
  });
});

describe('the times of the load balancer and of ECS', () => {
  const service = useService('the embedded store');

  it('leave it to the load balancer to end a connection, so that no request meets its end (502)', () => {
    expect(service.app.getHttpServer().keepAliveTimeout).toBeGreaterThan(TIMEOUTS.idle * 1_000);
  });

  it('are longer than an event stream is silent, even where a heartbeat is missed', () => {
    expect(2 * HEARTBEAT_MS).toBeLessThan(TIMEOUTS.idle * 1_000);
  });

  it('let requests under way come to their end, and the service after them', () => {
    expect(REQUEST_TIMEOUT_MS).toBeLessThan(TIMEOUTS.drain * 1_000);
    expect(3 * DRAIN_MS).toBeLessThanOrEqual(TIMEOUTS.stop * 1_000);
  });
});
