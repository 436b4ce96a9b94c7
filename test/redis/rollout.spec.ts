import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { PARTITIONS, partitionKeys } from '../../src/sessions/redis/keys.js';
import { unpackFormerRelease } from '../support/former-release.js';
import { startOwnRedis } from '../support/redis-server.js';
import { Load, Scene, answerMostly, expectEachLifeEndedOnce } from '../support/scene.js';
import { type ServiceProcess, endServiceProcesses } from '../support/service-process.js';
import { layoutOf } from '../support/stored-records.js';
import { until } from '../support/until.js';

// Real processes in real time: if the machine stalls for a second, Redis is unavailable for them, as in production.
// Jest prints a failure before it tries again.
jest.retryTimes(2, { logErrorsBeforeRetry: true });

/** The built services of the previous release and of this one, on one Redis: docs/decisions/0015-layouts.md. */

const FORMER = unpackFormerRelease();
/** The samples, which the unpacked release does not find by itself. */
const STREAMS = join(__dirname, '../../samples/streams');
const X = { PHASE_SECONDS: '0.5', IDLE_PHASES: '4', LOG_LEVEL: 'info' };
const EXPIRY_MS = 2_000;
/** Waits longer than usual, because many processes start at once. */
const eventually = async (condition: () => boolean | Promise<boolean>): Promise<void> =>
  until(condition, 60_000);

afterAll(endServiceProcesses);

it('two releases share one Redis while the newer layout is switched on and off, and no event is lost', async () => {
  await using scene = await Scene.open(await startOwnRedis());
  scene.receiver.answer = answerMostly;
  const startFormer = (name: string) => scene.start(name, { ...X, STREAM_ORIGIN: STREAMS }, FORMER);
  const start = (name: string, layout: Record<string, string> = {}) => scene.start(name, { ...X, ...layout });
  const services: ServiceProcess[] = [await startFormer('former')];
  const load = new Load(services);
  const running = Promise.all([load.run(12), scene.expectToBalanceUntil(() => load.over)]);
  scene.atEnd(async () => {
    load.over = true;
    await running.catch(() => undefined);
  });
  /** Replaces an instance like a deployment: it first gets no more requests, and then the signal. */
  const replace = async (
    leaving: ServiceProcess,
    coming: Promise<ServiceProcess>,
  ): Promise<ServiceProcess> => {
    const next = await coming;
    started.push(next);
    services.push(next);
    services.splice(services.indexOf(leaving), 1);
    await sleep(500);
    expect(await leaving.end('SIGTERM')).toBe(0);
    return next;
  };
  const [former] = services as [ServiceProcess];
  const started = [former];
  await eventually(async () => (await scene.lastSweep()) > 0);

  // Both releases run: the newer one finds the data of the older one, and writes the older layout.
  let mine = await start('mine');
  services.push(mine);
  started.push(mine);
  await eventually(() => mine.output().includes('Set STORE_LAYOUT=2 when all instances run this release'));
  await sleep(2 * EXPIRY_MS);
  expect((await stored(scene)).layouts).toEqual([1]);

  // Only the newer release runs: the newer layout is switched on, one instance after the other.
  let other = await replace(former, start('other'));
  mine = await replace(mine, start('mine-2', { STORE_LAYOUT: '2' }));
  await eventually(async () => (await stored(scene)).layouts.includes(2));
  await sleep(EXPIRY_MS);
  other = await replace(other, start('other-2'));
  expect(other.output()).not.toContain('STORE_LAYOUT');
  await eventually(async () => (await stored(scene)).layouts.join() === '2');

  // The rollback: when no instance writes the newer layout any more, the older release can return.
  mine = await replace(mine, start('mine-1', { STORE_LAYOUT: '1' }));
  other = await replace(other, start('other-1', { STORE_LAYOUT: '1' }));
  await eventually(async () => {
    const { layouts, waiting } = await stored(scene);
    return layouts.join() === '1' && !waiting.includes('e2');
  });
  await replace(mine, startFormer('former-again'));
  await sleep(2 * EXPIRY_MS);
  await replace(other, startFormer('former-too'));
  expect((await stored(scene)).layouts).toEqual([1]);

  load.over = true;
  scene.receiver.answer = () => 200;
  await running;
  const { 200: went, 201: began, 409: full, 410: over, 503: unavailable, ...others } = load.statuses;
  expect([went, began, full, over].every((count) => count! > 0)).toBe(true);
  expect(others).toEqual({});
  // A 503 is accepted only if the machine stalled, so that an instance logged that Redis is unavailable.
  const stalled = started.some((service) => service.output().includes('Redis is unavailable'));
  expect(stalled ? undefined : unavailable).toBeUndefined();
  await expectEachLifeEndedOnce(scene);
}, 400_000);

/** The layouts of all records, and the field names of the events that wait for delivery. */
async function stored({ redis }: Scene): Promise<{ layouts: number[]; waiting: string[] }> {
  const layouts = new Set<number>();
  for (const key of await redis.keys('sg:*:u:*'))
    for (const value of Object.values(await redis.hgetallBuffer(key))) layouts.add(layoutOf(value));
  const waiting = new Set<string>();
  for (let at = 0; at < PARTITIONS; at++)
    for (const [, [name]] of await redis.xrange(partitionKeys(at).outbox, '-', '+')) waiting.add(name!);
  return { layouts: [...layouts].toSorted(), waiting: [...waiting] };
}
