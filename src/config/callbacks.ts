import { randomBytes } from 'node:crypto';
import { IsOptional, ValidateIf } from 'class-validator';
import {
  DEFAULT_RECEIVER,
  EVENT_TYPES,
  type EventType,
  type Subscription,
} from '../sessions/session-events.js';
import { HTTP, HasNoFault, List, Satisfies, WholeNumber, isText, isUrl } from './checks.js';
import { type Given, Section, Variable, isProduction, withoutEffect } from './variable.js';

/** The shortest key, in bytes, that Standard Webhooks recommends. */
const SAFE_KEY = 24;
/** The beginning of a secret of Standard Webhooks. */
const WEBHOOK_SECRET = 'whsec_';
/** Each receiver has an outbox of its own in the store, and each event is written once for each receiver that wants it. */
const MAX_RECEIVERS = 8;
/** Names appear in keys of the store, in metrics and in the log. */
const RECEIVER_NAME = /^[a-z0-9][a-z0-9.-]{0,62}$/;

/** A receiver of callbacks. */
export interface ReceiverSettings extends Subscription {
  readonly url: string;
  /** The keys that sign its callbacks, one signature each. */
  readonly keys: readonly Buffer[];
}

/** One receiver of CALLBACK_URLS, as it was given. */
interface GivenReceiver {
  readonly name: string;
  readonly url: string;
  readonly events?: readonly EventType[];
  readonly secret?: string;
}

/** The callbacks: the receivers, their secrets and their events. */
export class CallbacksSection extends Section {
  static readonly title = 'Callbacks';

