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
  link = connectRedis({ url: server.url }, new Availability({ log, warn: log, error: log }, 0, 100), 15_000);
  await link.attempted();
});
afterEach(() => link.close());

const idOfLink = async (): Promise<string | undefined> =>
  /^id=(\d+) .*name=streamgate/m.exec((await admin.client('LIST')) as string)?.[1];

async function works(): Promise<boolean> {
  try {
    await link.get('any');
    return true;
  } catch {
    return false;
  }
}

async function answer(error: string): Promise<unknown> {
  const lua = `#!lua\nreturn redis.error_reply('${error}')`;
  return link.run({ name: 'test', lua, sha: hash('sha1', lua), key: 'any', count: 1, wire: '$1\r\n0\r\n' });
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
    await until(() => lines.includes('Redis is back'));
    expect(lines).toEqual([
      expect.stringMatching(
        /^Redis is unavailable \(\w+.*\); requests get 503 until it is back(: this server is a replica.*)?$/,
      ),
      'Redis is back',
    ]);
  });

  it.each([
    ['ERR something else', false, []],
    [
      'OOM command not allowed',
      true,
      [expect.stringMatching(/^Redis refuses .*\(OOM .*\): Redis is full: raise maxmemory/)],
    ],
  ])(
    'is not what a refusal means: the connection stays, and the log has a known reason once: %s',
    async (error, announced, said) => {
      const before = await idOfLink();
      for (let n = 0; n < 2; n++)
        await expect(answer(error)).rejects.toMatchObject({
          message: expect.stringContaining(error),
          announced,
        });
      await link.get('any');
      expect(await idOfLink()).toBe(before);
      expect(lines).toEqual(said);
    },
  );
});

describe('a link', () => {
  it('returns the time of the server', async () => {
    const now = await link.time('a');
    const [seconds] = await admin.time();
    expect(Math.abs(now - Number(seconds) * 1_000)).toBeLessThan(5_000);
  });
});
