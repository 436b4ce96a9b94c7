import { hash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { text as textOf } from 'node:stream/consumers';
import { type Command } from 'commander';
import { type FastifyRequest } from 'fastify';
import { SignJWT, decodeJwt } from 'jose';
import { ApiTokens } from '../auth/api-tokens.js';
import { isJws } from '../auth/bearer.js';
import { userIdOfName } from '../auth/subjects.js';
import { Viewers } from '../auth/viewers.js';
import { type Config, ConfigError, SCOPES, type Scope } from '../config/config.js';
import { OTHER_PSEUDONYM_KEYS } from '../config/log.js';
import { effectiveValues } from '../config/effective.js';
import { Problem } from '../http/problem.js';
import { userNaming } from '../observability/pseudonym.js';
import { type Context } from './context.js';
import { wholeNumber } from './operate.js';
import { CliError, EXIT, readText, table } from './terminal.js';

/** The first of these that is set is the key of pseudonyms. */
const PSEUDONYM_KEYS = ['LOG_USER_IDS_SECRET', ...OTHER_PSEUDONYM_KEYS];

/** The commands that need the variables of the service, and not the service itself. */
export function addLocalCommands(program: Command, context: Context): void {
  addConfig(program.command('config').description('the configuration'), context);
  addPseudonyms(program, context);
  addToken(program.command('token').description('make and check tokens'), context);
}

function addConfig(config: Command, context: Context): void {
  config
    .command('check')
    .description('validate the variables of this environment, and show what the service would use')
    .action(() => {
      const printer = context.printer();
      try {
        const read = context.config();
        const variables = effectiveValues(read);
        printer.print({ valid: true, warnings: read.warnings, variables }, () => variablesText(variables));
        for (const warning of read.warnings) context.terminal.err.write(`Warning: ${warning}\n`);
      } catch (error) {
        if (!(error instanceof ConfigError) || !printer.isJson) throw error;
        printer.print({ valid: false, faults: error.faults }, () => '');
        context.exitCode = EXIT.failed;
      }
    });
  config
    .command('show')
    .description('show the configuration and version of a running instance (scope config:read)')
    .action(async () => {
      const reply = await context.client().get<RunningConfig>('/internal/config');
      context
        .printer()
        .print(
          reply,
          () =>
            `version ${reply.version}, commit ${reply.commit ?? 'unknown'}\n${variablesText(reply.variables)}`,
        );
    });
}

interface RunningConfig {
  readonly version: string;
  readonly commit: string | null;
  readonly variables: ReturnType<typeof effectiveValues>;
}

function variablesText(variables: ReturnType<typeof effectiveValues>): string {
  return table(
    Object.entries(variables).map(([name, value]) => {
      if (value === null) return [name, '-'];
      if (typeof value === 'object' && 'set' in value) return [name, value.set ? '(set)' : '(not set)'];
      return [name, Array.isArray(value) ? value.join(',') : String(value)];
    }),
  );
}

function addPseudonyms(program: Command, context: Context): void {
  program
    .command('pseudonym')
    .description('print the name that the log has for a user')
    .argument('<user>', 'the id of the user, or the subject that the issuer has for them')
    .action((user: string) => {
      const pseudonym = pseudonyms(context)(user);
      context.printer().print({ user_id: user, pseudonym }, () => pseudonym);
    });
  program
    .command('who')
    .description('find the user that a pseudonym in the log stands for, among these users')
    .argument('<pseudonym>', 'the user of a line in the log')
    .argument('<users...>', 'the ids of users; - reads them from stdin, one a line')
    .action(async (pseudonym: string, given: readonly string[]) => {
      const users = given.includes('-') ? (await textOf(context.terminal.input)).split(/\s+/) : given;
      const pseudonymOf = pseudonyms(context);
      const user = users.find((one) => one !== '' && pseudonymOf(one) === pseudonym);
      context
        .printer()
        .print({ pseudonym, user_id: user ?? null }, () =>
          user === undefined
            ? 'None of these users. The key must be that of the service that wrote the log.'
            : user,
        );
      if (user === undefined) context.exitCode = EXIT.failed;
    });
}

/** The function that computes pseudonyms with the key of the service. */
function pseudonyms(context: Context): (user: string) => string {
  const config = context.config();
  const hasKey = PSEUDONYM_KEYS.some((name) => config.secretsGiven.includes(name));
  if (!hasKey)
    throw new CliError(
      `The key of the pseudonyms is not set: set ${PSEUDONYM_KEYS.join(' or ')} as the service has it.`,
    );
  const naming = userNaming({ LOG_USER_IDS: 'hash', LOG_USER_IDS_SECRET: config.LOG_USER_IDS_SECRET });
  return (user) => naming(userIdOfName(user) ?? user)!;
}

function addToken(token: Command, context: Context): void {
  const make = token.command('make').description('make a token');
  make
    .command('api')
    .description('make a token for a service or an operator, and its entry for API_TOKENS')
    .argument('<name>', 'the name that logs have for it')
    .requiredOption('--scopes <list>', `with commas between: ${SCOPES.join(', ')}`, scopes)
    .option('--out <file>', 'write the token into this new file instead of showing it')
    .action((name: string, options: { scopes: readonly Scope[]; out?: string }) => {
      if (!/^[\w.-]{1,64}$/.test(name))
        throw new CliError('The name may have 1 to 64 letters, digits, . _ and -.');
      const secret = randomBytes(32).toString('base64url');
      const entry = `${name}:${options.scopes.join(',')}:${hash('sha256', secret)}`;
      if (options.out !== undefined) writeSecret(options.out, secret);
      const shown = options.out === undefined ? { token: secret } : { token_file: options.out };
      context
        .printer()
        .print({ name, scopes: options.scopes, ...shown, entry }, () =>
          options.out === undefined ? `${secret}\n${entry}` : entry,
        );
    });
  make
    .command('viewer')
    .description('make a token of a viewer, signed with AUTH_JWT_SECRET')
    .argument('<user>', 'the id of the user')
    .option('--seconds <number>', 'until it expires', wholeNumber, 3_600)
    .option('--limit <number>', 'how many streams the plan of the user allows', wholeNumber)
    .action(async (user: string, options: { seconds: number; limit?: number }) => {
      const expiresAt = Math.floor(context.terminal.clock.now() / 1_000) + options.seconds;
      const signed = await viewerToken(context.config(), user, expiresAt, options.limit);
      context
        .printer()
        .print(
          { token: signed, user_id: user, expires_at: new Date(expiresAt * 1_000).toISOString() },
          () => signed,
        );
    });
  token
    .command('check')
    .description(
      'say whether the service would accept a token, and as whom; reads it from stdin, or from --file',
    )
    .option('--file <file>', 'the file with the token')
    .action(async ({ file }: { file?: string }) => {
      const text = file === undefined ? await textOf(context.terminal.input) : readText(file);
      const verdict = await checkToken(context, text.trim());
      context.printer().print(verdict, () => verdictText(verdict));
      if (!verdict.accepted) context.exitCode = EXIT.failed;
    });
}

function scopes(text: string): readonly Scope[] {
  const named = text.split(',') as Scope[];
  const unknown = named.filter((one) => !SCOPES.includes(one));
  if (unknown.length > 0)
    throw new CliError(`${unknown.join(', ')} is no scope: the scopes are ${SCOPES.join(', ')}.`);
  return named;
}

/** Only the owner may read the file. An existing file is kept: it may hold a token that is in use. */
function writeSecret(file: string, secret: string): void {
  try {
    writeFileSync(file, `${secret}\n`, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    throw new CliError(
      `${file} cannot be written (${(error as NodeJS.ErrnoException).code}): name a new file.`,
    );
  }
}

/** A token as an issuer would make it, for a service that shares a secret with its issuer. `expiresAt` in Unix seconds. */
export async function viewerToken(
  config: Config,
  user: string,
  expiresAt: number,
  limit?: number,
): Promise<string> {
  const { AUTH_JWT_SECRET, AUTH_MODE, USER_ID_CLAIM, STREAM_LIMIT_CLAIM } = config;
  if (AUTH_MODE !== 'jwt' || AUTH_JWT_SECRET === undefined)
    throw new CliError(
      'Only the issuer can make a token of a viewer, unless AUTH_MODE is jwt and AUTH_JWT_SECRET is set.',
    );
  const claims = {
    iss: config.issuers[0],
    aud: config.audiences[0],
    exp: expiresAt,
    [USER_ID_CLAIM]: user,
    ...(limit === undefined ? {} : { [STREAM_LIMIT_CLAIM]: limit }),
  };
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .sign(new TextEncoder().encode(AUTH_JWT_SECRET));
}

interface Verdict {
  readonly accepted: boolean;
  readonly kind: 'api' | 'viewer' | 'none';
  /** Why it is not accepted. */
  readonly reason?: string;
  readonly name?: string;
  readonly scopes?: readonly string[];
  readonly user_id?: string;
  readonly limit?: number;
  /** The claims that decide, as the token has them; shown for a refused token, too. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

async function checkToken(context: Context, token: string): Promise<Verdict> {
  const config = context.config();
  const known = new ApiTokens(config).of(token);
  if (known !== undefined) return { accepted: true, kind: 'api', name: known.name, scopes: known.scopes };
  if (!isJws(token))
    return {
      accepted: false,
      kind: 'none',
      reason: 'It is no JWT, and neither INTERNAL_API_TOKEN nor in API_TOKENS.',
    };
  if (config.AUTH_MODE === 'none')
    return { accepted: false, kind: 'viewer', reason: 'AUTH_MODE is none: tokens of viewers are not read.' };
  const claims = claimsOf(token, config);
  try {
    const request = { headers: { authorization: `Bearer ${token}` } } as FastifyRequest;
    const { userId, quota } = await new Viewers(config, context.terminal.clock).of(request, undefined);
    return { accepted: true, kind: 'viewer', user_id: userId, limit: quota.maxSessions, claims };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const { cause } = error;
    const behind = cause instanceof Error ? ` ${cause.message}.` : '';
    return { accepted: false, kind: 'viewer', reason: `${error.message}${behind}`, claims };
  }
}

function claimsOf(token: string, config: Config): Record<string, unknown> {
  try {
    const claims: Record<string, unknown> = decodeJwt(token);
    const names = ['iss', 'aud', 'exp', 'nbf', config.USER_ID_CLAIM, config.STREAM_LIMIT_CLAIM];
    return Object.fromEntries(names.filter((name) => name in claims).map((name) => [name, claims[name]]));
  } catch {
    return {};
  }
}

function verdictText({
  accepted,
  kind,
  reason,
  name,
  scopes: held,
  user_id,
  limit,
  claims,
}: Verdict): string {
  const head = !accepted
    ? `Refused. ${reason ?? ''}`
    : kind === 'api'
      ? `Accepted: the API token ${name}, with ${held?.join(', ')}.`
      : `Accepted: the viewer ${user_id}, who may watch ${limit} streams.`;
  const rows = Object.entries(claims ?? {}).map(([claim, value]) => [
    `  ${claim}`,
    ['exp', 'nbf'].includes(claim) && typeof value === 'number'
      ? `${value} (${new Date(value * 1_000).toISOString()})`
      : JSON.stringify(value),
  ]);
  return rows.length === 0 ? head : `${head}\n${table(rows)}`;
}
