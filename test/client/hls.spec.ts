import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import type * as adapter from '../../client/src/hls.js';
import { until } from '../support/until.js';
import { nextResult, useStage } from '../support/viewer.js';

type Listener = (event: string, data: object) => void;

/** The part of hls.js that the adapter uses: it fetches URLs, and emits errors like hls.js. */
class Player {
  loading: Promise<void> | undefined;
  stopped = false;
  readonly #listeners = new Map<string, Listener>();

  constructor(private readonly as: 'text' | 'arrayBuffer') {}

  on(event: string, listener: (event: never, data: never) => void): void {
    this.#listeners.set(event, listener as Listener);
  }

  loadSource(url: string): void {
    this.loading = this.#load(url);
  }

  stopLoad(): void {
    this.stopped = true;
  }

  /** Loads the first media playlist of the gate and its first segment, as hls.js does after the multivariant playlist. */
  async loadLevel(multivariant: string): Promise<void> {
    const reply = await fetch(multivariant);
    const level = new URL(firstUri(await reply.text()), reply.url).href;
    const segment = firstUri(await (await fetch(level)).text());
    this.#listeners.get('hlsLevelLoaded')!('hlsLevelLoaded', { details: { url: level } });
    await fetch(new URL(segment, level), { redirect: 'manual' });
  }

  async #load(url: string): Promise<void> {
    const reply = await fetch(url);
    const response: unknown = await reply[this.as]();
    if (!reply.ok)
      this.#listeners.get('hlsError')?.('hlsError', {
        response: { code: reply.status },
        networkDetails: { response },
      });
  }
}

function firstUri(playlist: string): string {
  return playlist.split('\n').find((line) => line !== '' && !line.startsWith('#'))!;
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

  it.each(['its ids', 'a ticket'])(
    'gives its place back when it leaves, if the URL has %s',
    async (named) => {
      const ticket = await fetch(`${stage.baseUrl}/v1/tickets`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ user_id: 'ana', session_id: 'tv', stream_id: 'test-pattern' }),
      });
      const { playback_url: byTicket } = (await ticket.json()) as { playback_url: string };
      const byIds = `${stage.baseUrl}/v1/play/test-pattern/index.m3u8?user_id=ana&session_id=tv`;
      const url = named === 'a ticket' ? byTicket : byIds;
      const player = new Player('text');
      const playback = play(player, url, () => undefined);
      await player.loading;
      await player.loadLevel(url);
      await until(async () => (await stage.live()).includes('tv'));
      await playback.leave();
      expect(await stage.live()).toEqual([]);
    },
  );

  it('leaves other errors to the player', async () => {
    const player = new Player('text');
    expect(await heard(player, { code: 'url-expired' })).toEqual([]);
    expect(player.stopped).toBe(false);
  });
});
