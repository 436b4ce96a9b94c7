import { randomBytes } from 'node:crypto';
import { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { CallbackReceiver } from '../support/callback-receiver.js';
import { type CollectedSpan, Collector } from '../support/collector.js';
import { LocalServer } from '../support/local-server.js';
import { useRedisDatabase } from '../support/redis-database.js';
import { type ServiceProcess, endServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { until } from '../support/until.js';

const [SERVER, CLIENT, INTERNAL] = [2, 3, 1];
const FAILED = 2;
const PLAYLIST = [
  '#EXTM3U',
  '#EXT-X-TARGETDURATION:10',
  ...Array.from({ length: 6 }, (_, at) => `#EXTINF:10,\n${at}.ts`),
  '#EXT-X-ENDLIST',
  '',
].join('\n');

/** A real origin that records the headers of each request for a stream. `broken` gets 500, and `silent` no answer. */
class Origin extends LocalServer {
  readonly headers = new Map<string, IncomingHttpHeaders>();

  get template(): string {
    return `${this.url}/vod/{stream_id}/index.m3u8?token=HIDDEN-of-the-origin`;
  }

  protected handle({ url, headers }: IncomingMessage, response: ServerResponse): void {
    const stream = url!.split('/')[2]!;
    this.headers.set(stream, headers);
    if (stream !== 'silent') response.writeHead(stream === 'broken' ? 500 : 200).end(PLAYLIST);
  }
}

/** A caller's trace. */
function newTrace(flags: '00' | '01') {
  const [trace, span] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')];
  return { trace, span, traceparent: `00-${trace}-${span}-${flags}` };
}

function logLines(service: Pick<ServiceProcess, 'output'>): Record<string, unknown>[] {
  const whole = service.output().slice(0, service.output().lastIndexOf('\n'));
  return whole.split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('traces', () => {
  afterAll(endServiceProcesses); // before the database is emptied
  const database = useRedisDatabase();
  const origin = new Origin();
  const receiver = new CallbackReceiver();
  const collector = new Collector();
  let service: ServiceProcess;
  beforeAll(async () => {
    await Promise.all([origin.start(), receiver.start(), collector.start()]);
    service = await startServiceProcess({
      REDIS_URL: database.url,
      STREAM_ORIGIN: origin.template,
      CALLBACK_URL: `${receiver.url}/HIDDEN-of-the-receiver`,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_EXPORTER_OTLP_HEADERS: 'x-key=HIDDEN-of%20the-collector',
      // The SDK itself reads this one. A shutdown does not wait for so long.
      OTEL_EXPORTER_OTLP_TIMEOUT: '120000',
      OTEL_SERVICE_NAME: 'limits',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
    });
  });
  afterAll(async () => {
    await Promise.all([origin.stop(), receiver.stop(), collector.stop()]);
  });

  const post = async (body: object, headers: Record<string, string> = {}) =>
    fetch(`${service.url}/v1/phases`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ user_id: 'the-user-ana', ...body }),
    });
  /** Waits until the request with this id is collected, and returns the spans of its trace by name. */
  const traceOf = async (requestId: string): Promise<Map<string, CollectedSpan>> => {
    const find = () =>
      collector.spans.find(({ attributes }) => attributes['streamgate.request_id'] === requestId);
    await until(() => find() !== undefined);
    return new Map(collector.of(find()!.traceId).map((span) => [span.name, span]));
  };

  it('show a request with its read of the origin, its store commands and its signing, below the span of the caller', async () => {
    const { trace, span, traceparent } = newTrace('01');
    const reply = await post(
      { stream_id: 'film', session_id: 'tv' },
      { traceparent, tracestate: 'vendor=1', 'x-request-id': 'first' },
    );
    expect(reply.status).toBe(201);
    await until(() => collector.of(trace).some(({ name }) => name === 'store confirm'));
    const spans = await traceOf('first');
    expect([...spans.keys()].toSorted()).toEqual([
      'POST /v1/phases',
      'origin GET',
      'sign',
      'store admit',
      'store confirm',
    ]);
    const request = spans.get('POST /v1/phases')!;
    expect(request).toMatchObject({
      traceId: trace,
      parentSpanId: span,
      kind: SERVER,
      attributes: {
        'http.request.method': 'POST',
        'http.route': '/v1/phases',
        'http.response.status_code': 201,
        'streamgate.decision': 'admitted',
        'streamgate.session_id': 'tv',
        'streamgate.stream_id': 'film',
      },
      resource: {
        'service.name': 'limits',
        'service.version': expect.any(String),
        'service.instance.id': expect.any(String),
        'deployment.environment.name': 'test',
      },
    });
    for (const [name, below] of spans)
      expect([name, below.parentSpanId]).toEqual([name, below === request ? span : request.spanId]);
    expect(spans.get('origin GET')).toMatchObject({
      kind: CLIENT,
      attributes: {
        'url.full': `${new URL(origin.template).origin}/vod/film/index.m3u8`,
        'http.response.status_code': 200,
      },
    });
    expect(spans.get('store admit')).toMatchObject({
      kind: CLIENT,
      attributes: { 'db.system.name': 'redis', 'db.stored_procedure.name': 'admit' },
    });
    expect(spans.get('sign')).toMatchObject({ kind: INTERNAL, attributes: { 'streamgate.signing': 'hmac' } });
    expect(origin.headers.get('film')).toMatchObject({
      traceparent: `00-${trace}-${spans.get('origin GET')!.spanId}-01`,
      tracestate: 'vendor=1',
    });
    expect(collector.requests[0]).toMatchObject({ path: '/v1/traces', key: 'HIDDEN-of the-collector' });
  });

  it('are passed on to the receiver of callbacks, each try as a trace of its own', async () => {
    await post({ stream_id: 'film', session_id: 'radio' });
    await fetch(`${service.url}/v1/users/the-user-ana/sessions/radio`, { method: 'DELETE' });
    await until(() => receiver.of('the-user-ana').some(({ event }) => event.data.session_id === 'radio'));
    const [delivery] = receiver.of('the-user-ana').filter(({ event }) => event.data.session_id === 'radio');
    const [, trace, span] = delivery!.headers.traceparent!.split('-') as [string, string, string, string];
    await until(() => collector.of(trace).length > 0);
    expect(collector.of(trace)).toMatchObject([
      {
        name: `callback ${delivery!.event.type}`,
        spanId: span,
        kind: CLIENT,
        attributes: {
          'http.request.method': 'POST',
          'http.response.status_code': 204,
          'streamgate.receiver': 'default',
          'streamgate.session_id': 'radio',
        },
      },
    ]);
    expect(collector.of(trace)[0]!.parentSpanId ?? '').toBe('');
  });

  it('have the id that the log names, beside the id that a load balancer sent', async () => {
    const root = 'Root=1-67891233-abcdef012345678912345678';
    await post(
      { stream_id: 'film', session_id: 'tv' },
      { 'x-request-id': 'logged', 'x-amzn-trace-id': root },
    );
    const [span] = (await traceOf('logged')).values();
    await until(() => logLines(service).some(({ reqId }) => reqId === 'logged'));
    expect(logLines(service).find(({ reqId }) => reqId === 'logged')).toMatchObject({
      trace: span!.traceId,
      caller_trace: root,
    });
  });

  it('are not recorded if the caller does not sample them, but passed on', async () => {
    const { trace, traceparent } = newTrace('00');
    await post({ stream_id: 'unsampled', session_id: 'tv' }, { traceparent });
    await post({ stream_id: 'film', session_id: 'tv' }, { 'x-request-id': 'after' });
    await traceOf('after');
    expect(collector.of(trace)).toEqual([]);
    expect(origin.headers.get('unsampled')!.traceparent).toMatch(new RegExp(`^00-${trace}-[0-9a-f]{16}-00$`));
  });

  it('show which part failed', async () => {
    const reply = await post({ stream_id: 'broken' }, { 'x-request-id': 'broken' });
    expect(reply.status).toBe(502);
    const spans = await traceOf('broken');
    expect(spans.get('POST /v1/phases')).toMatchObject({
      status: { code: FAILED },
      attributes: { 'http.response.status_code': 502, 'error.type': 'origin-unavailable' },
    });
    expect(spans.get('origin GET')).toMatchObject({
      status: { code: FAILED },
      attributes: { 'http.response.status_code': 500, 'error.type': '500' },
    });
  });

  it('show a request whose client has left, without a status', async () => {
    const client = new AbortController();
    const left = fetch(`${service.url}/v1/play/silent/index.m3u8?user_id=bob&session_id=gate`, {
      signal: client.signal,
      headers: { 'x-request-id': 'left' },
    });
    await until(() => origin.headers.has('silent'));
    client.abort();
    await expect(left).rejects.toThrow('aborted');
    const request = (await traceOf('left')).get('GET /v1/play/:stream_id/index.m3u8')!;
    expect(request.attributes).toMatchObject({ 'error.type': 'aborted' });
    expect(request.attributes).not.toHaveProperty('http.response.status_code');
    expect(request.status.code).not.toBe(FAILED);
  });

  it('contain no id of a user, no ticket, no signature and no secret, whatever the route', async () => {
    const user = 'the-user-ana';
    const get = async (path: string, method = 'GET') =>
      fetch(`${service.url}${path}`, {
        method,
        headers: { 'x-request-id': `${method} ${path}` },
        redirect: 'manual',
      });
    const playlist = await get(`/v1/play/film/index.m3u8?user_id=${user}&session_id=gate`);
    const folder = /s\/[^/\s]+\//.exec(await playlist.text())![0];
    const media = await get(`/v1/play/film/${folder}0/0.ts`);
    expect([playlist.status, media.status]).toEqual([200, 302]);
    const signature = new URL(media.headers.get('location')!).searchParams.get('signature')!;
    await get(`/v1/users/${user}/sessions`);
    await get(`/v1/users/${user}/sessions/tv`, 'DELETE');
    await get(`/v1/play/film/index.m3u8?ticket=HIDDEN-ticket`);
    await get(`/no/route/${user}`);
    await post({ stream_id: 'film', session_id: 'last' }, { 'x-request-id': 'last' });
    await traceOf('last');
    const all = collector.requests.map(({ body }) => body).join('\n');
    expect(all).toContain('GET /v1/users/:user_id/sessions');
    expect(all).toContain('/v1/play/:stream_id/s/:credential/:rendition/:name');
    for (const secret of [user, signature, 'HIDDEN']) expect(all).not.toContain(secret);
    expect(service.output()).not.toContain('HIDDEN');
  });

  it('do not hold a shutdown, although the collector does not answer', async () => {
    collector.silent = true;
    await post({ stream_id: 'film', session_id: 'last' });
    const started = performance.now();
    expect(await service.end()).toBe(0);
    expect(performance.now() - started).toBeLessThan(20_000);
  });
});

