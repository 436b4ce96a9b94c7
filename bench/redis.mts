import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { Redis } from 'ioredis';
import { startOwnRedis } from '../test/support/redis-server.ts';

/** An empty Redis for the benchmark, and a connection for its statistics. */
export interface RedisUnderTest extends AsyncDisposable {
  readonly url: string;
  readonly redis: Redis;
}

export async function startRedisForBench(): Promise<RedisUnderTest> {
  const server = await startOwnRedis();
  const redis = new Redis(server.url).on('error', () => undefined); // a failed command rejects by itself
  return {
    url: server.url,
    redis,
    async [Symbol.asyncDispose]() {
      redis.disconnect();
      await server.stop();
    },
  };
}

export async function infoOf(redis: Redis, section: string, field: string): Promise<string> {
  const value = new RegExp(`^${field}:(\\S+)`, 'm').exec(await redis.info(section))?.[1];
  if (value === undefined) throw new Error(`INFO ${section} has no field ${field}`);
  return value;
}

/** Microseconds of CPU that Redis has used so far. */
export async function redisCpu(redis: Redis): Promise<number> {
  const info = await redis.info('cpu');
  return [...info.matchAll(/used_cpu_(?:sys|user):([\d.]+)/g)].reduce(
    (sum, [, used]) => sum + Number(used) * 1e6,
    0,
  );
}

/** How long calls blocked Redis, in microseconds: those of some scripts, and all others. */
export interface Calls {
  readonly ofScript: readonly number[];
  readonly others: readonly number[];
}

/** Lets Redis record every call from now on. */
export async function watchCalls(redis: Redis): Promise<void> {
  await redis.config('SET', 'slowlog-max-len', '1000000');
  await redis.config('SET', 'slowlog-log-slower-than', '0');
  await redis.slowlog('RESET');
}

/** Stops the recording. Redis takes about a second to list a hundred thousand calls, which is the limit for one command. */
export async function ignoreCalls(redis: Redis): Promise<void> {
  await redis.config('SET', 'slowlog-log-slower-than', '-1');
  await redis.slowlog('RESET');
}

/** Returns the calls since the last time, and clears the record. */
export async function takeCalls(redis: Redis, scripts: ReadonlySet<string>): Promise<Calls> {
  const entries = (await redis.slowlog('GET', -1)) as [number, number, number, string[]][];
  await redis.slowlog('RESET');
  // Clearing a hundred thousand entries takes long, and is not the service's work.
  const calls = entries.filter(([, , , [command]]) => command!.toUpperCase() !== 'SLOWLOG');
  const micros = (ofScript: boolean): number[] =>
    calls.filter(([, , , [, hash]]) => scripts.has(hash!) === ofScript).map(([, , took]) => took);
  return { ofScript: micros(true), others: micros(false) };
}

/**
 * Counts the commands that clients send while this runs. MONITOR distinguishes them from the commands inside scripts;
 * `INFO commandstats` counts both.
 */
export async function countCommands(
  { url, redis }: RedisUnderTest,
  work: () => Promise<void>,
): Promise<number> {
  const { hostname, port } = new URL(url);
  // Not ioredis, which would read the first line of MONITOR from a busy server as the reply.
  const monitor = connect(Number(port), hostname);
  const lines = createInterface(monitor)[Symbol.asyncIterator]();
  monitor.write('MONITOR\r\n');
  await lines.next(); // OK
  await work();
  await redis.echo('the end');
  for (let commands = 0; ;) {
    const { value, done } = await lines.next();
    if (done) throw new Error('Redis ended MONITOR');
    if (value.includes('] "echo" ')) {
      monitor.destroy();
      return commands;
    }
    if (!/^\+\S+ \[\d+ lua\]/.test(value)) commands++;
  }
}
