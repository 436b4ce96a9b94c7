import { type IncomingMessage, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { LocalServer } from './local-server.js';

/** A span as a collector gets it, with its attributes by name. */
export interface CollectedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty or absent for the first span of a trace. */
  readonly parentSpanId?: string;
  readonly kind: number;
  readonly status: { readonly code?: number };
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly resource: Readonly<Record<string, unknown>>;
}

interface Attribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

/** The parts of a request of OTLP in JSON that the tests use. */
interface Request {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly (Omit<CollectedSpan, 'attributes' | 'resource'> & {
        readonly attributes: readonly Attribute[];
      })[];
    }[];
  }[];
}

/** A real HTTP server that collects spans by OTLP. It decodes JSON, and keeps the other form as it came. */
export class Collector extends LocalServer {
  readonly spans: CollectedSpan[] = [];
  /** The paths, types and bodies of all requests. */
  readonly requests: {
    readonly path: string;
    readonly type: string;
    readonly key: string;
    readonly body: string;
  }[] = [];
  /** Whether requests get no answer. */
  silent = false;

  protected handle(request: IncomingMessage, response: ServerResponse): void {
    const { 'content-type': type = '', 'x-key': key = '' } = request.headers;
    text(request)
      .then((body) => this.take({ path: request.url!, type, key: String(key), body }, response))
      .catch(() => response.destroy());
  }

  /** The spans of one trace. */
  of(traceId: string): CollectedSpan[] {
    return this.spans.filter((span) => span.traceId === traceId);
  }

  private take(request: Collector['requests'][number], response: ServerResponse): void {
    this.requests.push(request);
    if (this.silent) return;
    if (request.type === 'application/json') this.spans.push(...spansOf(JSON.parse(request.body) as Request));
    response
      .writeHead(200, { 'content-type': request.type })
      .end(request.type === 'application/json' ? '{}' : '');
  }
}

function spansOf({ resourceSpans }: Request): CollectedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        ...span,
        attributes: valuesOf(span.attributes),
        resource: valuesOf(resource.attributes),
      })),
    ),
  );
}

function valuesOf(attributes: readonly Attribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
