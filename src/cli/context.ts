import { parseEnv } from 'node:util';
import { type Command } from 'commander';
import { type Config, readConfig } from '../config/config.js';
import { ServiceClient } from './service-client.js';
import { CLI_VARIABLES, type Target, type TargetOptions, findTarget, hasTarget } from './target.js';
import { EXIT, Printer, type Terminal, readText } from './terminal.js';

interface GlobalOptions extends TargetOptions {
  readonly json?: true;
  readonly envFile?: string;
}

/** The parts that the commands share. They are made when a command asks for them, because not every command needs each. */
export interface Context {
  readonly terminal: Terminal;
  /** The exit code of the process, unless the command throws. */
  exitCode: number;
  printer(): Printer;
  hasTarget(): boolean;
  target(): Target;
  client(): ServiceClient;
  /** The configuration that the service would have in this environment. Throws a ConfigError. */
  config(): Config;
}

/** `program` has the options that all commands share. */
export function openContext(program: Command, terminal: Terminal): Context {
  const options = (): GlobalOptions => program.opts<GlobalOptions>();
  const target = (): Target => findTarget(options(), terminal.environment);
  return {
    terminal,
    exitCode: EXIT.done,
    printer: () => new Printer(terminal, options().json === true),
    hasTarget: () => hasTarget(options(), terminal.environment),
    target,
    client: () => new ServiceClient(target(), terminal.interrupted),
    config: () => readConfig(serviceEnvironment(terminal.environment, options().envFile)),
  };
}

/** The variables of the service. Those of a file win. The command line's own are left out, since the service has none of them. */
function serviceEnvironment(environment: NodeJS.ProcessEnv, envFile: string | undefined): NodeJS.ProcessEnv {
  const own = new Set<string>(CLI_VARIABLES);
  const given = Object.fromEntries(Object.entries(environment).filter(([name]) => !own.has(name)));
  if (envFile === undefined) return given;
  return { ...given, ...parseEnv(readText(envFile)) };
}
