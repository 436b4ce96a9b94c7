import { hash } from 'node:crypto';
import { ID } from '../http/fields.js';

/** The longest subject that is taken, in bytes of UTF-8. OpenID Connect Core (section 2) allows 255 ASCII characters. */
export const MAX_SUBJECT_BYTES = 1_024;

/** What the id of a user begins with whose subject has no id's form. */
const PREFIX = 'sub~';
const MAPPED = /^sub~[\w-]{43}$/;

/**
 * Our id of the user whom an issuer calls `subject`. A subject in the form of an id is the id itself. Any other one maps
 * to `sub~` and the SHA-256 of its UTF-8 bytes in base64url without padding: 47 characters that are an id. A subject that
 * already looks like such an id is mapped as well, so that nobody can take the id of somebody else. Subjects are compared
 * byte by byte: case, spaces and Unicode forms all count. The mapping never changes. docs/integrations.md has it in other
 * languages.
 *
 * Undefined for what cannot be a subject: an empty text, more than 1,024 bytes, or broken Unicode.
 */
export function userIdOf(subject: string): string | undefined {
  if (ID.test(subject) && subject !== '.' && subject !== '..' && !MAPPED.test(subject)) return subject;
  if (subject === '' || !subject.isWellFormed() || Buffer.byteLength(subject) > MAX_SUBJECT_BYTES)
    return undefined;
  return PREFIX + hash('sha256', subject, 'base64url');
}

/** The id of the user whom a service names, by our id or by the issuer's subject; undefined for a name that is neither. */
export function userIdOfName(name: string): string | undefined {
  return ID.test(name) ? name : userIdOf(name);
}
