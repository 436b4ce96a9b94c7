import { type Static, Type } from '@sinclair/typebox';
import {
  type JsonSchema,
  component,
  countSchema,
  instant,
  instantSchema,
  oneOfTexts,
  optionalBody,
  orNull,
} from '../http/fields.js';
import { type OutboxState, messageId, totalOf } from '../sessions/session-events.js';
import { EVENT, callbackJson } from '../sessions/sessions.schemas.js';
import { type ListedDeadLetter, type ReceiverState } from './callbacks.service.js';

/** The most dead letters that one reply lists, or that one request names. */
export const MAX_LISTED = 100;

const RECEIVER_NAME = Type.String({
  minLength: 1,
  maxLength: 63,
  description: 'The name of a receiver; `default` for that of CALLBACK_URL.',
  examples: ['default'],
});

const RECEIVER = component('Receiver', {
  name: RECEIVER_NAME,
  waiting: countSchema('Its events that are not delivered yet.'),
  oldest_at: orNull(instantSchema('When the oldest of them happened.')),
  dead_letters: countSchema('Its events that were given up.'),
  lost: countSchema('Its events that were dropped, because too many waited or were given up.'),
  state: oneOfTexts(['working', 'failing', 'resting', 'stopped'], {
    description:
      '`failing`: every try has failed for a while. `resting`: it asked for fewer requests, by 429 or by 503 with ' +
      'Retry-After. `stopped`: it answered 410, and gets nothing until an operator resumes the deliveries.',
  }),
  since: orNull(instantSchema('When the state began; null while it works.')),
  failure: orNull(Type.String({ description: 'Why it is not working; null while it works.' })),
});

export const OUTBOX = component('Outbox', {
  waiting: countSchema('Events that are not delivered yet. An event for two receivers counts twice.'),
  oldest_at: orNull(instantSchema('When the oldest of them happened.')),
  dead_letters: countSchema('Events that were given up.'),
  lost: countSchema('Events that were dropped, because too many waited or were given up.'),
  receivers: Type.Array(RECEIVER, { description: 'The same for each receiver.' }),
});
export type OutboxJson = Static<typeof OUTBOX>;

export function outboxJson(states: readonly ReceiverState[]): OutboxJson {
  return {
    ...figuresJson(totalOf(states)),
    receivers: states.map((one) => ({
      name: one.receiver,
      ...figuresJson(one),
      state: one.state,
      since: one.since === undefined ? null : instant(one.since),
      failure: one.failure ?? null,
    })),
  };
}

function figuresJson({ waiting, oldestAt, deadLetters, lost }: OutboxState) {
  return {
    waiting,
    oldest_at: oldestAt === undefined ? null : instant(oldestAt),
    dead_letters: deadLetters,
    lost,
  };
}

const MESSAGE_ID = Type.String({
  minLength: 1,
  maxLength: 64,
  description: 'The webhook-id of the event.',
});

const DEAD_LETTER = component('DeadLetter', {
  id: MESSAGE_ID,
  receiver: RECEIVER_NAME,
  event: EVENT,
  tries: countSchema('How often the delivery was tried.'),
  failure: Type.String({ description: 'Why the last try failed.' }),
  given_up_at: instantSchema('When it was given up.'),
});

function deadLetterJson({
  receiver,
  event,
  tries,
  failure,
  buriedAt,
}: ListedDeadLetter): Static<typeof DEAD_LETTER> {
  return {
    id: messageId(event),
    receiver,
    event: callbackJson(event),
    tries,
    failure,
    given_up_at: instant(buriedAt),
  };
}

export const DEAD_LETTERS = component('DeadLetterList', {
  dead_letters: Type.Array(DEAD_LETTER, { maxItems: MAX_LISTED }),
});
export type DeadLetterListJson = Static<typeof DEAD_LETTERS>;

export function deadLetterListJson(letters: readonly ListedDeadLetter[]): DeadLetterListJson {
  return { dead_letters: letters.map(deadLetterJson) };
}

export const REPLAY_REQUEST = optionalBody(
  component('ReplayRequest', {
    ids: Type.Optional(Type.Array(MESSAGE_ID, { minItems: 1, maxItems: MAX_LISTED })),
    receiver: Type.Optional(RECEIVER_NAME),
  }),
);
export type ReplayRequestJson = Static<typeof REPLAY_REQUEST>;

export const REPLAYED = component('Replay', {
  replayed: countSchema('How many events wait to be delivered again.'),
  more: Type.Boolean({ description: 'There are more: call again.' }),
});
export type ReplayJson = Static<typeof REPLAYED>;

export const RESUME_REQUEST = optionalBody(
  component('ResumeRequest', { receiver: Type.Optional(RECEIVER_NAME) }),
);
export type ResumeRequestJson = Static<typeof RESUME_REQUEST>;

export const RESUMED = component('Resumption', {
  resumed: Type.Boolean({
    description: 'False where deliveries were not stopped on the instance that answers.',
  }),
});
export type ResumedJson = Static<typeof RESUMED>;

const header = (name: string, description: string, example: string): JsonSchema => ({
  name,
  in: 'header',
  required: true,
  description,
  schema: { type: 'string' },
  example,
});

/** The request that receivers of callbacks get, for the OpenAPI document. */
export const CALLBACKS: JsonSchema = {
  event: {
    post: {
      operationId: 'receiveEvent',
      tags: ['callbacks'],
      summary: 'What happened to a session',
      description:
        'Posted to each receiver that wants it, in the form of Standard Webhooks: at least once, in order per session, always under ' +
        'the same `webhook-id`. Anything but 2xx within 10 s is tried again.',
      parameters: [
        header('webhook-id', 'The name of the event: take each once.', 'msg_kT9…'),
        header('webhook-timestamp', 'When this try was made, in Unix seconds.', '1795290000'),
        header(
          'webhook-signature',
          '`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; one for each secret, with spaces between.',
          'v1,K5oZ…',
        ),
      ],
      requestBody: { required: true, content: { 'application/json': { schema: EVENT } } },
      responses: { '2XX': { description: 'The receiver has stored the event.' } },
    },
  },
};
