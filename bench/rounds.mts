import type { Redis } from 'ioredis';
import { CONNECTIONS, type Load, fire } from './load.mts';
import { redisCpu } from './redis.mts';
import type { Row, Sample } from './report.mts';
import type { Server } from './servers.mts';

const SLICE_SECONDS = 1;
const WARM_UP_SECONDS = 0.15;

/** A load on a server, to be compared with others. */
export interface Variant extends Row {
  readonly server: Server;
  readonly load: Load;
  readonly samples: Sample[];
  /** Requests per second of its last burst, to calculate how many fill a slice. */
  pace: number;
}

export function variantOf(name: string, server: Server, load: Load): Variant {
  return { name, server, load, samples: [], pace: 3_000 };
}

/** Each round has one slice of each load, in random order, so that other load on the machine affects all alike. */
export async function runRounds(variants: readonly Variant[], rounds: number, redis: Redis): Promise<void> {
  // The first bursts are slow and short. By the third, the code is compiled and the rate is known.
  for (const variant of [...variants, ...variants, ...variants]) await burst(variant, 1);
  for (let round = 0; round < rounds; round++)
    for (const variant of shuffle(variants)) variant.samples.push(await slice(variant, redis));
}

async function slice(variant: Variant, redis: Redis): Promise<Sample> {
  const { server } = variant;
  await burst(variant, WARM_UP_SECONDS);
  const [cpuBefore, redisBefore] = [await server.cpu(), await redisCpu(redis)];
  const requests = await burst(variant, SLICE_SECONDS);
  const [cpuAfter, redisAfter] = [await server.cpu(), await redisCpu(redis)];
  const cpuMicros = (cpuAfter - cpuBefore) / requests;
  return {
    cpuMicros,
    perSecond: variant.pace,
    busy: (cpuMicros * variant.pace) / 1e6,
    redisMicros: (redisAfter - redisBefore) / requests,
  };
}

/** Runs the load for about this long, and returns the number of requests. */
async function burst(variant: Variant, seconds: number): Promise<number> {
  const requests = Math.max(1, Math.round((variant.pace * seconds) / CONNECTIONS)) * CONNECTIONS;
  variant.pace = await fire(variant.server.url, requests, variant.load).catch((cause: unknown) => {
    throw new Error(`${variant.name} failed`, { cause });
  });
  return requests;
}

function shuffle<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
