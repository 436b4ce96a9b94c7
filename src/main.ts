import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { Logger } from '@nestjs/common';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { createApp } from './app.js';
import { type Config, ConfigError, readConfig } from './config/config.js';
import { VERSION } from './config/effective.js';
import { listenForOperators } from './http/connections.js';
import { HealthController } from './observability/health.controller.js';

// V8 would soon allocate the objects of requests where only a full collection finds them, because it once saw some survive.
// From there they keep whole requests alive, and garbage collection costs a renewal up to five times as much CPU
// (docs/decisions/0044-pretenuring.md).
setFlagsFromString('--no-allocation-site-pretenuring');

/** Reads the configuration, builds the application and listens. If that fails, prints the reason and exits with 1. */
async function main(): Promise<void> {
  const log = new Logger('Streamgate');
  // Some libraries write to the console, such as cron if a tick is late. Such a line must not break a log of JSON.
  console.warn = (...words: unknown[]) => {
    log.debug(words.join(' '));
  };
  // Node itself and libraries warn on stderr, in lines of their own form.
  process.removeAllListeners('warning');
  process.on('warning', ({ name, message }) => {
    log.warn(`${name}: ${message}`);
  });
  const config = readConfig(process.env);
  const app = await createApp(config);
  stopOnSignals(app, config.DRAIN_SECONDS * 1_000);
  await listen(app, config);
  for (const warning of config.warnings) log.warn(warning);
  if (config.alarm !== undefined) log.error(config.alarm);
  const url = await app.getUrl();
  log.log(
    `Streamgate serves ${url}: version ${VERSION}, store ${config.SESSION_STORE}, ` +
      `limit ${config.MAX_SESSIONS_PER_USER}, X ${config.PHASE_SECONDS} s, n ${config.IDLE_PHASES}, ` +
      `signing ${config.MEDIA_SIGNING}, authentication ${config.AUTH_MODE}. The documentation is at ${url}/docs`,
  );
}

/**
 * Stops the service at a signal, and exits with 0. At SIGTERM, which orchestrators send, the service first drains: its
 * readiness is 503 while it still answers, so that load balancers find other instances before it stops listening. A second
 * signal ends that wait, and SIGINT, from a terminal, has none.
 */
function stopOnSignals(app: NestFastifyApplication, drainMs: number): void {
  const hurry = new AbortController();
  let isStopping = false;
  const stop = async (signal: string): Promise<void> => {
    app.get(HealthController).drain(signal);
    if (signal === 'SIGTERM') await sleep(drainMs, undefined, hurry).catch(() => undefined);
    await app.close();
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'])
    process.on(signal, () => {
      if (isStopping) {
        hurry.abort();
        return;
      }
      isStopping = true;
      stop(signal).catch((error: unknown) => {
        new Logger('Streamgate').error(error);
        process.exit(1);
      });
    });
}

/** Rejects with a text that says which variable to change. */
async function listen(app: NestFastifyApplication, { HOST, PORT, OPERATOR_PORT }: Config): Promise<void> {
  const explain = (variable: string, port: number) => (error: unknown) => {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new Error(
      code === 'EADDRINUSE'
        ? `Port ${port} on ${HOST} is in use: stop the program that uses it, or set ${variable}`
        : `Cannot listen on port ${port} of ${HOST}: ${message}`,
    );
  };
  await app.listen(PORT, HOST).catch(explain('PORT', PORT));
  if (OPERATOR_PORT === undefined) return;
  const fastify = app.getHttpAdapter().getInstance();
  await listenForOperators(fastify, OPERATOR_PORT, HOST).catch(explain('OPERATOR_PORT', OPERATOR_PORT));
}

main().catch((error: unknown) => {
  console.error(error instanceof ConfigError ? error.message : error);
  process.exit(1);
});
