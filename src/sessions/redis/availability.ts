interface AvailabilityLog {
  log(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** Logs once that Redis is away, however often that is noticed, and once that it works again. */
export class Availability {
  private away = false;

  constructor(readonly log: AvailabilityLog) {}

  lost(reason: string): void {
    if (!this.away) this.log.error(`Redis is unavailable (${reason}); requests get 503 until it is back`);
    this.away = true;
  }

  works(): void {
    if (this.away) this.log.log('Redis is back');
    this.away = false;
  }
}
