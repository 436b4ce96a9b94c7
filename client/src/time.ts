/**
 * Time as a page has it: timers are throttled in background tabs, stop while the machine sleeps, and drift. So nobody
 * here counts on a timer being on time: deadlines are absolute, and looked at again at least every second.
 */

const LONGEST_NAP_MS = 1_000;

/** An instant of this client. No instant of the server is ever compared with it: clocks differ. */
export interface Instant {
  readonly steady: number;
  readonly wall: number;
}

export function now(): Instant {
  return { steady: performance.now(), wall: Date.now() };
}

/**
 * Milliseconds since `start`. The steady clock stops in some browsers while the machine sleeps, the wall clock can be
 * set back: whichever went further is right, or only makes us ask early, which costs nothing.
 */
export function since(start: Instant): number {
  return Math.max(performance.now() - start.steady, Date.now() - start.wall);
}

/** Waits for `ms` at most and usually less, for loops that look again; for the signal alone where `ms` is Infinity. */
export function nap(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let tick: number | undefined;
    const wake = (): void => {
      clearTimeout(timer);
      if (tick !== undefined) ticks?.off(tick);
      signal?.removeEventListener('abort', wake);
      resolve();
    };
    signal?.addEventListener('abort', wake, { once: true });
    if (ms === Infinity) return;
    const length = Math.max(0, Math.min(ms, LONGEST_NAP_MS));
    timer = setTimeout(wake, length);
    // Whichever comes first: the page's own timer, or the worker's where that one is throttled.
    ticks ??= startTicks();
    tick = ticks.after(length, wake);
  });
}

/** Waits for `ms`, or until the signal aborts. */
export async function wait(ms: number, signal?: AbortSignal): Promise<void> {
  for (const from = now(); since(from) < ms; await nap(ms - since(from), signal)) if (signal?.aborted) return;
}

interface Ticks {
  after(ms: number, wake: () => void): number;
  off(tick: number): void;
}

/** As much of a page's Worker as is needed; named here, so that nothing but a worker's absence has to be handled. */
interface TickWorker {
  postMessage(message: unknown): void;
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void;
}

let ticks: Ticks | undefined;

/**
 * A hidden page's timers fire once a minute at worst, which is longer than a place is kept; those of a worker are not
 * throttled. One for all viewings of the page. Where there are no workers, or a policy forbids this one, its ticks
 * never come and the page's timers are all there is.
 */
function startTicks(): Ticks {
  const waiting = new Map<number, () => void>();
  let last = 0;
  let worker: TickWorker | undefined;
  try {
    const { Worker } = globalThis as unknown as { Worker: new (url: string) => TickWorker };
    const script = 'onmessage = ({ data: [tick, ms] }) => setTimeout(() => postMessage(tick), ms);';
    worker = new Worker(URL.createObjectURL(new Blob([script], { type: 'text/javascript' })));
    worker.addEventListener('message', ({ data }) => waiting.get(data as number)?.());
  } catch {
    // Not in a page, or not allowed.
  }
  return {
    after(ms, wake) {
      last += 1;
      if (worker) {
        waiting.set(last, wake);
        worker.postMessage([last, ms]);
      }
      return last;
    },
    off: (tick) => void waiting.delete(tick),
  };
}
