import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { createApp } from '../../src/app.js';
import { type AuditEntry, type AuditLog } from '../../src/audit/audit-log.js';
import { readConfig } from '../../src/config/config.js';
import { RedisAuditLog } from '../../src/sessions/redis/redis-audit-log.js';
import { useConnection } from '../support/redis-database.js';
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

describe('the stored entries', () => {
  const link = useConnection(() => server.url);
  const one: AuditEntry = {
    id: 'one',
    at: '2026-01-01T00:00:00.000Z',
    by: 'support',
    scope: 'sessions:end',
    action: 'sessions.end',
    target: { user_id: 'ana' },
    before: null,
    after: null,
    outcome: 'unknown',
    note: null,
    request_id: 'r',
  };
  const start = Date.parse(one.at);
  const read = (log: AuditLog) => log.read({ since: start, until: start + 10_000 });

  it('are left out if this release cannot read them, which is logged once', async () => {
    const lines: string[] = [];
    const log = new RedisAuditLog(link(), { warn: (line) => void lines.push(line) });
    await log.append(one);
    for (const text of ['2{"of": "a later release"}', '1{"cut', ''])
      await link().zadd('sg:audit', start, text);
    const readable: AuditEntry[] = [];
    for await (const entry of read(log)) readable.push(entry);
    expect(readable).toEqual([one]);
    expect(lines).toEqual([expect.stringContaining('cannot read')]);
  });

  it('are read each once, page by page, while others are added', async () => {
    const log = new RedisAuditLog(link(), { warn: () => undefined });
    const append = async (id: string, ms: number): Promise<void> =>
      log.append({ ...one, id, at: new Date(start + ms).toISOString() });
    await Promise.all(Array.from({ length: 500 }, (_, n) => append(`e${n}`, n)));
    const ids: string[] = [];
    for await (const { id } of read(log)) {
      ids.push(id);
      if (ids.length % 50 === 0) await append(`late-${ids.length}`, 1_000);
    }
    expect(ids.filter((id) => /^e\d+$/.test(id))).toEqual(
      Array.from({ length: 500 }, (_, n) => `e${499 - n}`),
    );
  });
});
