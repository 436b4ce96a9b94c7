/* oxlint-disable no-underscore-dangle -- the names are those of ioredis */
import { Command } from 'ioredis';

/** What ioredis keeps to itself of a command, as of the version that is pinned. */
interface Internals {
  isSettled: boolean;
  transformed: boolean;
  promise: Promise<unknown>;
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
  _commandTimeoutTimer: NodeJS.Timeout | undefined;
  stringifyArguments(): void;
  _convertValue(resolve: (value: unknown) => void): (value: unknown) => void;
  _clearTimers(): void;
}

/**
 * A command that is garbage as soon as it is answered.
 *
 * V8 takes a function that is written as the value of a property (`this.reject = (err) => …`) for a method, which lives long,
 * and puts it where old objects are. ioredis writes one such for each command. It is dead a millisecond later, but stays
 * until the next collection of old objects, and so does all that it leads to, which is the request that waits for the
 * command: each collection of young objects has to carry them over, and takes ten times as long
 * (docs/decisions/0012-young-garbage.md). Here the same is written so that it stays young.
 */
export class ShortLivedCommand extends Command {}

const YOUNG: Pick<Internals, '_clearTimers'> & { initPromise(): void } & ThisType<Internals> = {
  initPromise() {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.transformed = true;
    this.stringifyArguments();
    this.resolve = this._convertValue(resolve);
    this.reject = rejecting(this, reject);
    this.promise = promise;
  },
  // Without `delete`, which makes a dictionary of the object.
  _clearTimers() {
    clearTimeout(this._commandTimeoutTimer);
    this._commandTimeoutTimer = undefined;
  },
};
// Not in the class: its types call them private.
Object.assign(ShortLivedCommand.prototype, YOUNG);

function rejecting(command: Internals, reject: (error: Error) => void): Internals['reject'] {
  return (error) => {
    command._clearTimers();
    command.isSettled = true;
    reject(error);
  };
}
