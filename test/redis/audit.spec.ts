import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Redis } from 'ioredis';
import { createApp } from '../../src/app.js';
import { type AuditEntry, AuditLog } from '../../src/audit/audit-log.js';
import { readConfig } from '../../src/config/config.js';
import { type OwnRedisServer, startOwnRedis } from '../support/redis-server.js';
import { until } from '../support/until.js';

/** The audit on a Redis that is killed and started again. */
const headers = { authorization: 'Bearer an-internal-token-of-the-test' };
let server: OwnRedisServer;
let app: NestFastifyApplication;
beforeAll(async () => {
  server = await startOwnRedis();
  app = await createApp(
    readConfig({
      LOG_LEVEL: 'silent',
      REDIS_URL: server.url,
      INTERNAL_API_TOKEN: 'an-internal-token-of-the-test',
    }),
  );
});
afterAll(async () => {
  await app.close();
  await server.stop();
});

const list = async () => app.inject({ url: '/internal/audit', headers });
const entries = async (): Promise<AuditEntry[]> =>
  (await list()).body
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as AuditEntry);
const comesBack = async (): Promise<void> => {
  await server.restart();
  await until(async () => (await list()).statusCode === 200);
};

it('gets an entry after the outage in which an operator changed the log level', async () => {
  await server.kill();
  await until(async () => (await list()).statusCode === 503);
  const reply = await app.inject({
    method: 'PUT',
    url: '/internal/log-level',
    headers,
    payload: { level: 'silent' },
  });
  expect(reply.statusCode).toBe(200);
  await comesBack();
  await until(async () => (await entries()).length === 1);
  expect(await entries()).toMatchObject([{ action: 'log-level.set', outcome: 'done' }]);
});

it('says that the outcome of a change is unknown if the store did not answer', async () => {
  await server.kill();
  await until(async () => (await list()).statusCode === 503);
  const url = '/v1/users/ana/sessions/tv';
  expect((await app.inject({ method: 'DELETE', url, headers })).statusCode).toBe(503);
  await comesBack();
  await until(async () => (await entries()).length > 0);
  expect(await entries()).toMatchObject([
    {
      action: 'sessions.end',
      target: { user_id: 'ana', session_id: 'tv' },
      outcome: 'unknown',
      before: null,
      after: null,
    },
  ]);
});

it('leaves out entries that it cannot read, and shows the others', async () => {
  const admin = new Redis(server.url);
  const before = await entries();
  const at = Date.now() + 1_000;
  await admin.zadd('sg:audit', at, '2{"of": "a later release"}', at, '1{"cut', at, '');
  expect(await entries()).toEqual(before);
  await admin.quit();
  expect(before.length).toBeGreaterThan(0);
});

it('reads more than a page, each entry once, while others are added', async () => {
  const log = app.get(AuditLog);
  const [one] = await entries();
  const at = (n: number): string => new Date(Date.parse(one!.at) + n).toISOString();
  await Promise.all(Array.from({ length: 500 }, (_, n) => log.append({ ...one!, id: `e${n}`, at: at(n) })));
  const ids: string[] = [];
  for await (const { id } of log.read({ since: 0, until: Number.MAX_SAFE_INTEGER })) {
    ids.push(id);
    if (ids.length % 50 === 0) await log.append({ ...one!, id: `late-${ids.length}`, at: at(1_000) });
  }
  const known = ids.filter((id) => /^e\d+$/.test(id));
  expect(known).toEqual(Array.from({ length: 500 }, (_, n) => `e${499 - n}`));
});
