import { Command, CommanderError } from 'commander';
import { ConfigError } from '../config/config.js';
import { VERSION } from '../config/effective.js';
import { addAudit } from './audit.js';
import { openContext } from './context.js';
import { addDoctor } from './doctor.js';
import { addLocalCommands } from './local.js';
import { addServiceCommands } from './operate.js';
import { addSimulate } from './simulate.js';
import { CliError, EXIT, type Terminal } from './terminal.js';

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
  addAudit(program, context);
  addSimulate(program, context);
  try {
    await program.parseAsync(words, { from: 'user' });
    return context.exitCode;
  } catch (error) {
    return exitCodeOf(error, terminal);
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
