import { ConfigError, readConfig } from './config.js';

const tracesOf = (environment: Record<string, string>) => readConfig(environment).traces;

describe('the variables of OpenTelemetry', () => {
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' };

  it('turn traces on if they name a collector or the exporter, and off if they say so', () => {
    expect(tracesOf({})).toBeUndefined();
    expect(tracesOf({ OTEL_SERVICE_NAME: 'limits' })).toBeUndefined();
    expect(tracesOf({ OTEL_TRACES_EXPORTER: 'otlp' })?.url).toBe('http://localhost:4318/v1/traces');
    expect(tracesOf({ ...endpoint, OTEL_TRACES_EXPORTER: 'none' })).toBeUndefined();
    expect(tracesOf({ ...endpoint, OTEL_SDK_DISABLED: 'true' })).toBeUndefined();
  });

  it('name the collector by its base, or by the whole URL', () => {
    expect(tracesOf(endpoint)?.url).toBe('http://collector:4318/v1/traces');
    expect(tracesOf({ OTEL_EXPORTER_OTLP_ENDPOINT: 'https://a/otlp/' })?.url).toBe(
      'https://a/otlp/v1/traces',
    );
    expect(tracesOf({ ...endpoint, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://b/x' })?.url).toBe(
      'http://b/x',
    );
  });

  it('describe this instance and the sampler, with values in percent-encoding', () => {
    expect(tracesOf(endpoint)).toMatchObject({
      protocol: 'http/protobuf',
      headers: {},
      resource: { 'service.name': 'streamgate' },
      sampler: 'parentbased_always_on',
      ratio: 1,
    });
    const given = {
      ...endpoint,
      OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20a%3Db, x-tenant = 1',
      OTEL_RESOURCE_ATTRIBUTES: 'service.name=other,cloud.region=eu',
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.05',
    };
    expect(tracesOf(given)).toMatchObject({
      headers: { authorization: 'Bearer a=b', 'x-tenant': '1' },
      resource: { 'service.name': 'other', 'cloud.region': 'eu' },
      sampler: 'parentbased_traceidratio',
      ratio: 0.05,
    });
    expect(tracesOf({ ...given, OTEL_SERVICE_NAME: 'limits' })?.resource['service.name']).toBe('limits');
  });

  it('have headers that no line of the log may contain', () => {
    const { secrets } = readConfig({ ...endpoint, OTEL_EXPORTER_OTLP_HEADERS: 'x-key=a%20long%20secret' });
    expect(secrets).toContain('a long secret');
  });

  it.each([
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4318'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'http://user:password@collector:4318'],
    ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc'],
    ['OTEL_EXPORTER_OTLP_HEADERS', 'no pair'],
    ['OTEL_EXPORTER_OTLP_HEADERS', 'a=%ff'],
    ['OTEL_TRACES_EXPORTER', 'console'],
    ['OTEL_TRACES_SAMPLER', 'sometimes'],
    ['OTEL_TRACES_SAMPLER_ARG', '1.1'],
  ])('are refused if they are not supported: %s=%s', (name, value) => {
    const read = () => readConfig({ ...endpoint, [name]: value });
    expect(read).toThrow(ConfigError);
    expect(read).toThrow(`${name}: must be`);
  });

  it('get a warning if they have no effect', () => {
    expect(readConfig({ OTEL_TRACES_SAMPLER: 'always_on' }).warnings).toEqual([
      'OTEL_TRACES_SAMPLER has no effect: traces are off while OTEL_EXPORTER_OTLP_ENDPOINT is not set',
    ]);
  });
});
