import { readFileSync } from 'node:fs';
import { type Clock } from '../clock.js';

/** The process around a command. Tests give their own. */
export interface Terminal {
  readonly environment: NodeJS.ProcessEnv;
  readonly out: { write(text: string): unknown };
  readonly err: { write(text: string): unknown };
  readonly input: AsyncIterable<string | Buffer>;
  /** Whether a person reads `err`: then progress is one line that is written over. */
  readonly isInteractive: boolean;
  readonly clock: Clock;
  /** Aborted by Ctrl+C. */
  readonly interrupted: AbortSignal;
}

/** Exit codes. 2 is the usual one for a command that was written wrongly. */
export const EXIT = { done: 0, failed: 1, usage: 2 } as const;

/** An error that is printed as one message, without a stack. */
export class CliError extends Error {
  override readonly name = 'CliError';

  constructor(
    message: string,
    readonly exitCode: number = EXIT.failed,
  ) {
    super(message);
  }
}

/** Prints results: as text for people, or with `--json` as one JSON value a result. */
export class Printer {
  constructor(
    private readonly terminal: Pick<Terminal, 'out'>,
    readonly isJson: boolean,
  ) {}

  /** `text` makes the lines for people. */
  print(value: unknown, text: () => string): void {
    this.terminal.out.write(`${this.isJson ? JSON.stringify(value) : printable(text())}\n`);
  }
}

/** Replaces control characters: names of devices come from clients, and could otherwise command the terminal. */
function printable(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n]/gu, '\u{FFFD}');
}

/** Columns that are as wide as their longest cell. */
export function table(given: readonly (readonly (string | number)[])[]): string {
  const rows = given.map((row) =>
    row.map((cell) => (typeof cell === 'number' ? cell : cell.replaceAll('\n', '\u{FFFD}'))),
  );
  const widths = rows.reduce<number[]>(
    (known, row) => row.map((cell, at) => Math.max(known[at] ?? 0, String(cell).length)),
    [],
  );
  return rows
    .map((row) =>
      row
        .map((cell, at) =>
          typeof cell === 'number' ? String(cell).padStart(widths[at]!) : cell.padEnd(widths[at]!),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** The text of a file that the user named. `name` stands for it in the error. */
export function readText(file: string, name = file): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code = 'error' } = error as NodeJS.ErrnoException;
    throw new CliError(`${name} cannot be read (${code}).`);
  }
}
