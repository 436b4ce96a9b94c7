import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { CallbackReceiver } from '../support/callback-receiver.js';
import { type EventSourceClient, openEventSource } from '../support/event-source.js';
import { Prometheus, missingPrometheus } from '../support/prometheus.js';
import { useRedisDatabase } from '../support/redis-database.js';
import { type ServiceProcess, endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { until } from '../support/until.js';

/** Alerts, dashboard and runbook, held against the metrics of the service and a real Prometheus. */

const DOCS = join(__dirname, '../../docs');
const ALERTS_FILE = join(DOCS, 'monitoring/alerts.yml');
const ALERTS = readFileSync(ALERTS_FILE, 'utf8');
const DASHBOARD = readFileSync(join(DOCS, 'monitoring/dashboard.json'), 'utf8');
const RUNBOOK = readFileSync(join(DOCS, 'operations.md'), 'utf8');

const alertNames = (parse(ALERTS) as { groups: { rules: { alert: string }[] }[] }).groups.flatMap(
  ({ rules }) => rules.map(({ alert }) => alert),
);
const panels = (JSON.parse(DASHBOARD) as { panels: { title: string; targets?: { expr: string }[] }[] })
  .panels;
const queries = panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));
/** The rows of the table of metrics. */
const rows = [...RUNBOOK.matchAll(/^\| `(\w+)` +\| (\w+) +\| (\w+) +\| (.+?) +\| ([\w, ]+?) +\|$/gm)].map(
  ([, name, type, of, help, seen]) => ({ name: name!, type: type!, of: of!, help: help!, seen: seen! }),
);

const missing = missingPrometheus();
if (missing !== undefined) process.stderr.write(`The tests on a real Prometheus are skipped: ${missing}.\n`);
const withPrometheus = missing === undefined ? describe : describe.skip;

