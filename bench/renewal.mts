import { strictEqual } from 'node:assert';
import { availableParallelism, cpus } from 'node:os';
import { Redis } from 'ioredis';
import { startRedis } from '../test/support/redis-server.ts';
import { ASKED, type Check, CONNECTIONS, ask, checkRenewal, fire } from './load.mts';
import { redisCpu } from './redis.mts';
import { type Row, type Sample, median, ratios, ratioTable, table } from './report.mts';
import { ENVIRONMENT, type Server, pin, startServer } from './servers.mts';

/**
 * What a renewal on Redis costs in this service, beside the same route written by hand and beside one that only
 * answers. README.md says how to read it. Exits 1 where an answer was wrong, never for a figure.
 */
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 15);
const SLICE_SECONDS = 1;
const WARM_UP_SECONDS = 0.15;
/** What the service manages on a CPU over what the route written by hand does. */
const AIM = 0.75;
/** What differs between equal answers: addresses, instants, and what is made of them. */
const VARYING = /127\.0\.0\.1:\d+|\d{4}-\d\d-\d\dT[\d:.]+Z|expires=\d+&signature=[\w-]+/g;

interface Variant extends Row {
  readonly server: Server;
  readonly check: Check;
  readonly samples: Sample[];
  /** Requests a second of its last burst, to tell how many fill a slice. */
  pace: number;
}

async function main(resources: AsyncDisposableStack): Promise<void> {
  // A CPU for the server that is measured, the others for what measures it; Redis inherits the latter.
  const lastCpu = availableParallelism() - 1;
  let pinned = lastCpu > 0 && pin(process.pid, `0-${lastCpu - 1}`);
  const redisServer = await startRedis(['path', 'docker', 'apt']);
  resources.defer(() => redisServer.stop());
  const redis = resources.adopt(new Redis(redisServer.url), (connection) => connection.disconnect());

  const variants = await startVariants(redisServer.url, resources);
  for (const { server } of variants) pinned &&= pin(server.pid, String(lastCpu));
  console.log(
    `Node ${process.versions.node}; Redis ${/redis_version:(\S+)/.exec(await redis.info('server'))?.[1]}; ` +
      `${lastCpu + 1} CPUs, ${cpus()[0]?.model.trim()}; ` +
      (pinned ? 'servers on one CPU, load and Redis on the rest' : 'no CPUs set apart'),
  );
  await checkAnswers(variants);
  // The first bursts are slow and short; by the third the code is compiled and the pace is known.
  for (const variant of [...variants, ...variants, ...variants]) await burst(variant, 1);
  for (let round = 0; round < ROUNDS; round++)
    for (const variant of shuffle(variants)) variant.samples.push(await slice(variant, redis));
  await checkAnswers(variants);
  report(variants);
}

async function startVariants(redisUrl: string, resources: AsyncDisposableStack): Promise<Variant[]> {
  const start = async (
    name: string,
    file: string,
    environment: Record<string, string>,
    check = checkRenewal,
  ) => {
    const server = resources.use(await startServer(file, { ...ENVIRONMENT, ...environment }));
    return { name, server, check, samples: [], pace: 3_000 };
  };
  // A database each, so that none finds the sessions of another.
  const [one, two, three] = [1, 2, 3].map((database) => ({ REDIS_URL: `${redisUrl}/${database}` }));
  const quiet = { LOG_LEVEL: 'warn' };
  const variants: Variant[] = [
    await start('handwritten', 'servers/handwritten.mts', { ...one }),
    await start('streamgate', '../dist/main.js', { ...two, ...quiet }),
    await start('streamgate, requests logged', '../dist/main.js', { ...three }),
  ];
  for (const { server } of variants) await createSessions(server.url);
  // A phase of two segments, as is the average.
  const { body: usual } = await ask(
    variants[1]!.server.url,
    ASKED[0]!.find(({ phase }) => phase === 1)!,
  );
  const same: Check = (_asked, status, body) =>
    status === 200 && body === usual ? undefined : 'another answer';
  return [await start('constant', 'servers/constant.mts', { REPLY: usual }, same), ...variants];
}

async function createSessions(url: string): Promise<void> {
  const first = ASKED.flat().filter(({ phase }) => phase === 0);
  const replies = await Promise.all(first.map((asked) => ask(url, asked)));
  if (replies.some(({ status }) => status !== 201)) throw new Error(`${url} did not create the sessions`);
}

/** One user asks each server for each phase; and what was written by hand must answer as the service does. */
async function checkAnswers(variants: readonly Variant[]): Promise<void> {
  for (const asked of ASKED[0]!.filter((_, at) => at % 10 === 0)) {
    const bodies = new Map<string, string>();
    for (const { name, server, check } of variants) {
      const { status, body } = await ask(server.url, asked);
      const fault = check(asked, status, body);
      if (fault !== undefined) throw new Error(`${name}: ${fault} for ${JSON.stringify(asked)}: ${body}`);
      bodies.set(name, body.replaceAll(VARYING, ''));
    }
    strictEqual(bodies.get('handwritten'), bodies.get('streamgate'));
  }
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

/** About this long of load; gives how many requests it were. */
async function burst(variant: Variant, seconds: number): Promise<number> {
  const requests = Math.max(1, Math.round((variant.pace * seconds) / CONNECTIONS)) * CONNECTIONS;
  variant.pace = await fire(variant.server.url, requests, variant.check).catch((cause: unknown) => {
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

/** The verdict is by CPU: requests a second tell the same, but only where nothing else held the servers up. */
function report(variants: readonly Variant[]): void {
  const [, handwritten, streamgate] = variants as [Variant, Variant, Variant];
  const byCpu = 1 / median(ratios(streamgate, handwritten, 'cpuMicros'));
  const byRequests = median(ratios(streamgate, handwritten, 'perSecond'));
  console.log(`\nMedian (least-most) of ${ROUNDS} rounds\n\n${table(variants)}\n`);
  console.log(`${ratioTable(variants, handwritten)}\n`);
  console.log(
    `The aim, ${AIM} of handwritten, is ${byCpu >= AIM ? 'met' : 'not met'}: ` +
      `${byCpu.toFixed(2)} by CPU a request, ${byRequests.toFixed(2)} by requests a second`,
  );
}

const resources = new AsyncDisposableStack();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void resources.disposeAsync().finally(() => process.exit(130)));
try {
  await main(resources);
} catch (error) {
  if (!resources.disposed) console.error(error);
  process.exitCode = 1;
} finally {
  await resources.disposeAsync();
}
