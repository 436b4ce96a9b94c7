import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { Command, CommanderError } from 'commander';
import { type Config, ConfigError, readConfig } from '../config/config.js';
import { VERSION } from '../config/effective.js';
import { addDoctor } from './doctor.js';
import { addLocalCommands } from './local.js';
import { addServiceCommands } from './operate.js';
import { ServiceClient } from './service-client.js';
import { addSimulate } from './simulate.js';
import { CLI_VARIABLES, type Target, type TargetOptions, findTarget, hasTarget } from './target.js';
import { CliError, EXIT, Printer, type Terminal } from './terminal.js';

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

const HELP = `
The service is --target NAME of the file of targets (--targets, STREAMGATE_TARGETS, ~/.config/streamgate/targets.json),
or --url, or STREAMGATE_URL; without any of them http://127.0.0.1:3000. Tokens are in files, never arguments.
Exit codes: 0 done, 1 failed or found a fault, 2 the command is not written correctly.`;

/** Runs one command. Returns the exit code of the process; never rejects. */
export async function runCli(words: readonly string[], terminal: Terminal): Promise<number> {
  const program = new Command('streamgate');
  const context = openContext(program, terminal);
  program
    .description(
      'Operates Streamgate: checks an installation, shows and ends sessions, and simulates viewers.',
    )
    .version(VERSION)
    .option('--json', 'print JSON')
    .option('--target <name>', 'the service, by its name in the file of targets')
    .option('--targets <file>', 'the file of targets')
    .option('--url <url>', 'the service, by its URL')
    .option('--token-file <file>', 'the file with the token for the service')
    .option('--env-file <file>', 'variables of the service, in addition to those of this environment')
    .addHelpText('after', HELP)
    .configureOutput({
      writeOut: (text) => void terminal.out.write(text),
      writeErr: (text) => void terminal.err.write(text),
    })
    .exitOverride();
  addDoctor(program, context);
  addLocalCommands(program, context);
  addServiceCommands(program, context);
  addSimulate(program, context);
  try {
    await program.parseAsync(words, { from: 'user' });
    return context.exitCode;
  } catch (error) {
    return exitCodeOf(error, terminal);
  }
}

function openContext(program: Command, terminal: Terminal): Context {
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
  try {
    return { ...given, ...parseEnv(readFileSync(envFile, 'utf8')) };
  } catch (error) {
    throw new CliError(`${envFile} cannot be read (${(error as NodeJS.ErrnoException).code}).`);
  }
}

function exitCodeOf(error: unknown, { err }: Terminal): number {
  // Commander has printed its message already, or the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  if (error instanceof CliError || error instanceof ConfigError) {
    err.write(`${error.message}\n`);
    return error instanceof CliError ? error.exitCode : EXIT.failed;
  }
  err.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return EXIT.failed;
}
