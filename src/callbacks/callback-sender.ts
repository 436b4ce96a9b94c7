import { type KeyObject, createHmac, createSecretKey } from 'node:crypto';
import { Agent, type Dispatcher } from 'undici';
import { type Clock } from '../clock.js';
import { type ReceiverSettings } from '../config/callbacks.js';
import { type OpenSpan, Tracing, serverAttributes } from '../observability/tracing.js';
import { type SessionEvent, messageId } from '../sessions/session-events.js';
import { callbackJson } from '../sessions/sessions.schemas.js';

/** How long a receiver may take to answer. A receiver should store the event and process it later. */
const TIMEOUT_MS = 10_000;
/** Only the status of an answer is used. A longer answer is cut off. */
const MAX_ANSWER_BYTES = 16 * 1024;
const ANSWER_TIMEOUT_MS = 1_000;

/** A try that failed. */
export interface Failed {
  readonly delivered: false;
  /** Whether the receiver answered at all. */
  readonly answered: boolean;
  /** The reason, for the log. It contains neither the URL nor text from the receiver. */
  readonly failure: string;
  /**
   * What the receiver asks for. `retry`: this event again. `rest`: nothing at all for a while, because it is busy (429, and
   * 503 with Retry-After). `stop`: nothing any more, because it is gone (410).
   */
  readonly asks: 'retry' | 'rest' | 'stop';
  /** The Retry-After of its answer in milliseconds; 0 without one. */
  readonly retryAfterMs: number;
}

/** The outcome of one try. */
export type Sent = { readonly delivered: true } | Failed;

/** Posts events to one receiver in the form of Standard Webhooks (https://www.standardwebhooks.com), signed with every key. */
export class CallbackSender {
  private readonly target: { readonly origin: string; readonly path: string };
  /** Of each span. They have no URL: its path or query may be a secret. */
  private readonly attributes: Readonly<Record<string, string | number>>;
  private readonly keys: readonly KeyObject[];

  constructor(
    { receiver, url, keys }: Pick<ReceiverSettings, 'receiver' | 'url' | 'keys'>,
    private readonly clock: Clock,
    private readonly tracing = new Tracing(),
    /** The connections of this receiver, kept open. */
    private readonly dispatcher: Dispatcher = new Agent(),
  ) {
    const target = new URL(url);
    this.target = { origin: target.origin, path: target.pathname + target.search };
    this.attributes = {
      'http.request.method': 'POST',
      ...serverAttributes(target),
      'streamgate.receiver': receiver,
    };
    this.keys = keys.map((key) => createSecretKey(key));
  }

