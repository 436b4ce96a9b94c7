import { availableParallelism, cpus } from 'node:os';
import { type RedisUnderTest, infoOf, startRedisForBench } from './redis.mts';

const CPU_COUNT = availableParallelism();

/**
 * Runs the parts of a benchmark, each on an empty Redis. `BENCH_PARTS` selects some by name. The process exits 1 if a part
 * fails.
 */
export async function runParts(
  parts: Readonly<Record<string, (redis: RedisUnderTest) => Promise<void>>>,
): Promise<void> {
  let server: RedisUnderTest | undefined;
  const stop = async (): Promise<never> => {
    await server?.[Symbol.asyncDispose]();
    process.exit(130);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop());
  const wanted = process.env.BENCH_PARTS?.split(',') ?? Object.keys(parts);
  try {
    for (const [name, measure] of Object.entries(parts)) {
      if (!wanted.includes(name)) continue;
      await using started = await startRedisForBench();
      if (server === undefined)
        console.log(
          `Node ${process.versions.node}; Redis ${await infoOf(started.redis, 'server', 'redis_version')}; ` +
            `${CPU_COUNT} CPUs, ${cpus()[0]?.model.trim()}`,
        );
      server = started;
      await measure(started);
    }
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
}
