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
  /** Names of secrets that an operator sets by hand. */
  readonly given?: readonly string[];
}

const read = (file: string): unknown =>
  JSON.parse(readFileSync(resolve(__dirname, '../../terraform/tests', file), 'utf8'));

// The tests of Terraform check the stack against the same files.
/** The variables of the task definition. */
const TASKS = read('environment.json') as Record<'minimal' | 'full' | 'cloudfront' | 'jwt', Task>;
/** Values for the secrets that Terraform creates empty, and that an operator fills. */
const GIVEN: Variables = {
  CLOUDFRONT_PRIVATE_KEY: generateKeyPairSync('rsa', { modulusLength: 2_048 })
    .privateKey.export({ type: 'pkcs8', format: 'pem' })
    .toString(),
};
/** The paths that the load balancer forwards, and the paths that it answers with 403. */
const PATHS = read('paths.json') as Record<'forwarded' | 'forbidden', string[]>;
/** In seconds: the idle time-out of the load balancer, its draining time, and the stop time-out of a task. */
const TIMEOUTS = read('timeouts.json') as Record<'idle' | 'drain' | 'stop', number>;

/** The variables that the service requires in production, each with the name in its error message. */
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
  // The default is jwt. One of the tasks sets it explicitly; the others use none.
  const names = Object.keys(all(task)).filter((name) => name !== 'AUTH_MODE');

  it('lets the service start, with the Redis of the stack, and with an alarm if AUTH_MODE is none', () => {
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

  it.each(names.filter((name) => name in REQUIRED))('is invalid without %s', (name) => {
    expect(faultsOf(without(name, all(task)))).toEqual([REQUIRED[name]]);
  });

  // Otherwise a variable that is renamed on one side only would have no effect, without any error.
  it.each(names.filter((name) => !(name in REQUIRED)))('sets %s, which the service reads', (name) => {
    // The service generates secrets that are not set, so that two of its configurations would always differ.
    const given = { MEDIA_SIGNING_SECRET: 'the same for both', ...all(task) };
    expect(readConfig(without(name, given))).not.toEqual(readConfig(given));
  });

  it('contains no secret as plain text', () => {
    expect(
      Object.keys(task.environment).filter((name) => /SECRET|PASSWORD|TOKEN|PRIVATE_KEY/.test(name)),
    ).toEqual([]);
  });
});

it('the service takes the cluster mode that Terraform sets from two shards on', () => {
  expect(faultsOf({ ...all(TASKS.minimal), REDIS_CLUSTER: 'true' })).toEqual([]);
});

it('the service has no authentication other than jwt and none', () => {
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
    // /media serves files of a folder only, and no task has a folder of streams.
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

  it('let the load balancer close idle connections, so that no request is sent on a closing connection (502)', () => {
    expect(service.app.getHttpServer().keepAliveTimeout).toBeGreaterThan(TIMEOUTS.idle * 1_000);
  });

  it('are longer than the silence of an event stream, even if one heartbeat is missed', () => {
    expect(2 * HEARTBEAT_MS).toBeLessThan(TIMEOUTS.idle * 1_000);
  });

  it('let requests in progress finish, and the service stop afterwards', () => {
    expect(REQUEST_TIMEOUT_MS).toBeLessThan(TIMEOUTS.drain * 1_000);
    expect(3 * DRAIN_MS).toBeLessThanOrEqual(TIMEOUTS.stop * 1_000);
  });
});