  /** Never rejects. `signal` aborts the request. */
  async send(event: SessionEvent, signal: AbortSignal): Promise<Sent> {
    if (signal.aborted) return notAnswered('broken off');
    const span = this.beginSpan(event);
    const id = messageId(event);
    const timestamp = String(Math.floor(this.clock.now() / 1_000));
    const body = JSON.stringify(callbackJson(event));
    const sign = (key: KeyObject): string =>
      `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
    const headers = {
      'content-type': 'application/json',
      'user-agent': 'Streamgate',
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': this.keys.map(sign).join(' '),
      ...span?.headers(),
    };
    const post = new Post(this.dispatcher, { ...this.target, method: 'POST', headers, body });
    const breakOff = (): void => post.abort('broken off');
    signal.addEventListener('abort', breakOff);
    try {
      const { status, retryAfter } = await post.answered;
      span?.set({ 'http.response.status_code': status });
      if (status >= 200 && status < 300) return { delivered: true };
      const retryAfterMs = readRetryAfter(retryAfter, this.clock.now());
      span?.fail(String(status));
      const failure = `the receiver answered ${status}`;
      return { delivered: false, answered: true, failure, asks: askedBy(status, retryAfterMs), retryAfterMs };
    } catch (error) {
      const { name, code } = error as Error & { code?: string };
      span?.fail(code ?? name);
      const failure =
        error instanceof NoAnswer ? error.message : `the receiver could not be reached (${code ?? name})`;
      return notAnswered(failure);
    } finally {
      signal.removeEventListener('abort', breakOff);
      span?.end();
    }
  }

  /**
   * Each try begins a trace of its own. The store does not keep the trace of the request that caused an event: the event may
   * be delivered hours later and by another instance, and some events have no request. Its session is in both traces.
   */
  private beginSpan({ type, sessionId }: SessionEvent): OpenSpan | undefined {
    return this.tracing.begin(`callback ${type}`, 'client', {
      ...this.attributes,
      'streamgate.event': type,
      'streamgate.session_id': sessionId,
    });
  }
}

function notAnswered(failure: string): Failed {
  return { delivered: false, answered: false, failure, asks: 'retry', retryAfterMs: 0 };
}

/** What a status asks for, by the specification of Standard Webhooks. */
function askedBy(status: number, retryAfterMs: number): Failed['asks'] {
  if (status === 410) return 'stop';
  return status === 429 || (status === 503 && retryAfterMs > 0) ? 'rest' : 'retry';
}

const HTTP_DATE =
  /^(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT)$/;
const ASCTIME_DATE = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/;

/**
 * The wait, in milliseconds, that a Retry-After asks for (RFC 9110, 10.2.3): seconds, or a date in any of the three forms
 * that recipients must accept (5.6.7). 0 for a date that is over, and for anything else.
 */
function readRetryAfter(value: string, now: number): number {
  if (/^\d{1,12}$/.test(value)) return Number(value) * 1_000;
  // The form of asctime names no zone, and Date would take it for local time.
  const date = ASCTIME_DATE.test(value) ? `${value} GMT` : HTTP_DATE.test(value) ? value : '';
  const at = Date.parse(date);
  return Number.isNaN(at) ? 0 : Math.max(0, at - now);
}

class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
}

interface Answer {
  readonly status: number;
  readonly retryAfter: string;
}

/**
 * One request and its answer. Unlike fetch it follows no redirect, because the signature is meant for this receiver only.
 * undici's own `request` is not used, because it leaves objects that live too long (see ShortLivedCommand).
 */
class Post implements Dispatcher.DispatchHandler {
  /** Resolves when the answer is read to its end, so that the connection can be used again. Rejects without an answer. */
  readonly answered: Promise<Answer>;
  private readonly resolve: (answer: Answer) => void;
  private readonly reject: (error: Error) => void;
  private controller: Dispatcher.DispatchController | undefined;
  private aborted: Error | undefined;
  private answer: Answer | undefined;
  private bytes = 0;
  private timer: NodeJS.Timeout;

  constructor(dispatcher: Dispatcher, options: Dispatcher.DispatchOptions) {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    [this.answered, this.resolve, this.reject] = [promise, resolve, reject];
    this.timer = setTimeout(
      () => this.abort(`the receiver did not answer within ${TIMEOUT_MS / 1_000} s`),
      TIMEOUT_MS,
    );
    dispatcher.dispatch(options, this);
  }

  abort(reason: string): void {
    this.aborted = new NoAnswer(reason);
    this.controller?.abort(this.aborted);
    this.settle(this.aborted);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.aborted) controller.abort(this.aborted);
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Readonly<Record<string, string | string[] | undefined>>,
  ): void {
    if (status < 200) return;
    this.answer = { status, retryAfter: String(headers['retry-after'] ?? '') };
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.abort('the answer does not end'), ANSWER_TIMEOUT_MS);
  }

  onResponseData(_controller: Dispatcher.DispatchController, { length }: Buffer): void {
    this.bytes += length;
    if (this.bytes > MAX_ANSWER_BYTES) this.abort('the answer is too long');
  }

  onResponseEnd(): void {
    this.settle();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.settle(error);
  }

  /** The status of an answer is enough, even if the rest of it failed. */
  private settle(error?: Error): void {
    clearTimeout(this.timer);
    if (this.answer) this.resolve(this.answer);
    else this.reject(error!);
  }
}
