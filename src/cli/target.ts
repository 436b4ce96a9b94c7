import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { HTTP, isText, isUrl } from '../config/checks.js';
import { CliError, readText } from './terminal.js';

const DEFAULT_URL = 'http://127.0.0.1:3000';

/** The variables of this command line. The service does not read them. */
export const CLI_VARIABLES = [
  'STREAMGATE_TARGET',
  'STREAMGATE_TARGETS',
  'STREAMGATE_URL',
  'STREAMGATE_TOKEN_FILE',
] as const;

/** The options that choose a service. */
export interface TargetOptions {
  readonly target?: string;
  readonly targets?: string;
  readonly url?: string;
  readonly tokenFile?: string;
}

/** A running service, and the token to send to it. */
export interface Target {
  /** Without a slash at its end. */
  readonly url: string;
  readonly token: string | undefined;
}

interface NamedTarget {
  readonly url: string;
  readonly token_file?: string;
}

/**
 * Finds the service that a command is for. An option wins over a variable, and a URL over the default target of the file.
 * Throws a CliError that names the option, variable or file to correct.
 */
export function findTarget(options: TargetOptions, environment: NodeJS.ProcessEnv): Target {
  if (options.url !== undefined && options.target !== undefined)
    throw new CliError('Give --url or --target, not both.');
  const url =
    options.url ?? (options.target === undefined ? environment.STREAMGATE_URL || undefined : undefined);
  const tokenFile = options.tokenFile ?? (environment.STREAMGATE_TOKEN_FILE || undefined);
  if (url !== undefined)
    return { url: checkedUrl(url, '--url or STREAMGATE_URL'), token: readToken(tokenFile) };
  const file = readTargets(options, environment);
  const name = options.target ?? (environment.STREAMGATE_TARGET || file?.default);
  if (name === undefined) return { url: DEFAULT_URL, token: readToken(tokenFile) };
  const named = file?.targets[name];
  if (file === undefined || named === undefined)
    throw new CliError(
      `There is no target ${name}: add it to ${targetsFile(options, environment)}, or give --url. ` +
        `Known targets: ${Object.keys(file?.targets ?? {}).join(', ') || 'none'}.`,
    );
  const ownFile = named.token_file === undefined ? undefined : resolve(dirname(file.path), named.token_file);
  return {
    url: checkedUrl(named.url, `the target ${name} in ${file.path}`),
    token: readToken(options.tokenFile ?? ownFile),
  };
}

/** Whether the caller chose a service, rather than the default. */
export function hasTarget(options: TargetOptions, environment: NodeJS.ProcessEnv): boolean {
  const { STREAMGATE_URL, STREAMGATE_TARGET } = environment;
  return (options.url ?? options.target ?? (STREAMGATE_URL || STREAMGATE_TARGET || undefined)) !== undefined;
}

function checkedUrl(url: string, source: string): string {
  if (!isUrl(url, HTTP, 'refused'))
    throw new CliError(`The URL of ${source} must be http:// or https://, without credentials.`);
  return url.replace(/\/+$/, '');
}

/** The token in a file, without white space around it. */
function readToken(file: string | undefined): string | undefined {
  if (!file) return undefined;
  const token = readText(file, `The token file ${file}`).trim();
  if (!/^[!-~]+$/.test(token))
    throw new CliError(`The token file ${file} must contain one token and nothing else.`);
  return token;
}

function targetsFile({ targets }: TargetOptions, environment: NodeJS.ProcessEnv): string {
  const { STREAMGATE_TARGETS, XDG_CONFIG_HOME, HOME = '.' } = environment;
  return (
    targets ??
    (STREAMGATE_TARGETS || join(XDG_CONFIG_HOME || join(HOME, '.config'), 'streamgate/targets.json'))
  );
}

interface TargetsFile {
  readonly path: string;
  readonly default: string | undefined;
  readonly targets: Readonly<Record<string, NamedTarget>>;
}

/** Undefined if the file does not exist and nobody asked for it. */
function readTargets(options: TargetOptions, environment: NodeJS.ProcessEnv): TargetsFile | undefined {
  const path = targetsFile(options, environment);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT' && !(options.targets ?? environment.STREAMGATE_TARGETS)) return undefined;
    throw new CliError(`The file of targets ${path} cannot be read (${codeOf(error)}).`);
  }
  const invalid = (reason: string): CliError =>
    new CliError(
      `The file of targets ${path} ${reason}. Its form is {"default": "prod", "targets": {"prod": {"url": "https://…", "token_file": "prod.token"}}}.`,
    );
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw invalid('is not JSON');
  }
  if (!isObject(content) || !isObject(content.targets)) throw invalid('has no member "targets"');
  for (const [name, target] of Object.entries(content.targets)) {
    if (!isObject(target) || !isText(target.url)) throw invalid(`has no "url" for ${name}`);
    if ('token' in target)
      throw invalid(`has a "token" for ${name}: put it into a file, and name that as "token_file"`);
    if (target.token_file !== undefined && !isText(target.token_file))
      throw invalid(`has a "token_file" for ${name} that is no text`);
  }
  if (content.default !== undefined && !isText(content.default))
    throw invalid('has a "default" that is no text');
  return { path, default: content.default, targets: content.targets as TargetsFile['targets'] };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'error';
}
