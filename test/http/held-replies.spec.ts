import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { createApp } from '../../src/app.js';
import { readConfig } from '../../src/config/config.js';
import { until } from '../support/until.js';

/** By default a reply is held for up to X here, which is longer than the tests take. */
describe('a reply to a player that is too far ahead', () => {
  let app: NestFastifyApplication;
  let url: string;
  beforeEach(async () => {
    app = await createApp(readConfig({ LOG_LEVEL: 'silent', PHASE_SECONDS: '20', MAX_AHEAD_SECONDS: '60' }));
    await app.listen(0, '127.0.0.1');
    url = await app.getUrl();
  });
  afterEach(() => app.close());

  const pathOf = (segment: number): string =>
    `/v1/play/test-pattern/0/${segment}.ts?user_id=ana&session_id=tv`;
  const get = async (segment: number, signal?: AbortSignal): Promise<Response> =>
    fetch(url + pathOf(segment), { redirect: 'manual', ...(signal && { signal }) });
  const held = async (): Promise<number> => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    return Number(/^streamgate_held_replies (\d+)$/m.exec(metrics)?.[1]);
  };
  /** The first segments of two phases in a row; the third is held. */
  const fetchTwoPhases = async (): Promise<void> => {
    for (const segment of [0, 5]) expect((await get(segment)).headers.get('location')).toContain('/media/');
  };

  it('is held until its player disconnects', async () => {
    await fetchTwoPhases();
    const player = new AbortController();
    const reply = get(10, player.signal).catch((error: unknown) => (error as Error).name);
    await until(async () => (await held()) === 1);
    player.abort();
    expect(await reply).toBe('AbortError');
    await until(async () => (await held()) === 0, 10_000);
  });

  it('sends the player to the same address when the service stops', async () => {
    await fetchTwoPhases();
    const reply = get(10);
    await until(async () => (await held()) === 1);
    const stopped = app.close();
    expect((await reply).headers.get('location')).toBe(url + pathOf(10));
    await stopped;
  });
});
