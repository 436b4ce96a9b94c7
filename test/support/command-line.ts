import { Logger } from '@nestjs/common';
import { runCli } from '../../src/cli/cli.js';
import { Clock } from '../../src/clock.js';

/** The outcome of one command. */
export interface CommandOutcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** The output of a command with --json. */
  json(): unknown;
}

/** Runs a command of `streamgate` in this process, without the variables of this machine. */
export async function streamgate(
  words: readonly string[],
  {
    environment = {},
    input = '',
    clock = new Clock(),
    interrupted = new AbortController().signal,
    onOutput = () => undefined,
  }: {
    readonly environment?: Record<string, string>;
    readonly input?: string;
    readonly clock?: Clock;
    readonly interrupted?: AbortSignal;
    readonly onOutput?: (text: string) => void;
  } = {},
): Promise<CommandOutcome> {
  Logger.overrideLogger(false);
  let [out, err] = ['', ''];
  const code = await runCli(words, {
    environment: { HOME: '/nonexistent', ...environment },
    out: {
      write: (text) => {
        out += text;
        onOutput(text);
      },
    },
    err: { write: (text) => (err += text) },
    input: (async function* read() {
      yield input;
    })(),
    isInteractive: false,
    clock,
    interrupted,
  });
  return { code, out, err, json: () => JSON.parse(out) as unknown };
}
