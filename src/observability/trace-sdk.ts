import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { DiagLogLevel, diag } from '@opentelemetry/api';
import { type ExportResult, ExportResultCode, W3CTraceContextPropagator } from '@opentelemetry/core';
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { VERSION } from '../config/effective.js';
import { type TraceSettings } from '../config/traces.js';
import { type TraceSdk } from './tracing.js';

/** Spans are posted after so long, or earlier in batches of this size. One batch is encoded in one turn of the event loop. */
const EXPORT_MS = 2_000;
const BATCH = 128;
/** Spans that wait while the collector is slow or away, about 2 KB each. Further spans are dropped. */
const MAX_WAITING = 2_048;
/** How long a shutdown waits for the collector. */
const SHUTDOWN_MS = 2_000;

/** Starts the SDK. This file and all that it imports are loaded only if traces are on. */
export async function startTraceSdk(settings: TraceSettings): Promise<TraceSdk> {
  const log = new Logger('Traces');
  const debug = (...words: unknown[]): void => log.debug(words.map(String).join(' '));
  // The SDK would write lines of its own form to stderr. Failures are logged once, by the exporter below.
  const lines = { error: debug, warn: debug, info: debug, debug, verbose: debug };
  diag.setLogger(lines, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
  const processor = new BatchSpanProcessor({
    exporter: new LoggedExporter(await openExporter(settings), log),
    scheduledDelayMillis: EXPORT_MS,
    maxExportBatchSize: BATCH,
    maxQueueSize: MAX_WAITING,
  });
  const provider = new TracerProvider({
    resource: defaultResource().merge(
      resourceFromAttributes({
        'service.version': VERSION,
        'service.instance.id': randomUUID(),
        ...settings.resource,
      }),
    ),
    sampler: samplerOf(settings),
    spanProcessors: [processor],
  });
  return {
    tracer: provider.getTracer('streamgate', VERSION),
    propagator: new W3CTraceContextPropagator(),
    shutdown: async () => {
      const flushed = provider.shutdown().catch(() => undefined);
      await Promise.race([flushed, sleep(SHUTDOWN_MS, undefined, { ref: false })]);
    },
  };
}

async function openExporter({ protocol, url, headers }: TraceSettings): Promise<SpanExporter> {
  const { OTLPTraceExporter } =
    protocol === 'http/json'
      ? await import('@opentelemetry/exporter-trace-otlp-http')
      : await import('@opentelemetry/exporter-trace-otlp-proto');
  return new OTLPTraceExporter({ url, headers: { ...headers } });
}

/** The samplers that OTEL_TRACES_SAMPLER names. */
function samplerOf({ sampler, ratio }: TraceSettings): Sampler {
  switch (sampler) {
    case 'always_on':
      return new AlwaysOnSampler();
    case 'always_off':
      return new AlwaysOffSampler();
    case 'traceidratio':
      return new TraceIdRatioBasedSampler(ratio);
    case 'parentbased_always_on':
      return new ParentBasedSampler({ root: new AlwaysOnSampler() });
    case 'parentbased_always_off':
      return new ParentBasedSampler({ root: new AlwaysOffSampler() });
    case 'parentbased_traceidratio':
      return new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) });
  }
}

/** Logs the first failure of the collector and its recovery. */
class LoggedExporter implements SpanExporter {
  /** Spans that were lost since the collector fails; 0 while it works. */
  private lost = 0;

  constructor(
    private readonly exporter: SpanExporter,
    private readonly log: Logger,
  ) {}

  export(spans: ReadableSpan[], done: (result: ExportResult) => void): void {
    this.exporter.export(spans, (result) => {
      if (result.code === ExportResultCode.SUCCESS) this.works();
      else this.failed(spans.length, result.error);
      done(result);
    });
  }

  async shutdown(): Promise<void> {
    await this.exporter.shutdown();
  }

  private works(): void {
    if (this.lost > 0) this.log.log({ lost: this.lost, msg: 'spans are exported again' });
    this.lost = 0;
  }

  private failed(spans: number, error: Error | undefined): void {
    if (this.lost === 0)
      this.log.warn({
        reason: error?.message ?? 'unknown',
        msg: 'spans cannot be exported; further failures are not logged until it works again',
      });
    this.lost += spans;
  }
}
