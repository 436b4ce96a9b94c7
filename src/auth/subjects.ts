import { hash } from 'node:crypto';
import { ID } from '../http/fields.js';

/** The longest accepted subject, in bytes of UTF-8. OpenID Connect Core (section 2) allows 255 ASCII characters. */
export const MAX_SUBJECT_BYTES = 1_024;

/** The beginning of a user id that was derived from a subject. */
const PREFIX = 'sub~';
const MAPPED = /^sub~[\w-]{43}$/;

/**
 * The user id of a subject, which is the issuer's name of the user. A subject in the form of an id is the id. Any other
 * maps to `sub~` and the SHA-256 of its UTF-8 bytes in base64url without padding: 47 characters in the form of an id. A
 * subject that already looks like such an id is mapped as well, so that no user can get the id of another one. Subjects
 * are compared byte by byte: case, spaces and Unicode forms all count. The mapping never changes. docs/integrations.md
 * shows it in other languages.
 *
 * Undefined for an invalid subject: an empty text, more than 1,024 bytes, or invalid Unicode.
 */
export function userIdOf(subject: string): string | undefined {
  if (ID.test(subject) && subject !== '.' && subject !== '..' && !MAPPED.test(subject)) return subject;
  if (subject === '' || !subject.isWellFormed() || Buffer.byteLength(subject) > MAX_SUBJECT_BYTES)
    return undefined;
  return PREFIX + hash('sha256', subject, 'base64url');
}
