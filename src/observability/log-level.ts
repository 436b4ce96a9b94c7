import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { PinoLogger } from 'nestjs-pino';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';

const MINUTE_MS = 60_000;

/** The level of this instance's log. It may be changed for some minutes, after which LOG_LEVEL holds again. */
@Injectable()
export class LogLevel implements OnApplicationShutdown {
  private readonly log = new Logger('Log');
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly config: Config,
    private readonly clock: Clock,
  ) {}

  get current(): string {
    return PinoLogger.root.level;
  }

  /** Changes the level, and returns until when in Unix milliseconds. A second change replaces the first. */
  change(level: Config['LOG_LEVEL'], minutes: number): number {
    clearTimeout(this.timer);
    this.set(level);
    const lengthMs = minutes * MINUTE_MS;
    this.timer = setTimeout(() => {
      this.set(this.config.LOG_LEVEL);
      this.log.log(`the log level is ${this.config.LOG_LEVEL} again`);
    }, lengthMs).unref();
    return this.clock.now() + lengthMs;
  }

  onApplicationShutdown(): void {
    clearTimeout(this.timer);
  }

  private set(level: string): void {
    PinoLogger.root.level = level;
  }
}
