import { type Static, Type } from '@sinclair/typebox';
import { SCOPES } from '../config/config.js';
import { component, instantSchema, oneOfTexts, orNull } from '../http/fields.js';

/** The newest entries that are kept: about 8 MB in the store. */
export const MAX_ENTRIES = 10_000;
/** For how long an entry is kept: entries name users. */
export const MAX_AGE_DAYS = 180;
export const MAX_AGE_MS = MAX_AGE_DAYS * 86_400_000;

/** The changes of operators that are recorded. */
export const AUDIT_ACTIONS = [
  'sessions.end',
  'expiry.pause',
  'expiry.resume',
  'callbacks.replay',
  'callbacks.resume',
  'log-level.set',
] as const;
export type AuditAction = (typeof AUDIT_ACTIONS)[number];

const AUDIT_TARGET = component(
  'AuditTarget',
  {
    user_id: Type.Optional(Type.String({ description: 'The user, in plain text.' })),
    session_id: Type.Optional(Type.String({ description: 'Absent if all sessions of the user were meant.' })),
    receiver: Type.Optional(Type.String({ description: 'Absent if all receivers of callbacks were meant.' })),
    instance: Type.Optional(
      Type.String({ description: 'The host name of the instance, where only one instance is changed.' }),
    ),
  },
  { description: 'What was changed. Without a member it is the whole system.' },
);
export type AuditTarget = Static<typeof AUDIT_TARGET>;

export type AuditDetails = Readonly<Record<string, unknown>>;
const details = (description: string) =>
  orNull(Type.Unsafe<AuditDetails>({ type: 'object', additionalProperties: true, description }));

/** An entry, as it is answered and stored. */
export const AUDIT_ENTRY = component('AuditEntry', {
  id: Type.String({ description: 'The name of this entry; no other has it.' }),
  at: instantSchema('When it was done, on the clock of the instance that did it.'),
  by: orNull(
    Type.String({
      description:
        'The name of the API token; `internal` for INTERNAL_API_TOKEN; null if no token is configured.',
    }),
  ),
  scope: oneOfTexts(SCOPES, { description: 'The scope that allowed it.' }),
  action: oneOfTexts(AUDIT_ACTIONS),
  target: AUDIT_TARGET,
  before: details('What the change replaced; null if nothing, or if it is not known.'),
  after: details('What holds since; null if it is not known.'),
  outcome: oneOfTexts(['done', 'unknown'], {
    description:
      '`unknown`: the change failed, for example because the store did not answer. It may have taken effect, also in part.',
  }),
  note: orNull(Type.String({ description: 'The note that the operator gave in X-Audit-Note.' })),
  request_id: Type.String({ description: 'The id of the request, `reqId` in the log.' }),
});
export type AuditEntry = Static<typeof AUDIT_ENTRY>;

/**
 * The port to the stored entries, shared by all instances. It keeps the newest MAX_ENTRIES entries, and none that is more
 * than MAX_AGE_MS older than the newest. Both methods reject with StoreUnavailableError.
 */
export abstract class AuditLog {
  /** Stores an entry. It is idempotent, so that an entry whose reply was lost can be sent again. */
  abstract append(entry: AuditEntry): Promise<void>;

  /** The entries of these instants, newest first. `since` and `until` are inclusive, in Unix milliseconds. */
  abstract read(range: { readonly since: number; readonly until: number }): AsyncIterable<AuditEntry>;
}
