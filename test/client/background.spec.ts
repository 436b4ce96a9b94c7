import { resolveObjectURL } from 'node:buffer';
import { Worker as Thread } from 'node:worker_threads';
import { nextResult, useStage } from '../support/viewer.js';

/** A page's Worker on a thread of Node: it runs the script at its URL. */
class PageWorker {
  static readonly threads: Thread[] = [];
  readonly #thread: Promise<Thread>;

  constructor(url: string) {
    this.#thread = resolveObjectURL(url)!
      .text()
      .then((script) => {
        const thread = new Thread(
          `const { parentPort } = require('node:worker_threads');
           globalThis.postMessage = (data) => parentPort.postMessage(data);
           parentPort.on('message', (data) => onmessage({ data }));
           ${script}`,
          { eval: true },
        );
        PageWorker.threads.push(thread);
        return thread;
      });
  }

  postMessage(message: unknown): void {
    void this.#thread.then((thread) => thread.postMessage(message));
  }

  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void {
    void this.#thread.then((thread) => thread.on(type, (data: unknown) => listener({ data })));
  }
}

describe('a viewing in a background tab', () => {
  const stage = useStage({ PHASE_SECONDS: '0.3', IDLE_PHASES: '10' });
  beforeAll(() => Object.assign(globalThis, { Worker: PageWorker }));
  afterAll(async () => {
    delete (globalThis as { Worker?: unknown }).Worker;
    await Promise.all(PageWorker.threads.map((thread) => thread.terminate()));
  });

  it('requests phases in time although the timers of the page fire only once a minute', async () => {
    const onTime = setTimeout;
    jest
      .spyOn(globalThis, 'setTimeout')
      .mockImplementation((callback: () => void) => onTime(callback, 60_000).unref());
    const results = stage.watch()[Symbol.asyncIterator]();
    const phases = [];
    for (let count = 0; count < 4; count++) phases.push(await nextResult(results));
    expect(phases).toEqual([0, 1, 2, 3].map((index) => `test-pattern ${index}`));
  });
});
