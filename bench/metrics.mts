/** What the metrics cost one renewal: its duration, its decision, and the command that it sends to the store. */
import { strictEqual } from 'node:assert';
import { createRequire } from 'node:module';
import { median } from './report.mts';

const built = createRequire(import.meta.url);
const { Clock } = built('../dist/clock.js') as typeof import('../src/clock.ts');
const { noteDecision, runWithNotes } = built(
  '../dist/http/request-notes.js',
) as typeof import('../src/http/request-notes.ts');
const { useHttpMetrics } = built(
  '../dist/observability/http-metrics.js',
) as typeof import('../src/observability/http-metrics.ts');
const { Metrics } = built(
  '../dist/observability/metrics.js',
) as typeof import('../src/observability/metrics.ts');
const { StoreMeter } = built(
  '../dist/sessions/session-metrics.js',
) as typeof import('../src/sessions/session-metrics.ts');

const RENEWALS = 1_000_000;
const ROUNDS = 9;

type Hook = (request: object, reply: object, done: () => void) => void;
interface Route {
  readonly url: string;
  onResponse?: Hook[];
}

const metrics = new Metrics();
const meter = new StoreMeter(metrics, new Clock());
const route: Route = { url: '/v1/phases' };
const onRoute: ((route: Route) => void)[] = [];
const everyResponse: Hook[] = [];
const fastify = {
  addHook: (name: string, hook: never) => void (name === 'onRoute' ? onRoute : everyResponse).push(hook),
} as unknown as Parameters<typeof useHttpMetrics>[0];
useHttpMetrics(fastify, metrics, {} as Parameters<typeof useHttpMetrics>[2]);
for (const register of onRoute) register(route);

const request = { method: 'POST', is404: false };
const reply = { statusCode: 200, elapsedTime: 1.3 };
const done = (): void => undefined;
const hooks = [...everyResponse, ...route.onResponse!];

/** The CPU of so many renewals in microseconds for each, on all threads of this process. */
function measure(renewal: () => void): number {
  const before = process.cpuUsage();
  for (let n = 0; n < RENEWALS; n++) renewal();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / RENEWALS;
}

const rounds: number[] = [];
runWithNotes({ reqId: 'x', trace: undefined }, () => {
  noteDecision({ decision: 'renewed', live: 1 });
  for (let round = 0; round < ROUNDS; round++)
    rounds.push(
      measure(() => {
        meter.ended('admit', meter.started());
        for (const hook of hooks) hook(request, reply, done);
      }),
    );
});
const counted = /^streamgate_decisions_total\{outcome="renewed",source="api"\} (\d+)$/m.exec(
  await metrics.scrape(),
);
strictEqual(Number(counted?.[1]), RENEWALS * ROUNDS);
console.log(
  `The metrics cost a renewal ${median(rounds).toFixed(2)} µs of CPU (median of ${ROUNDS} rounds).`,
);
process.exit(0);
