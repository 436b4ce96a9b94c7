import { type IncomingHttpHeaders } from 'node:http';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import {
  type Attributes,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapPropagator,
  TraceFlags,
  type Tracer,
  defaultTextMapGetter,
  defaultTextMapSetter,
  trace,
} from '@opentelemetry/api';

/** The SDK of OpenTelemetry, which is loaded only if traces are on. */
export interface TraceSdk {
  readonly tracer: Tracer;
  /** Reads and writes the headers that continue a trace in another service. */
  readonly propagator: TextMapPropagator;
  /** Posts the spans that wait, within a bound. Never rejects. */
  shutdown(): Promise<void>;
}

const KINDS = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  internal: SpanKind.INTERNAL,
} as const satisfies Record<string, SpanKind>;

/**
 * Begins traces. Every module can depend on this file, which imports no other module. Spans below a request begin with
 * `currentSpan()` of request-notes.ts.
 *
 * No name and no attribute of a span may contain the id of a user, a token, a ticket, a signature or a URL with one of them.
 */
@Injectable()
export class Tracing implements OnApplicationShutdown {
  /** Without an SDK, traces are off. */
  constructor(private readonly sdk?: TraceSdk) {}

  get isOn(): boolean {
    return this.sdk !== undefined;
  }

  /** Begins a trace, or continues the trace in the headers of a caller. Undefined if traces are off. */
  begin(
    name: string,
    kind: keyof typeof KINDS,
    attributes: Attributes,
    headers: IncomingHttpHeaders = {},
  ): OpenSpan | undefined {
    if (this.sdk === undefined) return undefined;
    const { tracer, propagator } = this.sdk;
    const parent = propagator.extract(ROOT_CONTEXT, headers, defaultTextMapGetter);
    return new OpenSpan(this.sdk, tracer.startSpan(name, { kind: KINDS[kind], attributes }, parent));
  }

  /** At the very end, when all requests are answered. */
  async onApplicationShutdown(): Promise<void> {
    await this.sdk?.shutdown();
  }
}

/** What a span of a request to another server tells about the server. */
export function serverAttributes({ hostname, port, protocol }: URL): Record<string, string | number> {
  return { 'server.address': hostname, 'server.port': Number(port || (protocol === 'https:' ? 443 : 80)) };
}

/** A span that has begun. It is reported once it has ended, if its trace is sampled. */
export class OpenSpan {
  constructor(
    private readonly sdk: TraceSdk,
    private readonly span: Span,
  ) {}

  get traceId(): string {
    return this.span.spanContext().traceId;
  }

  /** Begins a span below this one, which may have ended. Undefined if the trace is not sampled. */
  child(name: string, kind: keyof typeof KINDS, attributes: Attributes): OpenSpan | undefined {
    if ((this.span.spanContext().traceFlags & TraceFlags.SAMPLED) === 0) return undefined;
    const options = { kind: KINDS[kind], attributes };
    return new OpenSpan(this.sdk, this.sdk.tracer.startSpan(name, options, this.asParent()));
  }

  /** The headers of a request to another service that continue this trace there. */
  headers(): Record<string, string> {
    const headers: Record<string, string> = {};
    this.sdk.propagator.inject(this.asParent(), headers, defaultTextMapSetter);
    return headers;
  }

  set(attributes: Attributes): void {
    this.span.setAttributes(attributes);
  }

  /** Marks the span as failed. `type`: a name of the failure, of which there are few. */
  fail(type: string): void {
    this.span.setAttribute('error.type', type);
    this.span.setStatus({ code: SpanStatusCode.ERROR });
  }

  end(): void {
    this.span.end();
  }

  private asParent(): ReturnType<typeof trace.setSpan> {
    return trace.setSpan(ROOT_CONTEXT, this.span);
  }
}
