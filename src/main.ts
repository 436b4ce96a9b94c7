import { Logger } from '@nestjs/common';
import { createApp } from './app.js';
import { type Config, ConfigError, readConfig } from './config/config.js';

/** Reads the configuration, builds the application and listens; prints what is wrong and exits 1 where it cannot. */
async function main(): Promise<void> {
  const log = new Logger('Streamgate');
  // A library that writes to the console (cron, of a tick that came milliseconds late) must not break a log of JSON.
  console.warn = (...words: unknown[]) => {
    log.debug(words.join(' '));
  };
  const config = readConfig(process.env);
  const app = await createApp(config);
  await app.listen(config.PORT, config.HOST).catch((error: unknown) => {
    throw new Error(cannotListen(config, error as NodeJS.ErrnoException));
  });
  for (const warning of config.warnings) log.warn(warning);
  if (config.alarm !== undefined) log.error(config.alarm);
  const url = await app.getUrl();
  const whom = config.AUTH_MODE === 'none' ? 'whoever asks (AUTH_MODE=none)' : 'viewers with a token';
  log.log(
    `Streamgate serves ${url} to ${whom} on the ${config.SESSION_STORE} store; its documentation is at ${url}/docs`,
  );
}

function cannotListen({ HOST, PORT }: Config, { code, message }: NodeJS.ErrnoException): string {
  return code === 'EADDRINUSE'
    ? `Port ${PORT} on ${HOST} is taken: stop what uses it, or set PORT`
    : `Cannot listen on port ${PORT} of ${HOST}: ${message}`;
}

main().catch((error: unknown) => {
  console.error(error instanceof ConfigError ? error.message : error);
  process.exit(1);
});