  static warnings(given: Given): string[] {
    const { CALLBACK_SECRET: secret } = given;
    const others = ['CALLBACK_SECRET', 'CALLBACK_EVENTS', 'CALLBACK_MAX_TRIES'];
    if (!hasReceiver(given)) return withoutEffect(given, others, 'CALLBACK_URL is not set');
    const receivers = listedReceivers(given.CALLBACK_URLS);
    const ownSecrets = receivers.flatMap((one) => one.secret ?? []);
    const needsCommon = receivers.length === 0 || ownSecrets.length < receivers.length;
    return [
      ...(needsCommon && secret === undefined
        ? ['CALLBACK_SECRET is not set: callbacks are signed with one made at start, which nobody can check']
        : []),
      ...(secret !== undefined && isShort(secret)
        ? [`CALLBACK_SECRET is short: give at least ${SAFE_KEY} random bytes, in base64`]
        : []),
      ...(ownSecrets.some(isShort)
        ? [`CALLBACK_URLS has a secret that is short: give at least ${SAFE_KEY} random bytes, in base64`]
        : []),
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
    Satisfies('must be an http(s):// URL without credentials', isReceiverUrl),
  )
  readonly CALLBACK_URL?: string;

  @Variable(
    {
      meaning:
        'several receivers instead: URLs with spaces between, or JSON: `[{"name", "url", "events"?, "secret"?}]`, where ' +
        '`CALLBACK_EVENTS` and `CALLBACK_SECRET` are the defaults',
      secret: true,
      shared: true,
    },
    IsOptional(),
    HasNoFault((value, { CALLBACK_URL, CALLBACK_SECRET }: CallbacksSection) =>
      CALLBACK_URL === undefined
        ? faultOfReceivers(value, CALLBACK_SECRET !== undefined)
        : 'must not be set beside CALLBACK_URL: list that URL too, with the name "default"',
    ),
  )
  readonly CALLBACK_URLS?: string;

  @Variable(
    {
      meaning: '`whsec_` and 24 to 64 bytes in base64; several, separated by spaces, during a change',
      default: (given) =>
        isProduction(given) || !hasReceiver(given)
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
    List(`must be a list of ${EVENT_TYPES.join(', ')}, separated by commas`, isEventType),
  )
  readonly CALLBACK_EVENTS: readonly EventType[];

  @Variable(
    { meaning: 'tries before an event becomes a dead letter', default: '20', shared: true },
    WholeNumber(1, 100),
  )
  readonly CALLBACK_MAX_TRIES: number;

  /** The receivers of callbacks. */
  get receivers(): readonly ReceiverSettings[] {
    const all: readonly GivenReceiver[] =
      this.CALLBACK_URL === undefined
        ? listedReceivers(this.CALLBACK_URLS)
        : [{ name: DEFAULT_RECEIVER, url: this.CALLBACK_URL }];
    return all.map(({ name, url, events = this.CALLBACK_EVENTS, secret = this.CALLBACK_SECRET }) => ({
      receiver: name,
      url,
      events,
      keys: webhookKeys(secret!),
    }));
  }

  /** The outboxes in the store. Without a receiver, the one of CALLBACK_URL, which may have events of an earlier time. */
  get subscriptions(): readonly Subscription[] {
    const { receivers } = this;
    return receivers.length > 0 ? receivers : [{ receiver: DEFAULT_RECEIVER, events: [] }];
  }

  /** The URLs and secrets of CALLBACK_URLS, which no log may contain. */
  get secretsOfReceivers(): readonly string[] {
    return listedReceivers(this.CALLBACK_URLS).flatMap(({ url, secret = '' }) => [url, ...secret.split(' ')]);
  }
}

function hasReceiver({ CALLBACK_URL, CALLBACK_URLS }: Given): boolean {
  return (CALLBACK_URL ?? CALLBACK_URLS) !== undefined;
}

/** The receivers of a valid CALLBACK_URLS; none of an invalid one. */
function listedReceivers(value: string | undefined): readonly GivenReceiver[] {
  return value === undefined || faultOfReceivers(value, true) !== undefined ? [] : parseReceivers(value)!;
}

/** URLs get their host as the name. Undefined: the JSON is not a list of objects. */
function parseReceivers(value: string): readonly GivenReceiver[] | undefined {
  const text = value.trim();
  if (!text.startsWith('['))
    return text.split(/\s+/).map((url) => ({ name: URL.parse(url)?.host.replace(':', '-') ?? '', url }));
  try {
    const list = JSON.parse(text) as unknown[];
    return list.every((one) => typeof one === 'object' && one !== null && !Array.isArray(one))
      ? (list as GivenReceiver[])
      : undefined;
  } catch {
    return undefined;
  }
}

/** What is wrong with CALLBACK_URLS. */
function faultOfReceivers(value: unknown, hasCommonSecret: boolean): string | undefined {
  const receivers = isText(value) ? parseReceivers(value) : undefined;
  if (receivers === undefined || receivers.length === 0)
    return 'must be URLs, separated by spaces, or a JSON list of objects with name, url, events and secret';
  if (receivers.length > MAX_RECEIVERS) return `must have at most ${MAX_RECEIVERS} receivers`;
  for (const [index, receiver] of receivers.entries()) {
    const fault = faultOfReceiver(receiver, hasCommonSecret);
    if (fault !== undefined) return `must be a list of valid receivers, but number ${index + 1} ${fault}`;
  }
  return new Set(receivers.map(({ name }) => name)).size < receivers.length
    ? 'must give each receiver another name; URLs of one host need the JSON form, with names'
    : undefined;
}

function faultOfReceiver(given: GivenReceiver, hasCommonSecret: boolean): string | undefined {
  const { name, url, events, secret, ...unknown } = given as { [Member in keyof GivenReceiver]: unknown };
  if (Object.keys(unknown).length > 0) return 'has a member that is not name, url, events or secret';
  if (!isReceiverUrl(url)) return 'has no http(s):// URL without credentials';
  if (!isText(name) || !RECEIVER_NAME.test(name)) return 'has no name of up to 63 of a-z 0-9 . -';
  if (events !== undefined && !(Array.isArray(events) && events.length > 0 && events.every(isEventType)))
    return `has events that are not a list of ${EVENT_TYPES.join(', ')}`;
  if (secret === undefined && !hasCommonSecret) return 'has no secret, and CALLBACK_SECRET is not set';
  return secret === undefined || areWebhookSecrets(secret)
    ? undefined
    : 'has a secret that is not whsec_ and base64';
}

function isReceiverUrl(value: unknown): boolean {
  return isUrl(value, HTTP, 'refused');
}

function isEventType(value: unknown): value is EventType {
  return EVENT_TYPES.includes(value as EventType);
}

/** One secret, or several, separated by spaces, while it is being replaced: the new one and the older ones. */
function areWebhookSecrets(value: unknown): boolean {
  return (
    isText(value) &&
    value.split(' ').every((secret) => /^whsec_([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2,3}=*)?$/.test(secret)) &&
    webhookKeys(value).every((key) => key.length > 0)
  );
}

function isShort(secrets: string): boolean {
  return webhookKeys(secrets).some((key) => key.length < SAFE_KEY);
}

function webhookKeys(secrets: string): Buffer[] {
  return secrets.split(' ').map((secret) => Buffer.from(secret.slice(WEBHOOK_SECRET.length), 'base64'));
}
