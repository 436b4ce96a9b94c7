#!/usr/bin/env node
import { Logger } from '@nestjs/common';
import { Clock } from '../clock.js';
import { runCli } from './cli.js';

/** The command line `streamgate`. */
async function main(): Promise<void> {
  // Modules of the service log what they meet. Here the findings are the output.
  Logger.overrideLogger(false);
  const interruption = new AbortController();
  process.once('SIGINT', () => interruption.abort());
  process.once('SIGTERM', () => interruption.abort());
  // The reader of a pipe may leave first, such as `head`.
  process.stdout.on('error', () => process.exit(0));
  process.exitCode = await runCli(process.argv.slice(2), {
    environment: process.env,
    out: process.stdout,
    err: process.stderr,
    input: process.stdin,
    isInteractive: process.stderr.isTTY,
    clock: new Clock(),
    interrupted: interruption.signal,
  });
}

void main();
