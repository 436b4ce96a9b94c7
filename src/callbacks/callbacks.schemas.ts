import { type JsonSchema, instantSchema } from '../http/fields.js';
import { EVENT } from '../sessions/sessions.schemas.js';

/** Of dead letters at once. */
export const MAX_LISTED = 100;
const COUNT = { type: 'integer', minimum: 0 } as const;

export const OUTBOX: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['waiting', 'oldest_at', 'dead_letters', 'lost'],
  properties: {
    waiting: { ...COUNT, description: 'Events that are not delivered yet.' },
    oldest_at: {
      oneOf: [instantSchema('When the oldest of them happened.'), { type: 'null' }],
    },
    dead_letters: { ...COUNT, description: 'Events that were given up.' },
    lost: { ...COUNT, description: 'Events that were dropped, because too many waited or were given up.' },
  },
};

const MESSAGE_ID: JsonSchema = {
  type: 'string',
  minLength: 1,
  maxLength: 64,
  description: 'Its webhook-id.',
};

export const DEAD_LETTERS: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['dead_letters'],
  properties: {
    dead_letters: {
      type: 'array',
      maxItems: MAX_LISTED,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['id', 'event', 'tries', 'failure', 'given_up_at'],
        properties: {
          id: MESSAGE_ID,
          event: EVENT,
          tries: COUNT,
          failure: { type: 'string', description: 'Why the last try failed.' },
          given_up_at: instantSchema('When it was given up.'),
        },
      },
    },
  },
};

export const REPLAY_REQUEST: JsonSchema = {
  type: ['object', 'null'],
  additionalProperties: false,
  properties: { ids: { type: 'array', minItems: 1, maxItems: MAX_LISTED, items: MESSAGE_ID } },
};

export const REPLAYED: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['replayed', 'more'],
  properties: { replayed: COUNT, more: { type: 'boolean', description: 'There are more: call again.' } },
};

const header = (name: string, description: string, example: string): JsonSchema => ({
  name,
  in: 'header',
  required: true,
  description,
  schema: { type: 'string' },
  example,
});

/** What is posted to CALLBACK_URL, for the document. */
export const CALLBACKS: JsonSchema = {
  event: {
    post: {
      operationId: 'receiveEvent',
      tags: ['callbacks'],
      summary: 'What happened to a session',
      description:
        'Posted to CALLBACK_URL in the form of Standard Webhooks: at least once, in order per session, always under ' +
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
      responses: { '2XX': { description: 'It is taken down.' } },
    },
  },
};
