import { type IncomingMessage, createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type * as gate from '../../client/src/gate.js';
import { until } from '../support/until.js';

/** A media element, as far as the adapters use one. */
class Element extends EventTarget implements gate.Media {
  paused = false;
  ended = false;

  async play(): Promise<void> {
    this.paused = false;
    this.dispatchEvent(new Event('play'));
  }

  pause(): void {
    this.paused = true;
    this.dispatchEvent(new Event('pause'));
  }

  end(): void {
    this.ended = this.paused = true;
    this.dispatchEvent(new Event('ended'));
  }
}

/** The player and the server are replaced, so that the test sees each report and decides the answer. */
describe('an adapter of a player', () => {
  let GateClient: typeof gate.GateClient;
  /** The states in the reports that the server received: `a` paused, `e` ended, `q` quit. */
  let states: string[];
  /** The path and query of each GET. */
  let loads: string[];
  let status: number;
  let refusals: unknown[];
  let media: Element;
  let stopped: number;
  let url: string;
  let client: gate.GateClient;
  const server = createServer((request, reply) => {
    void answer(request).then((body) => reply.writeHead(status).end(body));
  });
  const answer = async (request: IncomingMessage): Promise<string> => {
    if (request.method === 'GET') loads.push(request.url!);
    else states.push(/sta=(\w)/.exec(await text(request))![1]!);
    return status < 300
      ? ''
      : JSON.stringify({ code: 'session-ended', status, ended_at: new Date().toISOString(), reason: 'user' });
  };
  beforeAll(async () => {
    const path: string = '../../client/dist/gate.js';
    ({ GateClient } = (await import(path)) as typeof gate);
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => server.close());
  beforeEach(() => {
    [states, loads, refusals, status, stopped] = [[], [], [], 200, 0];
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/play/film/index.m3u8?user_id=ana&session_id=tv`;
    const player = { load: () => undefined, stop: () => void stopped++ };
    client = new GateClient(url, player, (refusal) => void refusals.push(refusal));
    client.start();
    client.noteUrl(url);
    media = new Element();
    client.attach(media);
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    await client.leave();
  });
  /** Lets time pass on the clock of the page. */
  let passed = 0;
  const pass = (ms: number): void => {
    passed += ms;
    jest.spyOn(Date, 'now').mockImplementation(() => performance.timeOrigin + performance.now() + passed);
  };

  it('reports at once that its player is paused, and again every 10 s, until it plays', async () => {
    media.pause();
    await until(() => states.length === 1);
    await until(() => {
      pass(1_000);
      return states.length >= 4;
    });
    await media.play();
    const reports = states.length;
    expect(new Set(states)).toEqual(new Set(['a']));
    // The place may have been lost in the pause: it asks before the player plays on from its buffer.
    await until(() => loads.length === 1);
    pass(60_000);
    media.end();
    await until(() => states.at(-1) === 'e');
    expect(states).toHaveLength(reports + 1);
  });

  it('reports the end of the film, and nothing more', async () => {
    media.end();
    await until(() => states.length === 1);
    pass(60_000);
    await client.leave();
    expect(states).toEqual(['e', 'q']);
  });

  it('stops its player, and says why, if the session was ended during a pause', async () => {
    status = 410;
    media.pause();
    await until(() => refusals.length === 1);
    expect(refusals).toMatchObject([{ type: 'ended', reason: 'user' }]);
    expect([stopped, states]).toEqual([1, ['a']]);
  });

  it('takes an ended session for no news when its page goes, and asks again when the page is back', async () => {
    const page = new EventTarget();
    for (const name of ['addEventListener', 'removeEventListener'] as const)
      Object.assign(globalThis, { [name]: page[name].bind(page) });
    try {
      await client.leave();
      client.start();
      client.noteUrl(url);
      status = 410;
      page.dispatchEvent(new Event('pagehide'));
      await until(() => states.length === 2);
      page.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }));
      await until(() => loads.length === 1);
      expect([states, refusals, stopped]).toEqual([['q', 'q'], [], 0]);
    } finally {
      await client.leave();
      for (const name of ['addEventListener', 'removeEventListener'])
        Reflect.deleteProperty(globalThis, name);
    }
  });

  it('pauses a player that has more in its buffer than it may show', async () => {
    await media.play();
    status = 403;
    expect(client.refuse(JSON.stringify({ code: 'session-ended', status: 403, reason: 'user' }))).toBe(true);
    expect([media.paused, stopped, refusals.length]).toEqual([true, 1, 1]);
  });
});
