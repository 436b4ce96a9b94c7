import { createHmac } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Clock } from '../clock.js';
import { Config } from '../config.js';
import { instant } from '../http/fields.js';
import { type SessionEvent, messageId } from '../sessions/session-events.js';
import { eventJson } from '../sessions/sessions.schemas.js';

/** How long a receiver may take. It had better take the event down and think later. */
const TIMEOUT_MS = 10_000;

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
  private readonly keys: readonly Buffer[];

  constructor(
    config: Config,
    private readonly clock: Clock,
  ) {
    this.url = config.CALLBACK_URL;
    this.keys = config.callbackKeys;
  }

  get enabled(): boolean {
    return this.url !== undefined;
  }

  /** Never rejects. `signal` breaks it off. */
  async send(event: SessionEvent, signal: AbortSignal): Promise<Sent> {
    try {
      const id = messageId(event);
      const timestamp = String(Math.floor(this.clock.now() / 1_000));
      const body = JSON.stringify({ type: event.type, timestamp: instant(event.at), data: eventJson(event) });
      const sign = (key: Buffer): string =>
        `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
      const reply = await fetch(this.url!, {
        method: 'POST',
        body,
        headers: {
          'content-type': 'application/json',
          'user-agent': 'Streamgate',
          'webhook-id': id,
          'webhook-timestamp': timestamp,
          'webhook-signature': this.keys.map(sign).join(' '),
        },
        // What was signed for this receiver is for no other.
        redirect: 'manual',
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
      await reply.body?.cancel();
      if (reply.ok) return { delivered: true };
      const seconds = /^\d{1,6}$/.exec(reply.headers.get('retry-after') ?? '')?.[0] ?? 0;
      return {
        delivered: false,
        failure: `the receiver answered ${reply.status}`,
        retryAfterMs: Number(seconds) * 1_000,
      };
    } catch (error) {
      const { name, cause } = error as Error & { cause?: { code?: string } };
      const failure =
        name === 'TimeoutError'
          ? `the receiver did not answer within ${TIMEOUT_MS / 1_000} s`
          : `the receiver could not be reached (${cause?.code ?? name})`;
      return { delivered: false, failure, retryAfterMs: 0 };
    }
  }
}
