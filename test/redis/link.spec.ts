import { hash } from 'node:crypto';
import { Redis } from 'ioredis';
import { Availability } from '../../src/sessions/redis/availability.js';
import { type RedisLink, connectRedis } from '../../src/sessions/redis/link.js';
import { type OwnRedisServer, startOwnRedis } from '../support/redis-server.js';
import { until } from '../support/until.js';

/** How the link handles errors of a real Redis. A script returns them like the server. */
let server: OwnRedisServer;
let admin: Redis;
let link: RedisLink;
let lines: string[];
beforeAll(async () => {
  server = await startOwnRedis();
  admin = new Redis(server.url);
});
afterAll(async () => {
  await admin.quit();
  await server.stop();
});
beforeEach(async () => {
  lines = [];
  const log = (line: string) => lines.push(line);
  link = connectRedis({ REDIS_URL: server.url }, new Availability({ log, warn: log, error: log }), 15_000);
  await link.attempted();
});
afterEach(() => link.close());

const idOfLink = async (): Promise<string | undefined> =>
  /^id=(\d+) .*name=streamgate/m.exec((await admin.client('LIST')) as string)?.[1];

async function works(): Promise<boolean> {
  try {
    await link.ping();
    return true;
  } catch {
    return false;
  }
}

async function answer(error: string): Promise<unknown> {
  const lua = `#!lua\nreturn redis.error_reply('${error}')`;
  return link.run({ lua, sha: hash('sha1', lua), key: 'any', count: 1, wire: '$1\r\n0\r\n' });
}

describe('the link to a server', () => {
  it.each([
    "READONLY You can''t write against a read only replica.",
    'LOADING Redis is loading the dataset in memory',
    'UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)',
    'MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to no.',
  ])('is replaced by a new connection after the error %s', async (error) => {
    const before = await idOfLink();
    await expect(answer(error.replaceAll("''", ''))).rejects.toMatchObject({
      message: 'Redis did not answer',
      announced: true,
    });
    await until(async () => ![undefined, before].includes(await idOfLink()));
    await until(works);
    expect(lines.map((line) => line.replace(/\(.*\)/, ''))).toEqual([
      'Redis is unavailable ; requests get 503 until it is back',
      'Redis is back',
    ]);
  });

  it('is kept after any other error, which is passed on to the caller', async () => {
    const before = await idOfLink();
    await expect(answer('OOM command not allowed')).rejects.toMatchObject({
      message: expect.stringContaining('OOM'),
      announced: false,
    });
    await link.ping();
    expect(await idOfLink()).toBe(before);
    expect(lines).toEqual([]);
  });
});

describe('a link', () => {
  it('returns the time of the server', async () => {
    const [first, second] = await link.times(['a', 'b']);
    const [seconds] = await admin.time();
    expect(first).toBe(second);
    expect(Math.abs(first! - Number(seconds) * 1_000)).toBeLessThan(5_000);
  });
});
