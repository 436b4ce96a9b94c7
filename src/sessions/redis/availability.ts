import { Clock } from '../../clock.js';
import { faultOf } from './faults.js';

interface AvailabilityLog {
  log(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** A loss that may be over before anybody can do anything is logged only if it lasts this long. */
const PATIENCE_MS = 3_000;
/** A connection that works again and is lost again within this time has not been back: a failover takes several tries. */
const STEADY_MS = 3_000;
/** A fault that Redis did not mention for this long was mended, although nobody asked for the readiness meanwhile. */
const FORGET_MS = 60_000;
/** A busy machine loses time as well: these say nothing about Redis yet. The others do, such as ECONNREFUSED. */
const MAY_BE_THIS_MACHINE = /time|writeable|closed|the connection was lost/i;

/**
 * Logs what Redis does not do, each thing once, however often that is noticed.
 *
 * An outage is a time in which Redis is away or sends this service away. The log has its beginning, each further reason that
 * an operator can mend, and its end. A fault is a refusal of a Redis that works otherwise, such as a full one.
 */
export class Availability {
  /** The reasons that the log has of this outage; undefined without one. */
  private outage: Set<string> | undefined;
  private announcement: { readonly timer: NodeJS.Timeout; readonly since: number } | undefined;
  private worked = false;
  private recovery: NodeJS.Timeout | undefined;
  /** The names of the faults that the log has, and when Redis mentioned each last (monotonic ms). */
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
      // While a service starts, its machine is busy with that.
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

  /** Redis refused a command. Returns whether the log says why; otherwise the caller is to log it. */
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
      // Node runs timers that are due before it reads its sockets: the reply may be there.
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
