import { type KeyObject, createHmac, createSecretKey } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Agent, request } from 'undici';
import { Clock } from '../clock.js';
import { Config } from '../config.js';
import { instant } from '../http/fields.js';
import { type SessionEvent, messageId } from '../sessions/session-events.js';
import { eventJson } from '../sessions/sessions.schemas.js';

/** How long a receiver may take. It had better take the event down and think later. */
const TIMEOUT_MS = 10_000;
/** What it answers beside the status interests nobody. */
const MAX_ANSWER_BYTES = 16 * 1024;
const ANSWER_TIMEOUT_MS = 1_000;

/** What became of one try. */
export type Sent =
  | { readonly delivered: true }
  | {
      readonly delivered: false;
      /** Why, in words that hold neither the URL nor what the receiver answered: they go into logs. */
      readonly failure: string;
      /** How long the receiver asked to be left alone. */
      readonly retryAfterMs: number;
    };

/** Posts events in the form of Standard Webhooks (https://www.standardwebhooks.com), signed with every key. */
@Injectable()
export class CallbackSender {
  private readonly url: string | undefined;
  private readonly keys: readonly KeyObject[];
  /** Its own connections, kept open. */
  private readonly dispatcher = new Agent();

  constructor(
    config: Config,
    private readonly clock: Clock,
  ) {
    this.url = config.CALLBACK_URL;
    this.keys = config.callbackKeys.map((key) => createSecretKey(key));
  }

  get enabled(): boolean {
    return this.url !== undefined;
  }

  /** Never rejects. `signal` breaks it off. */
  async send(event: SessionEvent, signal: AbortSignal): Promise<Sent> {
    // Not AbortSignal.timeout, which would outlive the request: thousands of them make every garbage collection long.
    const ending = new AbortController();
    const end = (): void => ending.abort();
    let timedOut = false;
    let timer = setTimeout(() => {
      timedOut = true;
      end();
    }, TIMEOUT_MS);
    signal.addEventListener('abort', end);
    try {
      signal.throwIfAborted();
      const id = messageId(event);
      const timestamp = String(Math.floor(this.clock.now() / 1_000));
      const body = JSON.stringify({ type: event.type, timestamp: instant(event.at), data: eventJson(event) });
      const sign = (key: KeyObject): string =>
        `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
      // Unlike fetch it follows no redirect: what was signed for this receiver is for no other. It takes half the work.
      const {
        statusCode,
        headers,
        body: answer,
      } = await request(this.url!, {
        dispatcher: this.dispatcher,
        method: 'POST',
        body,
        headers: {
          'content-type': 'application/json',
          'user-agent': 'Streamgate',
          'webhook-id': id,
          'webhook-timestamp': timestamp,
          'webhook-signature': this.keys.map(sign).join(' '),
        },
        signal: ending.signal,
      });
      clearTimeout(timer);
      timer = setTimeout(end, ANSWER_TIMEOUT_MS);
      // Read to its end, so that the connection can be used again; one that goes on and on is closed.
      await answer.dump({ limit: MAX_ANSWER_BYTES }).catch(() => undefined);
      if (statusCode >= 200 && statusCode < 300) return { delivered: true };
      const seconds = /^\d{1,6}$/.exec(String(headers['retry-after'] ?? ''))?.[0] ?? 0;
      return {
        delivered: false,
        failure: `the receiver answered ${statusCode}`,
        retryAfterMs: Number(seconds) * 1_000,
      };
    } catch (error) {
      const { name, code } = error as Error & { code?: string };
      const failure = timedOut
        ? `the receiver did not answer within ${TIMEOUT_MS / 1_000} s`
        : `the receiver could not be reached (${code ?? name})`;
      return { delivered: false, failure, retryAfterMs: 0 };
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
    }
  }
}
