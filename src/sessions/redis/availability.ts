import { Clock } from '../../clock.js';
import { faultOf } from './faults.js';

interface AvailabilityLog {
  log(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** A loss that may end before an operator can act is logged only if it lasts this long. */
const PATIENCE_MS = 3_000;
/** An outage ends when the connection has worked for this long, because a failover takes several tries. */
const STEADY_MS = 3_000;
/** A fault that did not occur for this long counts as fixed, even if no readiness check confirmed that. */
const FORGET_MS = 60_000;
/** Reasons that a busy machine of this service can cause, too. All others, such as ECONNREFUSED, are about Redis. */
const MAY_BE_THIS_MACHINE = /time|writeable|closed|the connection was lost/i;

/**
 * Logs outages and faults of Redis, each once, however often requests meet them.
 *
 * In an outage, Redis does not answer or refuses this service as a whole. The log has its start, each further reason
 * that an operator can fix, and its end. A fault is a refusal by a Redis that works otherwise, such as a full one.
 */
export class Availability {
  /** The logged reasons of the current outage; undefined if there is no outage. */
  private outage: Set<string> | undefined;
  private announcement: { readonly timer: NodeJS.Timeout; readonly since: number } | undefined;
  private worked = false;
  private recovery: NodeJS.Timeout | undefined;
  /** The names of the logged faults, and when each of them occurred last (monotonic ms). */
  private readonly faults = new Map<string, number>();

  constructor(
    readonly log: AvailabilityLog,
    private readonly patienceMs = PATIENCE_MS,
    private readonly steadyMs = STEADY_MS,
    private readonly clock = new Clock(),
  ) {}

  /** Redis did not answer, or refuses this service as a whole. */
  lost(reason: string): void {
    clearTimeout(this.recovery);
    this.recovery = undefined;
    const fault = faultOf(reason);
    if (fault !== undefined || this.outage !== undefined || !MAY_BE_THIS_MACHINE.test(reason)) {
      this.announce(reason);
      return;
    }
    this.announcement ??= { since: this.clock.monotonic(), timer: this.announceLater(reason) };
  }

  /** Redis answered. */
  works(): void {
    if (this.announcement !== undefined) {
      const ms = Math.round(this.clock.monotonic() - this.announcement.since);
      clearTimeout(this.announcement.timer);
      this.announcement = undefined;
      // Before the first answer, the delay may come from the start of the service, which keeps its machine busy.
      if (this.worked) this.log.warn(`Redis did not answer for ${ms} ms; requests got 503`);
    }
    this.worked = true;
    if (this.outage === undefined || this.recovery !== undefined) return;
    this.recovery = setTimeout(() => {
      this.recovery = undefined;
      this.outage = undefined;
      this.log.log('Redis is back');
    }, this.steadyMs).unref();
  }

  /** Redis refused a command. Returns true if the log says why; if it returns false, the caller logs the refusal. */
  refused(message: string): boolean {
    const fault = faultOf(message);
    if (fault === undefined) return false;
    const now = this.clock.monotonic();
    const last = this.faults.get(fault.name);
    this.faults.set(fault.name, now);
    if (last === undefined || now - last > FORGET_MS)
      this.log.error(`Redis refuses what requests need (${message}): ${fault.advice}`);
    return true;
  }

  /** Redis did everything that a request needs. */
  complete(): void {
    if (this.faults.size === 0) return;
    this.faults.clear();
    this.log.log('Redis does all that requests need again');
  }

  private announceLater(reason: string): NodeJS.Timeout {
    return setTimeout(() => {
      // Node runs due timers before it reads its sockets, so the reply may have arrived already.
      setImmediate(() => {
        if (this.announcement !== undefined) this.announce(reason);
      });
    }, this.patienceMs).unref();
  }

  private announce(reason: string): void {
    clearTimeout(this.announcement?.timer);
    this.announcement = undefined;
    const fault = faultOf(reason);
    const advice = fault === undefined ? '' : `: ${fault.advice}`;
    const name = fault?.name ?? 'away';
    if (this.outage === undefined)
      this.log.error(
        `Redis is unavailable (${fault?.name ?? reason}); requests get 503 until it is back${advice}`,
      );
    else if (fault !== undefined && !this.outage.has(name))
      this.log.error(`Redis is still unavailable (${name})${advice}`);
    this.outage = (this.outage ?? new Set()).add(name);
  }
}
