import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import type * as adapter from '../../client/src/hls.js';
import { nextResult, useStage } from '../support/viewer.js';

type Listener = (event: string, data: object) => void;

/** The part of hls.js that the adapter uses: it fetches URLs, and emits errors like hls.js. */
class Player {
  loading: Promise<void> | undefined;
  stopped = false;
  #listener: Listener | undefined;

  constructor(private readonly as: 'text' | 'arrayBuffer') {}

  on(_event: string, listener: (event: never, data: never) => void): void {
    this.#listener = listener as Listener;
  }

  loadSource(url: string): void {
    this.loading = this.#load(url);
  }

  stopLoad(): void {
    this.stopped = true;
  }

  async #load(url: string): Promise<void> {
    const reply = await fetch(url);
    const response: unknown = await reply[this.as]();
    if (!reply.ok)
      this.#listener?.('hlsError', { response: { code: reply.status }, networkDetails: { response } });
  }
}

describe('hls.js through the gate', () => {
  const stage = useStage({ MAX_SESSIONS_PER_USER: '1' });
  let play: typeof adapter.playThroughGate;
  beforeAll(async () => {
    const path: string = '../../client/dist/hls.js';
    ({ playThroughGate: play } = (await import(path)) as typeof adapter);
  });

  /** A server that answers each request with this problem and status 403, like a refusal of the gate. */
  async function gate(problem: object): Promise<{ url: string; close: () => void }> {
    const server = createServer((_request, reply) => {
      reply.writeHead(403, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem));
    });
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/play/test-pattern/index.m3u8`,
      close: () => void server.close(),
    };
  }

  async function heard(player: Player, problem: object): Promise<unknown[]> {
    const refusals: unknown[] = [];
    const { url, close } = await gate(problem);
    play(player, url, (refusal) => void refusals.push(refusal));
    await player.loading;
    close();
    return refusals;
  }

  it.each(['text', 'arrayBuffer'] as const)(
    'passes on a refusal received as %s in the same form as watch',
    async (as) => {
      await nextResult(stage.watch()[Symbol.asyncIterator]());
      const { value } = await stage.watch()[Symbol.asyncIterator]().next();
      const reply = await fetch(`${stage.baseUrl}/v1/phases`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ user_id: 'ana', stream_id: 'test-pattern' }),
      });
      const player = new Player(as);
      const refusals = await heard(player, (await reply.json()) as object);
      expect(refusals).toEqual([{ ...value, retryAfterSeconds: expect.any(Number) }]);
      expect(player.stopped).toBe(true);
    },
  );

  it('leaves other errors to the player', async () => {
    const player = new Player('text');
    expect(await heard(player, { code: 'url-expired' })).toEqual([]);
    expect(player.stopped).toBe(false);
  });
});