describe('the runbook', () => {
  it('has one entry for each alert, with its four parts', () => {
    const entries = [...RUNBOOK.matchAll(/^### (Streamgate\w+)\n\n((?:[- ] .*\n)+)/gm)];
    expect(entries.map(([, name]) => name)).toEqual(alertNames);
    for (const [, name, text] of entries)
      expect([name, [...text!.matchAll(/^- \*\*(.+?):\*\*/gm)].map(([, part]) => part)]).toEqual([
        name,
        ['Means', 'Viewers feel', 'Do', "Don't"],
      ]);
  });

  it('says of each metric where it is seen: in an alert, in a panel, or only for debugging', () => {
    expect(rows.length).toBeGreaterThan(50);
    const exprs = queries.map(({ expr }) => expr).join('\n');
    for (const { name, seen } of rows) {
      const used = new RegExp(`\\b${name}(_bucket|_count|_sum)?(?!\\w)`);
      const places = [used.test(ALERTS) ? 'alert' : [], used.test(exprs) ? 'panel' : []].flat().join(', ');
      expect([name, seen]).toEqual([name, places || 'debugging']);
    }
  });
});

/** A healthy system, in the notation of promtool: a value a minute. Each outage replaces some of the series. */
const HEALTHY: Readonly<Record<string, string>> = {
  'streamgate_store_up{instance="a"}': '1x',
  'streamgate_store_up{instance="b"}': '1x',
  'streamgate_system_reporter{instance="a"}': '1x',
  'streamgate_system_reporter{instance="b"}': '0x',
  'streamgate_store_nodes_away{instance="a"}': '0x',
  'streamgate_store_errors_total{kind="refused"}': '0x',
  'streamgate_store_command_duration_seconds_bucket{command="admit",le="0.1"}': '0+600x',
  'streamgate_store_command_duration_seconds_bucket{command="admit",le="0.25"}': '0+600x',
  'streamgate_store_command_duration_seconds_bucket{command="admit",le="+Inf"}': '0+600x',
  'streamgate_store_connects_total{instance="a"}': '1x',
  'streamgate_store_lost_partitions_total{loss="empty"}': '0x',
  'streamgate_store_may_evict{instance="a"}': '0x',
  'streamgate_store_unreadable_values_total{instance="a"}': '0x',
  'http_server_request_duration_seconds_count{http_route="/v1/phases",http_response_status_code="200"}':
    '0+600x',
  'http_server_request_duration_seconds_count{http_route="/v1/phases",http_response_status_code="503"}':
    '0+3x',
  'http_server_request_duration_seconds_count{http_route="/health/ready",http_response_status_code="503"}':
    '0+60x',
  'http_server_request_duration_seconds_bucket{http_route="/v1/phases",le="0.25"}': '0+600x',
  'http_server_request_duration_seconds_bucket{http_route="/v1/phases",le="0.5"}': '0+600x',
  'http_server_request_duration_seconds_bucket{http_route="/v1/phases",le="+Inf"}': '0+600x',
  'streamgate_decisions_total{outcome="refused",source="api"}': '0+12x',
  'streamgate_rate_limited_total{limit="user"}': '0+60x',
  'streamgate_origin_failures_total{bridged="false"}': '0x',
  'streamgate_sweep_failures_total{instance="a"}': '0x',
  'streamgate_expiry_lateness_seconds_bucket{le="5"}': '0+60x',
  'streamgate_expiry_lateness_seconds_bucket{le="10"}': '0+60x',
  'streamgate_expiry_lateness_seconds_bucket{le="+Inf"}': '0+60x',
  'streamgate_expiry_paused{instance="a"}': '0x',
  'streamgate_expiry_paused_seconds{instance="a"}': '0x',
  'streamgate_callbacks_oldest_seconds{instance="a"}': '2x',
  'streamgate_callbacks_stopped{instance="a"}': '0x',
  'streamgate_callbacks_dead_letters{instance="a"}': '0x',
  'streamgate_callbacks_lost_total{instance="a"}': '7x',
  'nodejs_eventloop_lag_p99_seconds{instance="a"}': '0.012x',
  'streamgate_build_info{version="1",commit="x",instance="a"}': '1x',
  'streamgate_build_info{version="1",commit="x",instance="b"}': '1x',
};

/** For each alert the series that an outage changes: from which value it goes on, and by how much it grows a minute. */
const OUTAGES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  StreamgateNotScraped: {
    'streamgate_store_up{instance="a"}': '_x',
    'streamgate_store_up{instance="b"}': '_x',
  },
  StreamgateStoreDown: { 'streamgate_store_up{instance="b"}': '0x' },
  StreamgateStoreNodeAway: { 'streamgate_store_nodes_away{instance="a"}': '1x' },
  StreamgateStoreRefuses: { 'streamgate_store_errors_total{kind="refused"}': '0+30x' },
  StreamgateStoreSlow: {
    'streamgate_store_command_duration_seconds_bucket{command="admit",le="0.1"}': '42000+580x',
  },
  StreamgateStoreReconnects: { 'streamgate_store_connects_total{instance="a"}': '1+3x' },
  StreamgateStoreLostData: { 'streamgate_store_lost_partitions_total{loss="empty"}': '3x' },
  StreamgateStoreMayEvict: { 'streamgate_store_may_evict{instance="a"}': '1x' },
  StreamgateUnreadableValues: { 'streamgate_store_unreadable_values_total{instance="a"}': '1x' },
  StreamgateErrors: {
    'http_server_request_duration_seconds_count{http_route="/v1/phases",http_response_status_code="503"}':
      '210+60x',
  },
  StreamgateSlow: {
    'http_server_request_duration_seconds_bucket{http_route="/v1/phases",le="0.25"}': '42000+580x',
  },
  StreamgateRefusalsTripled: { 'streamgate_decisions_total{outcome="refused",source="api"}': '18120+60x' },
  StreamgateRateLimited: { 'streamgate_rate_limited_total{limit="user"}': '4200+300x' },
  StreamgateOriginFails: { 'streamgate_origin_failures_total{bridged="false"}': '0+6x' },
  StreamgateSweepsFail: { 'streamgate_sweep_failures_total{instance="a"}': '0+30x' },
  StreamgateExpiryLate: { 'streamgate_expiry_lateness_seconds_bucket{le="5"}': '4200+30x' },
  StreamgateExpiryPaused: {
    'streamgate_expiry_paused{instance="a"}': '1x',
    'streamgate_expiry_paused_seconds{instance="a"}': '3000+60x',
    // While the sweeps are paused, late expiries are no alert of their own.
    'streamgate_expiry_lateness_seconds_bucket{le="5"}': '4200+30x',
  },
  StreamgateCallbacksWait: { 'streamgate_callbacks_oldest_seconds{instance="a"}': '61+60x' },
  StreamgateCallbacksStopped: { 'streamgate_callbacks_stopped{instance="a"}': '1x' },
  StreamgateCallbacksGivenUp: { 'streamgate_callbacks_dead_letters{instance="a"}': '1x' },
  StreamgateCallbacksLost: { 'streamgate_callbacks_lost_total{instance="a"}': '9x' },
  StreamgateEventLoopBlocked: { 'nodejs_eventloop_lag_p99_seconds{instance="a"}': '0.15x' },
  StreamgateVersionsMixed: { 'streamgate_build_info{version="2",commit="y",instance="b"}': '1x' },
  StreamgateNoSystemMetrics: { 'streamgate_system_reporter{instance="a"}': '0x' },
};

withPrometheus('the alerts', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'streamgate-alerts-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** Runs promtool on one test for each outage: which alerts fire at a minute before it and at one within it. */
  function testRules(outages: readonly (readonly [string, Readonly<Record<string, string>>])[]): string {
    const tests = outages.map(([alert, changes]) => {
      // Refusals are compared with those of yesterday, so that this outage begins on the second day.
      const begins = alert === 'StreamgateRefusalsTripled' ? 25 * 60 + 10 : 70;
      const series = { ...Object.fromEntries(Object.keys(changes).map((name) => [name, '_x'])), ...HEALTHY };
      const firing = 'count by (alertname) (ALERTS{alertstate="firing"})';
      const last = begins + (/Tripled|Mixed/.test(alert) ? 45 : 25);
      // Alerts on an increase are over when it is 15 minutes old.
      const seenAt = /Lost|Unreadable/.test(alert) ? begins + 3 : last;
      return {
        name: alert,
        interval: '1m',
        input_series: Object.entries(series).map(([name, values]) => ({
          series: name,
          values:
            changes[name] === undefined
              ? `${values}${last}`
              : `${values}${begins - 1} ${changes[name]}${last - begins}`,
        })),
        promql_expr_test: [
          { expr: firing, eval_time: `${begins - 5}m`, exp_samples: [] },
          {
            expr: firing,
            eval_time: `${seenAt}m`,
            exp_samples: [{ labels: `{alertname="${alert}"}`, value: 1 }],
          },
        ],
      };
    });
    const file = join(folder, 'test.yml');
    writeFileSync(file, JSON.stringify({ rule_files: [ALERTS_FILE], evaluation_interval: '1m', tests }));
    try {
      return execFileSync('promtool', ['test', 'rules', file], { encoding: 'utf8', stdio: 'pipe' });
    } catch (error) {
      return (error as { stdout: string; stderr: string }).stdout + (error as { stderr: string }).stderr;
    }
  }

  it('have an outage planted here, each one', () => {
    expect(Object.keys(OUTAGES)).toEqual(alertNames);
  });

  it('are silent through an hour of normal load, and fire each on its own outage only', () => {
    const output = testRules(Object.entries(OUTAGES));
    expect(output).not.toContain('FAILED');
    expect(output).toContain('SUCCESS');
  });

  it('are tested by this: an outage that does not happen fails the test', () => {
    expect(testRules([['StreamgateStoreDown', { 'streamgate_store_up{instance="b"}': '1x' }]])).toContain(
      'FAILED',
    );
  });
});

