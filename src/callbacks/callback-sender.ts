import { type KeyObject, createHmac, createSecretKey } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Agent, type Dispatcher } from 'undici';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { type SessionEvent, messageId } from '../sessions/session-events.js';
import { callbackJson } from '../sessions/sessions.schemas.js';

/** How long a receiver may take. It had better take the event down and think later. */
const TIMEOUT_MS = 10_000;
/** What it answers beside the status interests nobody. */
const MAX_ANSWER_BYTES = 16 * 1024;
const ANSWER_TIMEOUT_MS = 1_000;

/** A try that failed. */
export interface Failed {
  readonly delivered: false;
  /** Why, in words that hold neither the URL nor what the receiver answered: they go into logs. */
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

/** Posts events in the form of Standard Webhooks (https://www.standardwebhooks.com), signed with every key. */
@Injectable()
export class CallbackSender {
  private readonly target: { readonly origin: string; readonly path: string } | undefined;
  private readonly keys: readonly KeyObject[];
  /** Its own connections, kept open. */
  private readonly agent = new Agent();

  constructor(
    config: Config,
    private readonly clock: Clock,
  ) {
    if (config.CALLBACK_URL !== undefined) {
      const { origin, pathname, search } = new URL(config.CALLBACK_URL);
      this.target = { origin, path: pathname + search };
    }
    this.keys = config.callbackKeys.map((key) => createSecretKey(key));
  }

  get enabled(): boolean {
    return this.target !== undefined;
  }

  /** Never rejects. `signal` breaks it off. */
  async send(event: SessionEvent, signal: AbortSignal): Promise<Sent> {
    if (signal.aborted) return notAnswered('broken off');
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
    };
    const post = new Post(this.agent, { ...this.target!, method: 'POST', headers, body });
    const breakOff = (): void => post.abort('broken off');
    signal.addEventListener('abort', breakOff);
    try {
      const { status, retryAfter } = await post.answered;
      if (status >= 200 && status < 300) return { delivered: true };
      const retryAfterMs = readRetryAfter(retryAfter, this.clock.now());
      const failure = `the receiver answered ${status}`;
      return { delivered: false, failure, asks: askedBy(status, retryAfterMs), retryAfterMs };
    } catch (error) {
      const { name, code } = error as Error & { code?: string };
      const failure =
        error instanceof NoAnswer ? error.message : `the receiver could not be reached (${code ?? name})`;
      return notAnswered(failure);
    } finally {
      signal.removeEventListener('abort', breakOff);
    }
  }
}

function notAnswered(failure: string): Failed {
  return { delivered: false, failure, asks: 'retry', retryAfterMs: 0 };
}

/** As Standard Webhooks has it. */
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
  if (/^\d{1,6}$/.test(value)) return Number(value) * 1_000;
  // The form of asctime names no zone, and Date would take it for local time.
  const date = ASCTIME_DATE.test(value) ? `${value} GMT` : HTTP_DATE.test(value) ? value : '';
  const at = Date.parse(date);
  return Number.isNaN(at) ? 0 : Math.max(0, at - now);
}

class NoAnswer extends Error {}

interface Answer {
  readonly status: number;
  readonly retryAfter: string;
}

/**
 * One request, and what it is answered. Unlike fetch it follows no redirect: what was signed for this receiver is for no
 * other. And undici's own `request` leaves behind what lives too long (see ShortLivedCommand).
 */
class Post implements Dispatcher.DispatchHandler {
  /** Once its answer was read to its end, so that the connection can be used again. Rejects where there is none. */
  readonly answered: Promise<Answer>;
  private readonly resolve: (answer: Answer) => void;
  private readonly reject: (error: Error) => void;
  private controller: Dispatcher.DispatchController | undefined;
  private aborted: Error | undefined;
  private answer: Answer | undefined;
  private bytes = 0;
  private timer: NodeJS.Timeout;

  constructor(agent: Agent, options: Dispatcher.DispatchOptions) {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    [this.answered, this.resolve, this.reject] = [promise, resolve, reject];
    this.timer = setTimeout(
      () => this.abort(`the receiver did not answer within ${TIMEOUT_MS / 1_000} s`),
      TIMEOUT_MS,
    );
    agent.dispatch(options, this);
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

  /** Whatever became of the rest of it, an answer is its status. */
  private settle(error?: Error): void {
    clearTimeout(this.timer);
    if (this.answer) this.resolve(this.answer);
    else this.reject(error!);
  }
}
