import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { Haproxy, whyNoHaproxy } from '../support/haproxy.js';
import { Nginx, findNginx } from '../support/nginx.js';
import { useRedisDatabase } from '../support/redis-database.js';
import { freePort } from '../support/redis-server.js';
import { type ServiceProcess, endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { until } from '../support/until.js';

const EVERY_MS = 10;

const nginxBinary = findNginx();
const lack = whyNoHaproxy() ?? ('reason' in nginxBinary ? nginxBinary.reason : undefined);
if (lack !== undefined) console.log(`\nThe tests of deploys behind load balancers are skipped: ${lack}.`);

/** Sends requests for new sessions at a steady rate, over connections that are kept, and counts the answers. */
class SteadyLoad {
  readonly answers = new Map<string, number>();
  private readonly agent = new Agent({ keepAlive: true });
  private readonly pending = new Set<Promise<void>>();
  private readonly timer: NodeJS.Timeout;
  private sent = 0;

  constructor(urls: readonly string[]) {
    this.timer = setInterval(() => {
      for (const url of urls) {
        const one = this.ask(url).finally(() => this.pending.delete(one));
        this.pending.add(one);
      }
    }, EVERY_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await Promise.all(this.pending);
    this.agent.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  private async ask(url: string): Promise<void> {
    const options = { agent: this.agent, method: 'POST', headers: { 'content-type': 'application/json' } };
    const sent = request(`${url}/v1/phases`, options);
    sent.end(JSON.stringify({ user_id: `user-${this.sent++}`, stream_id: 'test-pattern' }));
    const answer = await once(sent, 'response').then(
      async ([reply]) => {
        const { statusCode } = reply as IncomingMessage;
        const body = await text(reply as IncomingMessage);
        return statusCode === 201 ? '201' : `${statusCode} by ${url}: ${body}`;
      },
      (error: Error) => error.message,
    );
    this.answers.set(answer, (this.answers.get(answer) ?? 0) + 1);
  }
}

// Real processes in real time: on a machine that stalls, a proxy can send a request in the instant in which an instance closes
// its socket (docs/decisions/0032-drain.md). Jest prints a failure before it tries again.
jest.retryTimes(2, { logErrorsBeforeRetry: true });

(lack === undefined ? describe : describe.skip)('a rolling restart of three instances', () => {
  // Before the database is emptied: the sweeps of a running service would write into it again.
  afterAll(endServiceProcesses);
  const redis = useRedisDatabase();
  const haproxy = new Haproxy();
  const nginx = new Nginx('binary' in nginxBinary ? nginxBinary.binary : '');
  const instances: ServiceProcess[] = [];
  const fronts: string[] = [];

  const startInstance = async (port: string): Promise<ServiceProcess> =>
    startServiceProcess({ PORT: port, REDIS_URL: redis.url, DRAIN_SECONDS: '2', LOG_LEVEL: 'info' });

  beforeAll(async () => {
    const ports = await Promise.all(Array.from({ length: 5 }, freePort));
    const [haproxyPort, nginxPort, ...ofInstances] = ports as [number, number, ...number[]];
    instances.push(...(await Promise.all(ofInstances.map(async (port) => startInstance(String(port))))));
    fronts.push(`http://127.0.0.1:${haproxyPort}`, `http://127.0.0.1:${nginxPort}`);
    const urls = instances.map(({ url }) => url);
    await haproxy.start(haproxyPort, urls);
    const servers = urls.map((url) => `server ${new URL(url).host} max_fails=0;`).join(' ');
    await nginx.start(
      `upstream service { ${servers} keepalive 16; }
       server {
         listen 127.0.0.1:${nginxPort};
         location / {
           proxy_pass http://service;
           proxy_http_version 1.1;
           proxy_set_header Connection "";
           # As docs/reliability.md says: nginx has no health checks, and finds out by a request. By default it also leaves a
           # server alone for 10 s after one failure, in which this test restarts all others.
           proxy_next_upstream error timeout non_idempotent;
         }
       }`,
      `${fronts[1]}/health/live`,
    );
  });

  afterAll(async () => {
    await Promise.all([haproxy.stop(), nginx.stop()]);
  });

  it('loses no request behind haproxy, nor behind nginx', async () => {
    await using load = new SteadyLoad(fronts);
    for (const [at, instance] of instances.entries()) {
      const started = performance.now();
      const exited = instance.end('SIGTERM');
      await until(async () => (await haproxy.serversUp()) === 2);
      // The load balancer has noticed while the instance still answered.
      expect(instance.process.exitCode).toBeNull();
      const ready = await fetch(`${instance.url}/health/ready`);
      expect([ready.status, await ready.json()]).toEqual([
        503,
        expect.objectContaining({ code: 'not-ready', detail: 'The service is draining.' }),
      ]);
      expect(await exited).toBe(0);
      expect(performance.now() - started).toBeLessThan(10_000);
      instances[at] = await startInstance(new URL(instance.url).port);
      await until(async () => (await haproxy.serversUp()) === 3);
    }
    await load.stop();
    const { answers } = load;
    expect(Object.fromEntries(answers)).toEqual({ 201: expect.any(Number) });
    expect(answers.get('201')).toBeGreaterThan(300);
  });
});
