import { strictEqual } from 'node:assert';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { availableParallelism, cpus } from 'node:os';
import { Redis } from 'ioredis';
import { startRedis } from '../test/support/redis-server.ts';
import { ASKED, type Check, ask, checkRenewal, renewals } from './load.mts';
import { median, ratios, ratioTable, table } from './report.mts';
import { type Variant, runRounds, variantOf } from './rounds.mts';
import { ENVIRONMENT, giveLastCpu, leaveLastCpu, startServer } from './servers.mts';

/**
 * Measures the cost of a renewal on Redis: in this service, in the same route written by hand, and in a server that only
 * answers. README.md explains the figures. Exits 1 if an answer was wrong, never because of a figure.
 */
/** The `dist/main.js` of another build, to be measured beside this one in the same run. */
const BEFORE = process.env.BENCH_BEFORE;
/** `true` measures the service also with traces on. */
const TRACES = process.env.BENCH_TRACES === 'true';
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 15);
/** The aim: requests per second of the service on one CPU, over those of the route written by hand. */
const AIM = 0.75;
/** The parts of an answer that differ each time: addresses, instants and signatures. */
const VARYING = /127\.0\.0\.1:\d+|\d{4}-\d\d-\d\dT[\d:.]+Z|expires=\d+&signature=[\w-]+/g;

interface Contender extends Variant {
  readonly check: Check;
}

async function main(resources: AsyncDisposableStack): Promise<void> {
  const cpuCount = availableParallelism();
  let pinned = leaveLastCpu();
  const redisServer = await startRedis(['path', 'docker', 'apt']);
  resources.defer(() => redisServer.stop());
  const redis = resources.adopt(new Redis(redisServer.url), (connection) => connection.disconnect());

  const variants = await startVariants(redisServer.url, resources);
  for (const { server } of variants) pinned &&= giveLastCpu(server);
  console.log(
    `Node ${process.versions.node}; Redis ${/redis_version:(\S+)/.exec(await redis.info('server'))?.[1]}; ` +
      `${cpuCount} CPUs, ${cpus()[0]?.model.trim()}; ` +
      (pinned ? 'servers on one CPU, load and Redis on the rest' : 'no CPUs set apart'),
  );
  await checkAnswers(variants);
  await runRounds(variants, ROUNDS, redis);
  await checkAnswers(variants);
  report(variants);
}

async function startVariants(redisUrl: string, resources: AsyncDisposableStack): Promise<Contender[]> {
  const start = async (
    name: string,
    file: string,
    environment: Record<string, string>,
    check = checkRenewal,
  ) => {
    const server = resources.use(await startServer(file, { ...ENVIRONMENT, ...environment }));
    return { ...variantOf(name, server, renewals(check)), check };
  };
  // Each server has its own database, so that none finds the sessions of another.
  const [one, two, three, four, five, six] = [1, 2, 3, 4, 5, 6].map((database) => ({
    REDIS_URL: `${redisUrl}/${database}`,
  }));
  const quiet = { LOG_LEVEL: 'warn' };
  const collector = TRACES ? await startCollector(resources) : '';
  const traced = (share: string) => ({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector,
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: share,
  });
  const variants: Contender[] = [
    await start('handwritten', 'servers/handwritten.mts', { ...one }),
    await start('streamgate', '../dist/main.js', { ...two, ...quiet }),
    await start('streamgate, requests logged', '../dist/main.js', { ...three }),
    ...(TRACES
      ? [
          await start('streamgate, 1 in 100 traced', '../dist/main.js', {
            ...five,
            ...quiet,
            ...traced('0.01'),
          }),
          await start('streamgate, all traced', '../dist/main.js', { ...six, ...quiet, ...traced('1') }),
        ]
      : []),
    ...(BEFORE ? [await start('streamgate before', BEFORE, { ...four, ...quiet })] : []),
  ];
  for (const { server } of variants) await createSessions(server.url);
  // A phase with two segments, which is the average.
  const { body: usual } = await ask(
    variants[1]!.server.url,
    ASKED[0]!.find(({ phase }) => phase === 1)!,
  );
  const same: Check = (_asked, status, body) =>
    status === 200 && body === usual ? undefined : 'another answer';
  return [await start('constant', 'servers/constant.mts', { REPLY: usual }, same), ...variants];
}

/** A collector of traces that reads and forgets them. */
async function startCollector(resources: AsyncDisposableStack): Promise<string> {
  const server = createServer((request, response) => {
    request.resume().once('end', () => response.end());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  resources.defer(() => server.closeAllConnections());
  resources.defer(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function createSessions(url: string): Promise<void> {
  const first = ASKED.flat().filter(({ phase }) => phase === 0);
  const replies = await Promise.all(first.map((asked) => ask(url, asked)));
  if (replies.some(({ status }) => status !== 201)) throw new Error(`${url} did not create the sessions`);
}

/** One user requests each phase from each server. The server written by hand must answer like the service. */
async function checkAnswers(variants: readonly Contender[]): Promise<void> {
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

/** The verdict is by CPU. Requests per second say the same only if nothing else slowed the servers down. */
function report(variants: readonly Contender[]): void {
  const [, handwritten, streamgate] = variants as [Contender, Contender, Contender];
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