describe('a collector', () => {
  const collector = new Collector();
  beforeEach(() => collector.start());
  afterEach(async () => {
    await endServiceProcesses();
    await collector.stop();
  });

  it('that is away delays nobody, is logged once in the form of the log, and gets spans again when it is back', async () => {
    await collector.stop();
    const service = await startServiceProcess({
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/of/spans`,
      OTEL_EXPORTER_OTLP_TIMEOUT: '200',
    });
    const ask = async () => (await fetch(`${service.url}/v1/streams`)).status;
    const linesOf = (start: string) => logLines(service).filter(({ msg }) => String(msg).startsWith(start));
    const away = 'spans cannot be exported';
    expect(await ask()).toBe(200);
    await until(() => linesOf(away).length > 0);
    expect(await ask()).toBe(200);
    await collector.start();
    await until(async () => (await ask()) === 200 && linesOf('spans are exported again').length > 0);
    expect(linesOf(away)).toMatchObject([{ level: 'warn', reason: expect.stringContaining('ECONNREFUSED') }]);
    expect(linesOf('spans are exported again')).toMatchObject([{ level: 'info', lost: expect.any(Number) }]);
    // Each line has the form of the log: the SDK would write some of its own, also in JSON.
    expect(logLines(service).filter(({ level }) => level === undefined)).toEqual([]);
    // Without a protocol, spans are posted as protobuf, in which text stands as it is.
    expect(collector.requests[0]).toMatchObject({
      path: '/of/spans',
      type: 'application/x-protobuf',
      body: expect.stringContaining('GET /v1/streams'),
    });
  });

  it('gets the last spans at a shutdown, of the traces that the sampler chose; only then is the SDK loaded', async () => {
    const service = await startServiceProcess({
      ...watchModules(),
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0',
      SESSION_STORE: 'redis',
      REDIS_URL: 'redis://127.0.0.1:1',
      // Otherwise the first request would ask Redis for the layout, unless another question for it is under way.
      STORE_LAYOUT: '2',
    });
    const { trace, traceparent } = newTrace('01');
    for (const headers of [{}, { traceparent }])
      expect((await fetch(`${service.url}/v1/users/ana/sessions`, { headers })).status).toBe(503);
    expect(await service.end()).toBe(0);
    const type = { attributes: { 'error.type': 'store-unavailable' } };
    expect(collector.spans).toMatchObject([
      { name: 'store list', traceId: trace, attributes: { 'error.type': 'away' }, status: { code: FAILED } },
      { name: 'GET /v1/users/:user_id/sessions', traceId: trace, ...type, status: { code: FAILED } },
    ]);
    expect(loadedPackages(service)).toContain('sdk-trace');
  });

  it('that no variable names is not needed: of OpenTelemetry, only the API is loaded', async () => {
    const service = await startServiceProcess(watchModules());
    await fetch(`${service.url}/v1/streams`, { headers: { traceparent: newTrace('01').traceparent } });
    expect(await service.end()).toBe(0);
    expect(loadedPackages(service)).toEqual(new Set(['api']));
  });
});

/** The environment of a process that prints the URL of each module that it loads, by `require` or by `import`. */
function watchModules(): Record<string, string> {
  const watch = `import { registerHooks } from 'node:module';
    registerHooks({ load(url, context, next) {
      if (url.includes('@opentelemetry')) console.log('loaded ' + url);
      return next(url, context);
    } });`;
  return { NODE_OPTIONS: `--import "data:text/javascript,${encodeURIComponent(watch)}"` };
}

/** The packages of OpenTelemetry that a watched process has loaded. */
function loadedPackages({ output }: Pick<ServiceProcess, 'output'>): Set<string> {
  const loaded = output().matchAll(/^loaded .*node_modules\/@opentelemetry\/([\w-]+)\//gm);
  return new Set([...loaded].map(([, name]) => name!));
}
