import { IsIn, IsOptional } from 'class-validator';
import { Decimal, HTTP, Satisfies, isText, isUrl } from './checks.js';
import { type Given, Section, Variable, withoutEffect } from './variable.js';

const SAMPLERS = [
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
  'always_on',
  'always_off',
  'traceidratio',
] as const;

/** What the SDK of OpenTelemetry is started with. */
export interface TraceSettings {
  /** The URL that spans are posted to. */
  readonly url: string;
  readonly protocol: 'http/protobuf' | 'http/json';
  readonly headers: Readonly<Record<string, string>>;
  readonly resource: Readonly<Record<string, string>>;
  readonly sampler: (typeof SAMPLERS)[number];
  /** The share of traces that a sampler by ratio records, from 0 to 1. */
  readonly ratio: number;
}

/** The first part of the URL of a collector that nobody named, as OpenTelemetry defines it. */
const DEFAULT_ENDPOINT = 'http://localhost:4318';
const IS_PAIRS = 'must be pairs name=value, separated by commas, with other characters percent-encoded';

/** The traces: the standard variables of OpenTelemetry. */
export class TracesSection extends Section {
  static readonly title = 'Traces';

  static warnings(given: Given): string[] {
    const others = [
      'OTEL_EXPORTER_OTLP_PROTOCOL',
      'OTEL_EXPORTER_OTLP_HEADERS',
      'OTEL_TRACES_SAMPLER',
      'OTEL_TRACES_SAMPLER_ARG',
    ];
    const isNamed =
      given.OTEL_EXPORTER_OTLP_ENDPOINT !== undefined ||
      given.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT !== undefined ||
      given.OTEL_TRACES_EXPORTER !== undefined ||
      given.OTEL_SDK_DISABLED !== undefined;
    return isNamed
      ? []
      : withoutEffect(given, others, 'traces are off while OTEL_EXPORTER_OTLP_ENDPOINT is not set');
  }

  @Variable(
    {
      meaning:
        'the collector that spans are posted to by OTLP over HTTP, without `/v1/traces`, for example `http://collector:4318`; ' +
        'turns traces on',
    },
    IsOptional(),
    Satisfies('must be an http(s):// URL without credentials', isCollector),
  )
  readonly OTEL_EXPORTER_OTLP_ENDPOINT?: string;

  @Variable(
    { meaning: 'the whole URL instead, with its path' },
    IsOptional(),
    Satisfies('must be an http(s):// URL without credentials', isCollector),
  )
  readonly OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?: string;

  @Variable(
    {
      meaning: 'the form of what is posted: `http/protobuf` or `http/json`; gRPC is not supported',
      default: 'http/protobuf',
    },
    IsIn(['http/protobuf', 'http/json'], { message: 'must be http/protobuf or http/json' }),
  )
  readonly OTEL_EXPORTER_OTLP_PROTOCOL: TraceSettings['protocol'];

  @Variable(
    { meaning: 'headers for the collector: `name=value`, separated by commas', secret: true },
    IsOptional(),
    Satisfies(IS_PAIRS, isPairs),
  )
  readonly OTEL_EXPORTER_OTLP_HEADERS?: string;

  @Variable(
    {
      meaning:
        '`otlp`, which turns traces on also without a named collector, or `none`, which turns them off',
      defaultText: '`otlp` where a collector is named',
    },
    IsOptional(),
    IsIn(['otlp', 'none'], { message: 'must be otlp or none' }),
  )
  readonly OTEL_TRACES_EXPORTER?: 'otlp' | 'none';

  @Variable(
    { meaning: '`true` turns traces off, whatever the others say', default: 'false' },
    IsIn(['true', 'false'], { message: 'must be true or false' }),
  )
  readonly OTEL_SDK_DISABLED: 'true' | 'false';

  @Variable(
    {
      meaning: `which traces are recorded: one of ${SAMPLERS.map((name) => `\`${name}\``).join(', ')}`,
      default: 'parentbased_always_on',
    },
    IsIn(SAMPLERS, { message: `must be one of ${SAMPLERS.join(', ')}` }),
  )
  readonly OTEL_TRACES_SAMPLER: TraceSettings['sampler'];

  @Variable(
    { meaning: 'the share of traces that a sampler by ratio records, from 0 to 1', default: '1' },
    Decimal('must be a number from 0 to 1', (value) => value >= 0 && value <= 1),
  )
  readonly OTEL_TRACES_SAMPLER_ARG: number;

  @Variable(
    { meaning: '`service.name` of the spans', defaultText: '`streamgate`' },
    IsOptional(),
    Satisfies('must be text', isText),
  )
  readonly OTEL_SERVICE_NAME?: string;

  @Variable(
    {
      meaning:
        'further attributes of this instance in the spans, for example `deployment.environment.name=staging,service.instance.id=1`',
    },
    IsOptional(),
    Satisfies(IS_PAIRS, isPairs),
  )
  readonly OTEL_RESOURCE_ATTRIBUTES?: string;

  /** The settings of the SDK; undefined if traces are off. */
  get traces(): TraceSettings | undefined {
    const named = this.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? this.OTEL_EXPORTER_OTLP_ENDPOINT;
    const isOff = this.OTEL_SDK_DISABLED === 'true' || this.OTEL_TRACES_EXPORTER === 'none';
    if (isOff || (named === undefined && this.OTEL_TRACES_EXPORTER === undefined)) return undefined;
    return {
      url:
        this.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ??
        `${(named ?? DEFAULT_ENDPOINT).replace(/\/$/, '')}/v1/traces`,
      protocol: this.OTEL_EXPORTER_OTLP_PROTOCOL,
      headers: pairsOf(this.OTEL_EXPORTER_OTLP_HEADERS),
      resource: {
        'service.name': 'streamgate',
        ...pairsOf(this.OTEL_RESOURCE_ATTRIBUTES),
        ...(this.OTEL_SERVICE_NAME === undefined ? {} : { 'service.name': this.OTEL_SERVICE_NAME }),
      },
      sampler: this.OTEL_TRACES_SAMPLER,
      ratio: this.OTEL_TRACES_SAMPLER_ARG,
    };
  }

  get secretsOfTraces(): readonly string[] {
    return Object.values(pairsOf(this.OTEL_EXPORTER_OTLP_HEADERS));
  }
}

function isCollector(value: unknown): boolean {
  return isUrl(value, HTTP, 'refused');
}

/** Names and values as OpenTelemetry writes them: `a=1,b=2`, in percent-encoding. Throws URIError. */
function pairsOf(text: string | undefined): Record<string, string> {
  const pairs = (text ?? '').split(',').filter((pair) => pair.trim() !== '');
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name = '', ...value] = pair.split('=');
      return [name.trim(), decodeURIComponent(value.join('=').trim())];
    }),
  );
}

function isPairs(value: unknown): boolean {
  try {
    return (
      isText(value) &&
      value.split(',').every((pair) => /^\s*[\w.-]+\s*=/.test(pair)) &&
      pairsOf(value) !== undefined
    );
  } catch {
    return false;
  }
}
