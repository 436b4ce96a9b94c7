import { randomBytes } from 'node:crypto';
import { IsOptional, ValidateIf } from 'class-validator';
import { EVENT_TYPES, type EventType } from '../sessions/session-events.js';
import { HTTP, List, Satisfies, WholeNumber, isText, isUrl } from './checks.js';
import { type Given, Section, Variable, isProduction, withoutEffect } from './variable.js';

/** The shortest key, in bytes, that Standard Webhooks recommends. */
const SAFE_KEY = 24;
/** The beginning of a secret of Standard Webhooks. */
const WEBHOOK_SECRET = 'whsec_';

/** The callbacks: the receiver, the secrets and the events. */
export class CallbacksSection extends Section {
  static readonly title = 'Callbacks';

  static warnings(given: Given): string[] {
    const { CALLBACK_URL: url, CALLBACK_SECRET: secret } = given;
    const ofSecret =
      url !== undefined && secret === undefined
        ? ['CALLBACK_SECRET is not set: callbacks are signed with one made at start, which nobody can check']
        : secret && webhookKeys(secret).some((key) => key.length < SAFE_KEY)
          ? [`CALLBACK_SECRET is short: give at least ${SAFE_KEY} random bytes, in base64`]
          : [];
    const others = ['CALLBACK_SECRET', 'CALLBACK_EVENTS', 'CALLBACK_MAX_TRIES'];
    return [
      ...(url === undefined ? withoutEffect(given, others, 'CALLBACK_URL is not set') : []),
      ...ofSecret,
    ];
  }

  @Variable(
    {
      meaning: 'where events are posted',
      defaultText: 'none: nothing is posted',
      secret: true,
      shared: true,
    },
    IsOptional(),
    Satisfies('must be an http(s):// URL without credentials', (value) => isUrl(value, HTTP, 'refused')),
  )
  readonly CALLBACK_URL?: string;

  @Variable(
    {
      meaning: '`whsec_` and 24 to 64 bytes in base64; several, separated by spaces, during a change',
      default: (given) =>
        isProduction(given) || !given.CALLBACK_URL
          ? undefined
          : WEBHOOK_SECRET + randomBytes(32).toString('base64'),
      defaultText: 'made at start; in production required',
      secret: true,
      shared: true,
    },
    ValidateIf(
      (config: CallbacksSection) => config.CALLBACK_URL !== undefined || config.CALLBACK_SECRET !== undefined,
    ),
    Satisfies(
      'must be whsec_ and base64, or several of these, separated by spaces; production needs it for CALLBACK_URL',
      areWebhookSecrets,
    ),
  )
  readonly CALLBACK_SECRET?: string;

  @Variable(
    {
      meaning: 'which events, with commas between',
      default: 'session.expired,session.ended',
      shared: true,
    },
    List(`must be a list of ${EVENT_TYPES.join(', ')}, separated by commas`, (type) =>
      EVENT_TYPES.includes(type as EventType),
    ),
  )
  readonly CALLBACK_EVENTS: readonly EventType[];

  @Variable(
    { meaning: 'tries before an event becomes a dead letter', default: '20', shared: true },
    WholeNumber(1, 100),
  )
  readonly CALLBACK_MAX_TRIES: number;

  /** The types of events to deliver; none without a receiver. */
  get wantedEvents(): readonly EventType[] {
    return this.CALLBACK_URL === undefined ? [] : this.CALLBACK_EVENTS;
  }

  /** The keys that sign callbacks, one signature each. */
  get callbackKeys(): readonly Buffer[] {
    return webhookKeys(this.CALLBACK_SECRET ?? '');
  }
}

/** One secret, or several, separated by spaces, while it is being replaced: the new one and the older ones. */
function areWebhookSecrets(value: unknown): boolean {
  return (
    isText(value) &&
    value.split(' ').every((secret) => /^whsec_([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2,3}=*)?$/.test(secret)) &&
    webhookKeys(value).every((key) => key.length > 0)
  );
}

function webhookKeys(secrets: string): Buffer[] {
  return secrets.split(' ').map((secret) => Buffer.from(secret.slice(WEBHOOK_SECRET.length), 'base64'));
}