withPrometheus('two instances, scraped by a real Prometheus', () => {
  // Before the database is emptied: the sweeps of a running service would write into it again.
  afterAll(endServiceProcesses);
  const database = useRedisDatabase();
  const receiver = new CallbackReceiver();
  const prometheus = new Prometheus();
  let services: ServiceProcess[];
  const streams: EventSourceClient[] = [];

  beforeAll(async () => {
    await receiver.start();
    const environment = { REDIS_URL: database.url, CALLBACK_URL: receiver.url, LOG_LEVEL: 'silent' };
    services = await Promise.all([startServiceProcess(environment), startServiceProcess(environment)]);
    const [one, other] = services as [ServiceProcess, ServiceProcess];
    const ana = (session_id: string) => ({ user_id: 'ana', session_id, stream_id: 'test-pattern' });
    for (const [at, session] of ['tv', 'phone', 'tablet'].entries())
      await services[at % 2]!.ask(ana(session));
    expect((await other.ask(ana('laptop'))).status).toBe(409);
    await one.ask(ana('tv'));
    await one.ask({ user_id: 'bo', session_id: 'tv', stream_id: 'test-pattern' });
    await one.ask({ user_id: 'cy', session_id: 'tv', stream_id: 'test-pattern' });
    await fetch(`${one.url}/v1/users/cy/sessions/tv`, { method: 'DELETE' });
    await fetch(`${other.url}/v1/cmcd?user_id=bo&session_id=tv`, {
      method: 'POST',
      headers: { 'content-type': 'application/cmcd' },
      body: 'e=ps,sta=p,v=2',
    });
    const socket = connect(Number(new URL(one.url).port), '127.0.0.1').end('NOT HTTP\r\n\r\n');
    await once(socket.resume(), 'close');
    // The eleventh stream of a user ends the first.
    for (let n = 0; n < 11; n++) streams.push(await openEventSource(`${other.url}/v1/users/bo/events`));
    await streams[0]!.ended;
    await until(() => receiver.deliveries.length > 0);
    await prometheus.start(services.map(({ url }) => new URL(url).host));
    await until(async () => (await prometheus.value('min(count_over_time(streamgate_store_up[5m]))'))! >= 3);
  });
  afterAll(async () => {
    for (const stream of streams) stream.close();
    await prometheus.stop();
    await receiver.stop();
  });

  it('have metrics that promtool finds no fault with', async () => {
    for (const { url } of services) {
      const input = await (await fetch(`${url}/metrics`)).text();
      expect(execFileSync('promtool', ['check', 'metrics'], { input, encoding: 'utf8', stdio: 'pipe' })).toBe(
        '',
      );
    }
  });

  it('have the metrics that the table of the runbook describes, and no others', async () => {
    const texts = await Promise.all(services.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()));
    const described = (text: string) =>
      [...text.matchAll(/^# HELP (\w+) (.*)\n# TYPE \1 (\w+)$/gm)].map(([, name, help, type]) => ({
        name: name!,
        type: type!,
        help: help!,
      }));
    const [fewer, more] = texts.map(described).toSorted((a, b) => a.length - b.length) as [Row[], Row[]];
    const plain = (help: string): string => help.replaceAll(/[`\\]/g, '').replace(/\.$/, '');
    const byName = (a: Row, b: Row): number => a.name.localeCompare(b.name);
    expect(more.map((row) => ({ ...row, help: plain(row.help) })).toSorted(byName)).toEqual(
      rows.map(({ name, type, help }) => ({ name, type, help: plain(help) })).toSorted(byName),
    );
    // The instance that is not the reporter has those of an instance only.
    expect(fewer.map(({ name }) => name).toSorted()).toEqual(
      rows.flatMap(({ name, of }) => (of === 'instance' ? name : [])).toSorted(),
    );
  });

  it('give each query of the dashboard a result', async () => {
    // Nothing was lost: these have no series before something is.
    const empty = /store_lost_partitions/;
    for (const { title, expr } of queries) {
      const result = await prometheus.query(expr.replaceAll('$__rate_interval', '1m'));
      expect([title, expr, result.length > 0 || empty.test(expr)]).toEqual([title, expr, true]);
    }
  });

  it('are counted once by a plain sum, also while the reporter stops and another takes over', async () => {
    const reporting = async (): Promise<boolean[]> =>
      Promise.all(
        services.map(
          async ({ url }) =>
            (await prometheus.query(`streamgate_system_reporter{instance="${new URL(url).host}"} == 1`))
              .length > 0,
        ),
      );
    expect(await prometheus.value('sum(streamgate_sessions_live)')).toBe(4);
    expect(await prometheus.value('count(streamgate_sessions_live)')).toBe(1);
    expect(await prometheus.value('sum(streamgate_decisions_total{outcome="refused"})')).toBe(1);
    const [first, second] = await reporting();
    expect([first, second].toSorted()).toEqual([false, true]);
    await services[first ? 0 : 1]!.end();
    await until(async () => (await reporting())[first ? 1 : 0] === true);
    expect(await prometheus.value('sum(streamgate_sessions_live)')).toBe(4);
    expect(await prometheus.value('max_over_time(sum(streamgate_sessions_live)[10m:250ms])')).toBe(4);
  });
});

interface Row {
  readonly name: string;
  readonly type: string;
  readonly help: string;
}
