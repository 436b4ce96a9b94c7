import { Logger } from '@nestjs/common';
import { createApp } from './app.js';
import { ConfigError, readConfig } from './config.js';

/** Reads the configuration, builds the application and listens; prints what is wrong and exits 1 where it cannot. */
async function main(): Promise<void> {
  const config = readConfig(process.env);
  const app = await createApp(config);
  await app.listen(config.PORT, config.HOST);
  const log = new Logger('Streamgate');
  for (const warning of config.withoutEffect) log.warn(warning);
  const url = await app.getUrl();
  log.log(
    `Streamgate serves ${url} on the ${config.SESSION_STORE} store; its documentation is at ${url}/docs`,
  );
}

main().catch((error: unknown) => {
  console.error(error instanceof ConfigError ? error.message : error);
  process.exit(1);
});
