/**
 * Time in a web page. Browsers throttle timers in background tabs, timers stop while the computer sleeps, and they
 * drift. So no code here relies on a timer that fires on time: deadlines are absolute, and are checked at least once a
 * second.
 */

const LONGEST_NAP_MS = 1_000;

/** An instant on the clocks of this client. It is never compared with an instant of the server, because clocks differ. */
export interface Instant {
  readonly steady: number;
  readonly wall: number;
}

export function now(): Instant {
  return { steady: performance.now(), wall: Date.now() };
}

/**
 * Milliseconds since `start`. In some browsers the steady clock stops while the computer sleeps, and the wall clock can
 * be set back. So the larger difference counts. If it is wrong, the client only asks early, which does no harm.
 */
export function since(start: Instant): number {
  return Math.max(performance.now() - start.steady, Date.now() - start.wall);
}

/** Waits for `ms` at most and usually less, for loops that check again. If `ms` is Infinity, only the signal ends it. */
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
    // Two timers race: the page's own, and the worker's, which is not throttled.
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

/** The part of a page's Worker that is used here. */
interface TickWorker {
  postMessage(message: unknown): void;
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void;
}

let ticks: Ticks | undefined;

/**
 * Starts the worker that ticks for all viewings of the page. A hidden page's timers may fire only once a minute, which
 * is longer than a place is kept; a worker's timers are not throttled. If there are no workers, or a content security
 * policy forbids this one, no ticks arrive and only the page's own timers work.
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
    // This is not a page, or workers are not allowed.
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
