import { availableParallelism, cpus } from 'node:os';
import { measureBacklog } from './expiry/backlog.mts';
import { measureIdle } from './expiry/idle.mts';
import { measureLateness } from './expiry/lateness.mts';
import { measureMemory } from './expiry/memory.mts';
import { measureSweeps } from './expiry/sweeps.mts';
import { type RedisUnderTest, infoOf, startRedisForBench } from './redis.mts';

/**
 * What expiry on Redis costs and how late it is: README.md says how to read it. Exits 1 where an answer was wrong, never
 * for a figure.
 */
const PARTS = {
  lateness: measureLateness,
  sweeps: measureSweeps,
  memory: measureMemory,
  backlog: measureBacklog,
  idle: measureIdle,
};

let server: RedisUnderTest | undefined;

async function main(): Promise<void> {
  const wanted = process.env.BENCH_PARTS?.split(',') ?? Object.keys(PARTS);
  for (const [name, measure] of Object.entries(PARTS)) {
    if (!wanted.includes(name)) continue;
    await using started = await startRedisForBench();
    if (server === undefined)
      console.log(
        `Node ${process.versions.node}; Redis ${await infoOf(started.redis, 'server', 'redis_version')}; ` +
          `${availableParallelism()} CPUs, ${cpus()[0]?.model.trim()}`,
      );
    server = started;
    await measure(started);
  }
}

async function stop(): Promise<never> {
  await server?.[Symbol.asyncDispose]();
  process.exit(130);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop());
await main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
