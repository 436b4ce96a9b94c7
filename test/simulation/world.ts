import { setImmediate as turn } from 'node:timers/promises';
import { type Dice } from '../prove/clients.js';
import { ManualClock } from '../support/manual-clock.js';

interface Due {
  readonly at: number;
  /** Of what is due at the same instant, the least comes first. */
  readonly order: number;
  readonly act: () => void;
}

/**
 * The time and the chance of a simulation. Time passes only from one due step to the next, and only when the service has
 * done all that it can do without waiting. So the seed of the dice decides everything that happens, and when.
 */
export class World extends ManualClock {
  /** Requests that the service works at, partly on other threads. Time stands still meanwhile. */
  readonly working = new Set<string>();
  override readonly hasTimers = false;
  steps = 0;
  /** The earliest is last. */
  private readonly due: Due[] = [];

  constructor(readonly dice: Dice) {
    super();
  }

  override jitter(): number {
    return this.dice.roll();
  }

  override async sleep(ms: number, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    signal?.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        cancel();
        reject(signal!.reason as Error);
      };
      const cancel = this.later(Math.max(1, ms), () => {
        signal?.removeEventListener('abort', abort);
        resolve();
      });
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** Does something so many milliseconds later, unless the returned function is called before. */
  later(ms: number, act: () => void): () => void {
    const one: Due = { at: this.now() + Math.ceil(ms), order: this.dice.roll(), act };
    let [from, to] = [0, this.due.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      const { at, order } = this.due[middle]!;
      if (at > one.at || (at === one.at && order > one.order)) from = middle + 1;
      else to = middle;
    }
    this.due.splice(from, 0, one);
    return () => {
      const index = this.due.indexOf(one);
      if (index >= 0) this.due.splice(index, 1);
    };
  }

  /** Lets so many milliseconds pass. */
  async pass(ms: number): Promise<void> {
    const until = this.now() + ms;
    for (;;) {
      await this.quiet();
      const next = this.due.at(-1);
      if (next === undefined || next.at > until) break;
      this.due.pop();
      this.advance(next.at - this.now());
      this.steps++;
      next.act();
    }
    this.advance(until - this.now());
  }

  /** Resolves when everything waits for a later instant: promises are settled within a turn of the event loop. */
  private async quiet(): Promise<void> {
    do {
      await turn();
      await turn();
    } while (this.working.size > 0);
  }
}
